# DDL that the proxy sees is run in replay's copies between the transactions
# before and after it; what cannot be run there costs a fresh dump; what the
# proxy does not see is found and named.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use JSON::PP qw(decode_json);
use PGW::Util qw(wait_until);

my $c = PGW::Cluster->new(sql => q{
	create table first (id int primary key, v text);
	create table other (id int primary key, v text);
	create type mood as enum ('sad', 'ok');
	create table feeling (id int primary key, m mood);
	create table parent (id int, v text) partition by range (id);
	create table low partition of parent for values from (0) to (100);
	create role app login;
	grant all on schema public to app;
	create database db2;
});
# So that /proc shows which process is which (include/procsig.h).
my $p = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 });

sub dumps { return scalar $p->operator_log(event => 'schema_copied') }

sub changes { return grep { $_->{type} eq 'SchemaChange' } $p->evidence }

# Runs SQL; all its transactions are verified, n of them.
sub verified
{
	my ($name, $n, $sql) = @_;
	my @tx = $p->witness($sql);
	is(@tx, $n, "$name: $n records") or diag(map { describe_tx($_) . "\n" } @tx);
	is_verified($_, $name) for @tx;
	return @tx;
}

verified('before any DDL', 1, "insert into first values (1, 'a')");
$p->warm;
my $dumps = dumps();

# --- each of these without another dump ---

