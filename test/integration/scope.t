# Statements that touch more than one table, or read others: what they changed,
# everywhere, is in the record and is reproduced.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table parent (id int primary key, v text);
	create table child (id int primary key, p int references parent
		on delete cascade on update cascade, v text);
	create table grandchild (id int primary key, c int references child
		on delete cascade);
	create table nulled (id int primary key, p int references parent
		on delete set null on update cascade);
	create table defaulted (id int primary key, p int default 1 references
		parent on delete set default on update set null);
	create table tree (id int primary key, up int references tree
		on delete cascade);
	create table part (id int, region text, n int, primary key (region, id))
		partition by list (region);
	create table part_eu partition of part for values in ('eu');
	create table part_us partition of part for values in ('us');
	create table part_rest partition of part default;
	create table leaving (id int primary key) partition by list (id);
	create table leaving_1 partition of leaving for values in (1);
	create table leaving_2 partition of leaving for values in (2);
	create function loud(int) returns int immutable language plpgsql as
		$$ begin raise notice 'loud'; return $1; end $$;
	create table noisy (id int primary key, n int);
	create unique index on noisy (loud(n));
	create table ancestor (id int primary key, v text);
	create table heir (extra int) inherits (ancestor);
	create table nokey (a int, v text);
	create table src (id int primary key, n int, v text);
	create table dst (id int primary key, n int, v text);
	create view seen as select * from dst where n < 9;
	create view seen_twice as select id, n from seen;
	create view joined as select dst.id, src.v from dst join src using (id);
	create function instead() returns trigger language plpgsql as $$ begin
		update src set v = new.v where id = old.id;
		delete from nokey where a = (select min(a) from nokey);
		return new; end $$;
	create trigger instead instead of update on joined for each row
		execute function instead();
	create table ruled (id int);
	create rule also as on insert to ruled do also insert into nokey values
		(new.id, 'rule');
	create rule never as on delete to ruled do instead delete from src where id =
		old.id;
	create table big (id int primary key, v text, f float8);
	create table totals (k text primary key, total numeric, f float8);
	insert into big select i, repeat('x', 200), i from generate_series(1, 5000) i;
});
my $p = PGW::Proxy->new($c, conf => { log => { row_data => 'on' } });

sub fill
{
	$c->safe_psql(q{truncate parent, child, grandchild, nulled, defaulted,
		tree, part, ancestor, heir, nokey, src, dst, totals, ruled;
		insert into parent select i, 'p' || i from generate_series(1, 4) i;
		insert into child select i, 1 + i % 4, 'c' from generate_series(1, 8) i;
		insert into grandchild select i, i from generate_series(1, 8) i;
		insert into nulled select i, i from generate_series(2, 4) i;
		insert into defaulted select i, i from generate_series(2, 4) i;
		insert into tree values (1, null), (2, 1), (3, 2), (4, null);
		insert into part select i, case i % 3 when 0 then 'eu' when 1 then
			'us' else 'xx' end, i from generate_series(1, 9) i;
		insert into ancestor select i, 'a' from generate_series(1, 3) i;
		insert into heir select i, 'h', i from generate_series(11, 13) i;
		insert into nokey values (1, 'x'), (1, 'x'), (2, 'y'), (null, null);
		insert into src select i, i * 10, 's' || i from generate_series(1, 6) i;
		insert into dst select i, i, 'd' || i from generate_series(4, 9) i;
		insert into totals values ('a', 0, 0)});
}

# All rows of all tables, as one hash of sorted texts.
sub state
{
	my %s;
	for my $t (split /\n/, $c->safe_psql(q{select c.oid::regclass from
		pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace
		and relname not in ('big', 'pgw_fence')})) {
		$s{"public.$t"} = [split /\n/, $c->safe_psql("select t from only $t t "
			. 'order by 1')];
	}
	return \%s;
}

