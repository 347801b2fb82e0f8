# What one child has looked up the next need not, and it is never believed
# longer than it holds.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);

my $c = PGW::Cluster->new(conf => "log_statement = all\n");
my $p = PGW::Proxy->new($c);
$c->safe_psql('create role ann login; create role ben login;
	create schema a; create schema b; grant usage on schema a, b to ann');

# How often the columns of that name were asked for.
sub look_ups
{
	my ($name) = @_;
	my $columns = qr/execute \S+ SELECT a\.attname,[^\n]*\n[^\n]* DETAIL:\s+parameters: \$1 = '\Q$name\E'$/m;
	return scalar(() = $c->log =~ /$columns/g);
}

# One statement in a session of its own: its record, and how often it asked.
sub once
{
	my ($sql, $name, %o) = @_;
	my $before = look_ups($name);
	my ($tx) = $p->witness($sql, %o);
	return ($tx, look_ups($name) - $before);
}

sub is_exact
{
	my ($tx, $what) = @_;
	is($tx->{record}{capture}, 'exact', "$what: exact")
		or diag explain $tx->{record};
	is_verified($tx, $what);
}

$p->safe_psql('create table t (id int primary key, v int);
	insert into t select i, 0 from generate_series(1, 9) i');
$p->settled;
my ($tx, $n) = once('update t set v = 1 where id = 1', '"t"');
is_exact($tx, 'the first session');
is($n, 1, 'it asks');
($tx, $n) = once('update t set v = 1 where id = 2', '"t"');
is_exact($tx, 'the second');
is($n, 0, 'it need not');
($tx, $n) = once("begin;\nupdate t set v = 2 where id = 3;\ncommit", '"t"');
is_exact($tx, 'in a block');
is($n, 0, 'neither');
{
	local $ENV{PGAPPNAME} = "worker $$";
	($tx, $n) = once('update t set v = 3 where id = 2', '"t"');
	is_exact($tx, 'by another application_name');
	is($n, 0, 'neither');
}

# DDL through the proxy.
$p->safe_psql('alter table t add column w int default 5');
$p->settled;
($tx, $n) = once('update t set v = 1 where id = 4', '"t"');
is_exact($tx, 'after DDL of another session');
is($n, 1, 'it asks');
($tx, $n) = once("begin;\nalter table t add column x int;\nrollback;\n"
	. 'update t set v = 2 where id = 5', '"t"');
is_exact($tx, 'behind DDL of its own');
is($n, 1, 'it asks');

# A session between: it looks while the DDL is not committed.
($tx, $n) = once('update t set v = 3 where id = 5', '"t"');
my $s = $p->session;
$s->query('begin');
$s->query('create table other (i int)');
($tx, $n) = once('update t set v = 4 where id = 5', '"t"');
is_exact($tx, 'among DDL of others');
$s->query('commit');
$s->close;
$p->settled;
($tx, $n) = once('update t set v = 5 where id = 5', '"t"');
is($n, 1, 'what was put before its commit is not believed');

# DDL past the proxy: nobody knows, but the fingerprint says so.
once('update t set v = 1 where id = 6', '"t"');
$c->safe_psql('alter table t add column y int');
($tx, $n) = once('update t set v = 2 where id = 6', '"t"');
is_exact($tx, 'past the proxy');
is($n, 1, 'it asks');
($tx, $n) = once('update t set v = 3 where id = 6', '"t"');
is($n, 0, 'and the next one need not');

# Nor do rights count that are gone.
$c->safe_psql('grant select, update on t to ann');
for my $right (qw(select update)) {
	$c->safe_psql("grant select, update on t to ann");
	once('update t set v = 4 where id = 6', '"t"', user => 'ann');
	$c->safe_psql("revoke $right on t from ann");
	my ($rc, undef, $err) = $p->psql('update t set v = 5',
		user => 'ann', verbose => 'sqlstate');
	like($rc ? $err : '', $right eq 'select' ? qr/^$/ : qr/ERROR:  42501$/,
		"$right was revoked");
	my @tx = $p->settled;
	is($tx[0]{record}{capture_reason}, 'privileges', 'and it is said')
		if $right eq 'select';
}

# Who means another table by the name, or has other rights.
$p->safe_psql('create table a.u (id int primary key, of_a int);
	create table b.u (id int primary key, of_b int);
	insert into a.u values (1, 1); insert into b.u values (1, 1);
	grant select, update on a.u to ann; grant update on b.u to ann');
$p->settled;
for my $schema (qw(a b a b)) {
	($tx) = once("update u set of_$schema = 2 where id = 1", '"u"',
		conn => { options => "-c search_path=$schema" });
	is_exact($tx, "in schema $schema");
	is($tx->{record}{tables}[0]{name}, "$schema.u", 'that table');
}
($tx) = once("set search_path = b;\nupdate u set of_b = 3", '"u"',
	conn => { options => '-c search_path=a' });
is($tx->{record}{tables}[0]{name}, 'b.u', 'SET search_path counts');
is_exact($tx, 'after SET');
($tx) = once("create temp table t (id int primary key, z int);\n"
	. 'insert into t values (1, 1)', '"t"');
is($tx->{record}{capture_reason}, 'temporary_table', 'a temporary one before it')
	if $tx;
# Its schema is called otherwise since.
for my $schema (qw(a later)) {
	$c->safe_psql('alter schema a rename to later') if $schema eq 'later';
	($tx) = once('update u set of_a = 5 where id = 1', '"u"',
		conn => { options => '-c search_path=a,later' });
	is_exact($tx, "in schema $schema, renamed past the proxy");
	is($tx->{record}{tables}[0]{name}, "$schema.u", 'by its name now');
}
once('update b.u set of_b = 4', '"b"."u"');
my ($rc, undef, $err) = $p->psql('update b.u set of_b = 5', user => 'ann');
is($rc, 0, 'who may update but not read') or diag $err;
($tx) = $p->settled;
is($tx->{record}{capture_reason}, 'privileges', 'is told from who may');

# Of a table that is old, so that its fingerprint tells all, that is asked where
# anything may have been changed; and what was is seen.
sub grow_old
{
	$c->safe_psql('create table if not exists burnt (); do $f$begin
		for i in 1 .. 10001 loop begin insert into burnt default values;
		exception when others then null; end; end loop; end$f$');
}
$p->safe_psql('create table old (id int primary key, v int);
	insert into old select i, 0 from generate_series(1, 9) i');
grow_old();
$s = $p->session;
my $set = 'update old set v = v + 1 where id = 1';
my $before = look_ups('"old"');
$s->safe($set) for 1, 2;
is(look_ups('"old"') - $before, 1, 'an old table: asked once');
$p->settled;
sub do_block { return "do \$f\$begin $_[0]; end\$f\$" }
for (['DO', [do_block('null')], 0],
	['a text that is none', ['selec 1'], 0],
	['DO in a block', ['begin', do_block('null'), $set, 'commit'], 0],
	['a change in DO', [do_block('alter table old add w int default 5')]],
	['one that is undone', ['begin', do_block('alter table old add x int'), $set,
		'rollback']],
	['another one of its name', ['create schema first',
		do_block('create table first.old (id int primary key, v int)'),
		'insert into first.old values (1, 1)',
		'set search_path = first, public']],
	['none any more', ['reset search_path', do_block('drop table first.old')]],
	['an operator', [do_block('create operator public.= (leftarg = int4, '
		. 'rightarg = int8, function = pg_catalog.int48eq)')]],
	['none any more', [do_block('drop operator public.= (int4, int8)')]]) {
	my ($what, $sql, $want) = @$_;
	$before = look_ups('"old"');
	$s->query($_) for @$sql;
	$s->safe($set) for 1, 2;
	my @tx = grep { $_->{record} && describe_tx($_) =~ /, update old/ } $p->settled;
	is_exact($tx[-1], "behind $what");
	unlike(join("\n", map { describe_tx($_) } @tx), qr/mismatch/, '... no mismatch');
	is(look_ups('"old"') - $before, $want, '... asked for so often') if defined $want;
}
$s->close;
grow_old();
$p->safe_psql($_) for $set, 'create temp table x (i int)';
($tx, $n) = once($set, '"old"');
is_exact($tx, 'behind DDL of another session');
is($n, 0, 'which is not about it');
$p->safe_psql('alter table old alter v type bigint');
$p->settled;
($tx, $n) = once($set, '"old"');
is_exact($tx, 'behind DDL that is');
is($n, 1, 'which is asked for');

my ($bad) = $p->verify;
is($bad, 0, 'the log verifies');
done_testing;