for (
	['CREATE TABLE', 2, q{create table made (id int primary key, v text);
		insert into made values (1, 'x'); update made set v = 'y'}],
	['a table dropped at once', 2, q{create table gone (id int primary key);
		insert into gone values (1); delete from gone; drop table gone}],
	['DROP and CREATE of one name', 2, q{
		create table again (id int primary key);
		insert into again values (1); drop table again;
		create table again (id text primary key, n numeric);
		insert into again values ('one', 1.50); drop table again}],
	['ADD COLUMN with a default', 2, q{
		alter table made add column n int default 7;
		insert into made values (2, 'z'); update made set n = n + 1}],
	['a type that rewrites', 1, q{
		alter table made alter column n type numeric(9,2);
		update made set n = n / 3}],
	['SET DEFAULT, NOT NULL', 1, q{
		alter table made alter column v set default 'dflt',
			alter column v set not null;
		insert into made (id) values (3)}],
	['CREATE INDEX', 1, q{create unique index on made (v, id);
		update made set v = v || '!'}],
	['an index on a function', 1, q{create index on made (lower(v));
		insert into made values (4, 'Four')}],
	['RENAME', 2, q{alter table made rename to renamed;
		alter table renamed rename column v to w;
		update renamed set w = 'r' where id = 1;
		insert into renamed values (5, 'five')}],
	['ADD CHECK', 1, q{alter table renamed add check (id > 0);
		insert into renamed values (6, 'six')}],
	['ADD VALUE', 1, q{alter type mood add value 'happy';
		insert into feeling values (1, 'happy')}],
	['a domain', 1, q{create domain positive as int check (value > 0);
		create table dom (id positive primary key);
		insert into dom values (1)}],
	['ATTACH PARTITION', 2, q{
		create table high (id int, v text);
		insert into parent values (5, 'five');
		alter table parent attach partition high for values from (100) to (200);
		insert into parent values (150, 'x')}],
	['a trigger', 1, q{
		create function twice() returns trigger language plpgsql as
			$f$begin new.id := new.id * 2; return new; end$f$;
		create table trig (id int primary key);
		create trigger tw before insert on trig for each row
			execute function twice();
		insert into trig values (21)}],
	['another body of its function', 1, q{
		create or replace function twice() returns trigger language plpgsql as
			$f$begin new.id := new.id * 3; return new; end$f$;
		insert into trig values (21)}],
	['a schema of its own', 1, q{create schema mine;
		set search_path = mine, public;
		create table here (id serial primary key, v text default 'mine');
		insert into here default values}],
	['a foreign key that cascades', 3, q{
		create table up (id int primary key);
		create table down (id int primary key,
			u int references up on delete cascade);
		insert into up values (1); insert into down values (1, 1);
		delete from up}],
	['CREATE TABLE AS, then DML', 2, q{
		create table made_as as select * from first;
		insert into made_as values (7, 'seven')}],
) {
	my ($name, $n, $sql) = @$_;
	$p->mark;
	my @tx = $p->witness($sql);
	@tx = grep { ($_->{record}{capture_reason} // '') ne 'select_into' } @tx;
	is(@tx, $n - ($name =~ /TABLE AS/ ? 1 : 0), "$name: records")
		or diag(map { describe_tx($_) . "\n" } @tx);
	is_verified($_, $name) for @tx;
}
is(dumps(), $dumps, 'none of it needed another dump');

my @c = changes();
ok((grep { $_->{witnessed} && $_->{statements}
	&& ($_->{statements}[0]{sql} // '') =~ /^create table made \(/ } @c),
	'SchemaChange has the statement');
is((grep { !$_->{witnessed} } @c), 0, 'all of it was witnessed');

# --- in transactions ---

verified('DDL, then DML, in one', 1, q{begin;
	create table mx (id int primary key, v text default 'd');
	insert into mx (id) values (1);
	update mx set v = 'e';
	commit});
verified('and the table afterwards', 1, q{update mx set v = 'f'});
verified('ALTER, then DML, in one', 1, q{begin;
	alter table mx add column w int default 3;
	update mx set w = w + 1;
	commit});
verified('DDL rolled back', 1, q{begin;
	alter table mx drop column w; rollback;
	update mx set w = w + 1});
verified('DDL rolled back to a savepoint', 1, q{begin;
	savepoint a; alter table mx drop column w; rollback to a;
	alter table mx add column x text default 'x'; commit;
	insert into mx (id) values (2)});
verified('several statements in a message', 1, q{
	create table m1 (id int primary key)\; create table m2 (id int primary key);
	insert into m2 values (1)});
is(dumps(), $dumps, 'nor did that');

# --- two sessions, one of them in the middle of a transaction ---

my ($s1, $s2) = ($p->session, $p->session);
$p->mark;
$s1->query('begin');
$s1->query("update other set v = 'x'");
$s1->query("insert into other values (1, 'one')");
$s2->send('alter table other add column n int default 5');
$s1->query("insert into other values (2, 'two')");
$s1->query('commit');
$s2->query('');
$s2->query("update other set n = id");
my @tx = $p->settled;
is(@tx, 2, 'DDL waits for another session: two records');
is_verified($_, 'before and after it') for @tx;
for my $i (1 .. 10) {
	$s1->query("create table s1_$i (id int primary key)");
	$s2->query("create table s2_$i (id int primary key, v text)");
	$s2->query("insert into s1_$i values ($i)");
	$s1->query("insert into s2_$i values ($i, 'v')");
	$s2->query("alter table s1_$i rename to t1_$i");
	$s1->query("insert into t1_$i values (0)");
	$s1->query("drop table t1_$i");
}
@tx = $p->settled;
is(@tx, 30, 'two sessions: thirty records');
is_verified($_, 'two sessions') for @tx;
is(dumps(), $dumps, 'without a dump');

# --- two databases ---

$p->safe_psql('create table in2 (id int primary key)', dbname => 'db2');
for my $i (1 .. 4) {
	$p->safe_psql("create table x$i (id int primary key); "
		. "insert into x$i values ($i)");
	$p->safe_psql("create table x$i (id text primary key, v int default $i); "
		. "insert into x$i values ('$i'); drop table x$i", dbname => 'db2')
		if $i > 1;
	$p->safe_psql("update x$i set id = id + 1; drop table x$i");
}
@tx = $p->settled;
is(@tx, 11, 'two databases: eleven records');
is_verified($_, 'two databases') for @tx;

# --- what cannot be run in a copy ---

$dumps = dumps();
verified('DDL that fails in replay', 1, q{
	create schema theirs authorization app;
	create table theirs.t (id int primary key);
	insert into theirs.t values (1)});
cmp_ok(dumps(), '>', $dumps, 'costs a dump');
ok((grep { $_->{message} =~ /role "app" does not exist/ }
	$p->operator_log(event => 'ddl_not_replayed')), 'and says why');
verified('an extension', 1, q{create extension if not exists pg_trgm;
	create table after_ext (id int primary key);
	insert into after_ext values (1)});

# --- a dump that is ahead of the jobs ---

$p->mark;
my @workers;
wait_until('two workers', sub { (@workers = $p->replay_workers) == 2 });
kill STOP => @workers;
$s1->query($_) for 'do $$begin create table unseen (id int primary key); end$$',
	'insert into unseen values (1)', 'create table short (id int primary key)',
	'insert into short values (1)', 'alter table short add column v text',
	"update short set v = 'x'", 'drop table short';
kill CONT => @workers;
@tx = grep { $_->{query} =~ /^(insert|update)/ } $p->settled;
is(@tx, 3, 'a dump that is ahead: three records');
is_named($tx[0], 'what wants the dump');
is_verified($_, 'what it does not show any more') for @tx[1, 2];

# --- replay killed between DDL and what is behind it ---

$p->mark;
for my $i (1 .. 6) {
	$s1->query("create table k$i (id int primary key, v text)");
	$s1->query("insert into k$i values (1, 'a')");
	kill KILL => ($p->processes_called(qr/^replayd$/))[-1] if $i % 3 == 0;
	$s1->query("alter table k$i add column w int default $i");
	$s1->query("update k$i set w = w + 1");
}
@tx = $p->settled;
is(@tx, 12, 'replay killed: twelve records');
is_named($_, 'replay killed') for @tx;
$p->warm;
verified('replay runs again', 2, q{create table ka (id int primary key);
	insert into ka values (1);
	alter table ka add column v text default 'x'; update ka set v = 'y'});
$dumps = dumps();

# --- what the proxy does not see ---

sub unwitnessed
{
	my ($table) = @_;
	return grep { !$_->{witnessed} && $_->{difference}{table} eq $table }
		changes();
}

$c->safe_psql(q{create function sly() returns trigger language plpgsql as
	$f$begin new.v := 'sly'; return new; end$f$;
	create trigger sly before update on first for each row
		execute function sly()});
verified('a trigger behind its back', 1, "update first set v = 'x'");
cmp_ok(dumps(), '>', $dumps, 'costs a dump');
$p->wait_for_lines('the change to be named', sub { unwitnessed('first') });
my ($change) = unwitnessed('first');
is($change->{database}, 'postgres', 'its database');
is($change->{difference}{schema}, 'public', 'its schema');
is($change->{difference}{change}, 'changed', 'it was changed');
is($change->{tx_id}, undef, 'of no transaction');
is($change->{reason}, undef, 'and nothing explains it');
is_deeply([grep { !/^(trigger CREATE TRIGGER sly|function public\.sly)/ }
	@{ $change->{difference}{added} }], [], 'trigger and function are named');
is(@{ $change->{difference}{added} }, 2, 'both');
is_deeply($change->{difference}{removed}, [], 'nothing else');
like($change->{$_}, qr/^[0-9a-f]{64}$/, "$_") for qw(old_version new_version);
isnt($change->{old_version}, $change->{new_version}, 'two versions');

# What could not be replayed, but was seen, is no surprise.
$p->safe_psql("create domain pw as text; alter table other add column w pw;
	create unique index concurrently on other (lower(v))");
verified('after CONCURRENTLY', 1, "update other set v = 'c' || id");
$c->safe_psql('alter table renamed add column back text');
verified('a column behind its back', 1,
	"update renamed set w = 'b' where id = 1");
$p->wait_for_lines('that to be named', sub { unwitnessed('renamed') });
is((unwitnessed('other')), 0, 'what was seen is not called unwitnessed');
is((unwitnessed('first')), 1, 'and each change is said once');
is(($p->verify)[0], 0, 'the log is right');
my (undef, $status) = $p->witnessctl('--json', 'status');
my %count = %{ decode_json($status)->{schema_changes} };
my @changes = changes();
is_deeply(\%count, { witnessed => scalar(grep { $_->{witnessed} } @changes),
	unwitnessed => scalar(grep { !$_->{witnessed} } @changes) },
	'witnessctl status counts them apart');
like(($p->witnessctl('status'))[1], qr/definition changed unwitnessed: $count{unwitnessed} /,
	'and says so');
no_mismatches($p);

# --- as a user with a schema of the same name ---

$c->safe_psql('create schema app authorization app');
$p->safe_psql('create table own (id int primary key, v text)', user => 'app');
@tx = do { $p->safe_psql("insert into own values (1, 'a')", user => 'app');
	$p->settled };
is($tx[0]{record}{tables}[0]{schema}, 'app', "the user's schema");
is_verified($tx[0], "the user's schema, which the proxy did not see");

done_testing();