sub rows_of
{
	my ($r, $name, $when) = @_;
	my ($t) = grep { $_->{name} eq $name } @{ $r->{tables} // [] };
	return $t ? $t->{"${when}_rows"} : undef;
}

# One statement: verified, and what it changed in the whole database is in the
# record's tables and nowhere else.
sub exact
{
	my ($name, $sql, %o) = @_;
	fill();
	my $before = state();
	my @tx = $p->witness($sql);
	my $after = state();
	is(@tx, 1, "$name: one record") or diag(map { describe_tx($_) . "\n" } @tx);
	my $r = $tx[0]{record};
	is($r->{capture}, 'exact', "$name: exact")
		or diag(describe_tx($tx[0]));
	if ($o{unverifiable}) {
		is($tx[0]{verdict}{reason}, $o{unverifiable}, "$name: why not verified")
			or diag(describe_tx($tx[0]));
	} else {
		is_verified($tx[0], $name);
	}
	my %written = map { $_->{name} => 1 } grep { $_->{access} eq 'write' }
		@{ $r->{tables} // [] };
	my $changed = 0;
	for my $t (sort keys %$before) {
		next if "@{ $before->{$t} }" eq "@{ $after->{$t} }";
		$changed++;
		ok($written{$t}, "$name: $t is in the record");
	}
	ok($changed || $o{nothing}, "$name: something was changed");
	return $tx[0];
}

# --- foreign keys that act ---

my $tx = exact('DELETE with cascades', 'delete from parent where id = 2');
is(rows_of($tx->{record}, 'public.grandchild', 'pre')
	- rows_of($tx->{record}, 'public.grandchild', 'post'), 2,
	'two levels down');
exact('ON UPDATE CASCADE', 'update parent set id = id + 100 where id > 2');
exact('a tree', 'delete from tree where id = 1');
exact('DELETE of a set', "delete from parent where v like 'p%' and id <> 1");

# --- partitions and children ---

exact('INSERT into a partitioned table', "insert into part values "
	. "(20, 'eu', 1), (21, 'us', 1), (22, 'zz', 1)");
exact('UPDATE of a partitioned table', 'update part set n = n + 1');
exact('rows that move', "update part set region = 'us' where region = 'eu'");
exact('by key', "update part set n = 0 where region = 'eu' and id = 3");
exact('DELETE from a partitioned table', 'delete from part where n > 4');
exact('a partition by name', "update part_eu set n = 7 where id = 3");
exact('UPDATE of parent and heir', "update ancestor set v = v || '+'");
exact('UPDATE ONLY', "update only ancestor set v = v || '+'");
exact('DELETE of an heir', 'delete from ancestor where id in (2, 12)');

# --- other tables are read ---

exact('UPDATE FROM', 'update dst set n = src.n from src where src.id = dst.id');
exact('DELETE USING', 'delete from dst using src where src.id = dst.id and '
	. 'src.n > 40');
exact('a subquery in WHERE', 'update dst set v = null where id in (select id '
	. 'from src)');
exact('a subquery in SET', 'update dst set n = (select max(n) from src) '
	. 'where id = 4');
exact('a subquery of itself', 'delete from dst where n > (select avg(n) from '
	. 'dst)');
exact('INSERT SELECT', 'insert into dst select id + 100, n, v from src');
exact('INSERT SELECT of itself', 'insert into dst select id + 100, n, v from '
	. 'dst');
exact('a reading WITH', 'with w as (select * from src where n > 20) update dst '
	. 'set n = w.n from w where w.id = dst.id');
exact('a large target', "update big set v = 'new' where id in (select id from "
	. 'src)', nothing => 1);
exact('partitions are read', 'insert into dst select id + 50, n, region from '
	. 'part');
exact('an integer sum', "update totals set total = (select sum(n) from src)");
exact('nothing to do', 'delete from dst where id in (select -id from src)',
	nothing => 1);

# --- ON CONFLICT, MERGE, modifying CTEs, TRUNCATE ---

exact('DO NOTHING', "insert into dst values (4, 0, 'x'), (40, 0, 'y') on "
	. 'conflict do nothing');
exact('DO UPDATE', "insert into dst as d values (4, 0, 'x'), (40, 0, 'y') on "
	. "conflict (id) do update set v = d.v || excluded.v");
exact('MERGE', 'merge into dst using src on src.id = dst.id when matched and '
	. 'src.n > 50 then delete when matched then update set n = src.n when not '
	. 'matched then insert values (src.id, src.n, src.v)');
exact('a modifying CTE', 'with gone as (delete from src where id < 4 returning '
	. '*) insert into dst select id + 200, n, v from gone');
exact('SELECT with one', 'with gone as (delete from src where id < 4 returning '
	. '*) select count(*) from gone');
exact('TRUNCATE', 'truncate nokey, dst');
exact('TRUNCATE CASCADE', 'truncate parent cascade');
exact('TRUNCATE of a partitioned table', 'truncate part');

exact('EXPLAIN ANALYZE', "explain analyze update dst set v = 'e' where id < 6");
exact('EXPLAIN ANALYZE with a cascade', 'explain (analyze, costs off) delete '
	. 'from parent where id = 2');

# --- views and rules ---

exact('an updatable view', "update seen set v = 'w' where id < 6");
exact('INSERT into a view', "insert into seen values (70, 7, 'n')");
exact('a view of a view', 'delete from seen_twice where n > 7');
exact('a view is read', 'insert into src select id + 50, n, v from seen');
exact('INSTEAD OF', "update joined set v = 'j' where id = 4");
exact('a rule, DO ALSO', 'insert into ruled values (1), (2)');
exact('a rule, DO INSTEAD', 'delete from ruled where id = 100', nothing => 1);

# --- no key ---

exact('UPDATE without a key', "update nokey set v = 'z' where a = 1");
exact('DELETE without a key', 'delete from nokey where a = 1');

# --- in the client's own transaction ---

exact('a block', 'begin; delete from parent where id = 2; update part set '
	. "region = 'us' where id = 3; update dst set n = src.n from src where "
	. 'src.id = dst.id; commit');
exact('a block that looks twice', 'begin; delete from parent where id = 2; '
	. "update parent set v = 'new' where id = 3; delete from parent where id = "
	. '3; insert into parent values (2, $$again$$); update parent set id = 30 '
	. 'where id = 2; commit');
exact('a block, REPEATABLE READ', 'begin isolation level repeatable read; '
	. 'delete from dst using src where src.id = dst.id; truncate tree; commit');
exact('a block, without a key', "begin; update nokey set v = 'z' where a = 1; "
	. 'commit');
$tx = exact('a block with savepoints', 'begin; savepoint a; delete from parent '
	. 'where id = 2; release a; delete from parent where id = 4; commit');
is($p->safe_psql("begin; delete from parent where id = 3; select count(*) from "
	. 'parent; savepoint x; release x; rollback; show transaction_isolation'),
	"1\nread committed", 'and goes on as it would');
$p->settled;

# Others write while it runs: what was read may be another's.
fill();
my ($one, $two) = ($p->session, $c->session);
$one->safe('begin');
$one->safe('delete from parent where id = 2');
$two->safe("update nulled set p = 1 where id = 4");
$one->safe("update parent set v = 'x' where id = 3");
$one->safe('delete from parent where id = 4');
$one->safe('commit');
$_->close for $one, $two;
my @mixed = $p->settled;
is("$mixed[0]{record}{capture} $mixed[0]{record}{capture_reason}",
	'race row_changed', 'a row that another changed in between')
	or diag(describe_tx($mixed[0]));

# --- what the client sees ---

fill();
is($p->safe_psql('with gone as (delete from src where id < 4 returning *) '
	. 'select * from gone order by id'), "1|10|s1\n2|20|s2\n3|30|s3",
	'rows of a modifying CTE');
is(($p->psql("insert into dst values (4, 0, 'x') on conflict do nothing; "
	. "insert into dst values (90, 0, 'x') on conflict do nothing returning "
	. 'id, v; truncate nokey; delete from parent where id = 4', tags => 1))[1],
	"INSERT 0 0\n90|x\nINSERT 0 1\nTRUNCATE TABLE\nDELETE 1",
	'tags and RETURNING are the server\'s');
like(($p->psql("insert into child values (100, 99, 'x') on conflict do nothing",
	on_error_go_on => 1))[2], qr/violates foreign key constraint/,
	'errors, too');
$p->settled;
my $w = $p->wire;
my @m = $w->ask(Parse('insert into dst values ($1, $2, $3) on conflict (id) do '
	. 'update set v = excluded.v returning id, v'), Bind([4, 1, 'new']),
	Describe('P'), Execute, Sync);
is_deeply([map { $_->[0] } @m], [qw(1 2 T D C Z)], 'the extended protocol');
is_deeply([columns($m[3])], [4, 'new'], 'its row');
$w->close;
is_verified($_, 'extended ON CONFLICT') for $p->settled;

# In a block its portal stays, and has run.
for my $e ($c, $p) {
	fill();
	my $x = $e->wire;
	$x->ask(Query('begin'));
	push @m, join ' ', map { $_->[0] } $x->ask(Parse('delete from dst using '
		. 'src where src.id = dst.id and src.n > $1 returning dst.id, src.v'),
		Bind([30], portal => 'x'), Describe('P', 'x'), Execute(0, 'x'),
		Describe('P', 'x'), Sync), $x->ask(Execute(0, 'x'), Sync),
		$x->ask(Query('rollback'));
	$x->close;
}
is($m[-1], $m[-2], 'a portal in a block, and executed again');
$p->settled;

# The server looks at its parent then, which has no rows: nothing is run again.
exact('INSERT by the name of a partition', 'insert into leaving_1 values (1)');
my $inserted = "pg_stat_get_tuples_inserted('leaving_1'::regclass)";
wait_until('the statistics', sub { $c->safe_psql("select $inserted") > 0 });
is($c->safe_psql("select $inserted"), 1, '... once');

# --- and what is not reached says so ---

sub named
{
	my ($name, $want, $sql) = @_;
	fill();
	my @tx = $p->witness($sql);
	is($tx[0]{record}{capture_reason}, $want, "$name: $want")
		or diag(describe_tx($tx[0]));
	is_named($_, $name) for @tx;
}
named('a large table is read', 'read_set', 'update dst set n = 1 where id in '
	. '(select id from big)');
fill();
my $old = $p->session;
$old->safe("insert into part values (30, 'zz', 1)");
$c->safe_psql("delete from part where region = 'zz'; create table part_zz "
	. "partition of part for values in ('zz')");
$old->safe("insert into part values ($_, 'zz', 1)") for 31, 32;
$old->close;
my @rows = $p->settled;
is($rows[1]{record}{capture_reason}, 'schema_changed', 'a new partition is seen')
	or diag(describe_tx($rows[1]));
is_verified($rows[2], 'and known from then on');
named('EXPLAIN ANALYZE that makes a table', 'explain_analyze', 'explain analyze '
	. 'create table made as select * from dst');
named('SERIALIZABLE', 'cascade', 'begin isolation level serializable; delete '
	. 'from parent where id = 2; commit');
named('a keyless table twice', 'no_primary_key', "begin; update nokey set v = "
	. "'z' where a = 1; delete from nokey where a = 2; commit");

# A block of ours would find the partition that READ COMMITTED no longer has.
my ($reader, $detacher) = ($c->session, $c->session);
$reader->safe('begin');
$reader->safe('select * from leaving');
$detacher->send('alter table leaving detach partition leaving_2 concurrently');
wait_until('the partition to be on its way', sub {
	$c->safe_psql('select count(*) from pg_inherits where inhdetachpending') });
my (undef, undef, $said) = $p->psql('insert into leaving values (2)');
like($said, qr/no partition of relation "leaving" found for row/,
	'a partition that is being detached');
$reader->safe('commit');
$detacher->finish_query;
$_->close for $reader, $detacher;
is($c->safe_psql('select count(*) from leaving_2'), 0, '... has no row');

# What a function of the user's says is heard when it says it, not at the end.
my ($holder, $waiter) = ($c->session, $p->session);
$holder->safe('begin');
$holder->safe('insert into noisy values (1, 1)');
$waiter->send('insert into noisy values (2, 1) on conflict (loud(n)) do nothing');
ok($waiter->read_until(qr/NOTICE:  loud/),
	'a notice comes while the statement waits');
$holder->safe('commit');
$waiter->finish_query;
$_->close for $holder, $waiter;
$p->settled;

no_mismatches($p);
one_outcome_and_verdict($p);
is($p->stop('TERM'), 0, 'stops');
done_testing;
