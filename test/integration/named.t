# What is hard to capture is named: never verified wrongly, never a mismatch.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(spew new_dir);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text, n int default 0);
	insert into t select i, 'v' || i from generate_series(1, 50) i;
	create table nokey (a int, b text);
	insert into nokey values (1, 'x'), (1, 'x'), (2, 'y'), (3, null);

	create table trig (id int primary key, v text);
	create table audit (id int, v text);
	create function on_trig() returns trigger language plpgsql as $$ begin
		insert into audit values (new.id, new.v);
		new.v := upper(new.v); return new; end $$;
	create trigger trig before insert or update on trig
		for each row execute function on_trig();

	create table parent (id int primary key, v text);
	create table child (id int primary key, p int references parent
		on delete cascade on update cascade, v text);
	create table uparent (id int primary key, code text unique);
	create table uchild (id int primary key, code text references uparent (code)
		on update cascade);
	insert into uparent values (1, 'a');
	insert into uchild values (1, 'a');
	insert into parent select i, 'p' from generate_series(1, 5) i;
	insert into child select i, 1 + i % 5, 'c' from generate_series(1, 20) i;

	create table part (id int, region text, v text, primary key (id, region))
		partition by list (region);
	create table part_a partition of part for values in ('a');
	create table part_b partition of part for values in ('b');
	create table base (id int primary key, v text);
	create table derived (extra text) inherits (base);
	insert into base values (1, 'b'); insert into derived values (2, 'd', 'e');

	create view tv as select id, v from t where id < 40;
	create table ruled (id int primary key, v text);
	create rule r as on update to ruled do also
		insert into audit values (new.id, new.v);
	insert into ruled values (1, 'r');
	create table secret (id int primary key, owner text, v text);
	insert into secret values (1, 'app', 'x'), (2, 'boss', 'y');
	alter table secret enable row level security;
	create policy mine on secret using (owner = current_user);
	create table gen (id int generated always as identity primary key,
		a int, twice int generated always as (a * 2) stored);
	create table defer (id int primary key, u int unique
		deferrable initially deferred);
	insert into defer values (1, 1), (2, 2);
	create unlogged table ul (id int primary key, v text);
	create domain posint as int check (value > 0);
	create table dom (id posint primary key, v posint);

	create function touch(i int) returns int language sql as
		$$ update t set n = n + 1 where id = i returning n $$;
	create procedure proc(i int) language plpgsql as
		$$ begin update t set n = n + 1 where id = i; commit;
		update t set n = n + 1 where id = i + 1; end $$;
	create role app login; grant all on all tables in schema public to app;
});
my $p = PGW::Proxy->new($c);
$c->safe_psql('grant all on pgw_fence to app');

# [name, SQL, options]: at least one record, each named.  n: how many records;
# none: no record is right, too.
my @cases = (
	['trigger target', "insert into trig values (1, 'a')"],
	['trigger target, UPDATE', "update trig set v = 'b' where id = 1"],
	['foreign-key cascade, DELETE', 'delete from parent where id = 1'],
	['foreign-key cascade, UPDATE', 'update parent set id = 22 where id = 2'],
	['foreign-key cascade from a unique column', "update uparent set code = 'b' where id = 1"],
	['foreign-key parent, no cascade', "update parent set v = 'q' where id = 3"],
	['foreign-key child', "insert into child values (100, 3, 'x')"],
	['partitioned table, INSERT', "insert into part values (1, 'a', 'x'), "
		. "(2, 'b', 'y')"],
	['partitioned table, UPDATE', "update part set v = 'z' where id = 1"],
	['partition move', "update part set region = 'b' where id = 1"],
	['a partition itself', "update part_b set v = 'w' where id = 2"],
	['inheritance parent', "update base set v = 'i'"],
	['inheritance, ONLY', "update only base set v = 'o'"],
	['inheritance child', "update derived set v = 'k', extra = 'l'"],
	['no-key UPDATE', "update nokey set b = 'z' where a = 1"],
	['no-key DELETE of equal rows', 'delete from nokey where ctid = (select '
		. 'min(ctid) from nokey)'],
	['MERGE', 'merge into t using (values (1, $$m$$), (900, $$n$$)) s (id, v)'
		. ' on t.id = s.id when matched then update set v = s.v when not '
		. 'matched then insert values (s.id, s.v)'],
	['ON CONFLICT DO UPDATE', "insert into t values (2, 'c'), (901, 'd') on "
		. 'conflict (id) do update set v = excluded.v'],
	['ON CONFLICT DO NOTHING', "insert into t values (2, 'c'), (902, 'd') on "
		. 'conflict do nothing'],
	['ON CONFLICT, nothing done', "insert into t values (2, 'c') on conflict "
		. 'do nothing', none => 1],
	['TRUNCATE', 'truncate audit'],
	['TRUNCATE CASCADE', 'truncate parent cascade'],
	['COPY FROM', "copy t (id, v) from stdin;\n910\tcopy\n911\t\\N\n\\.\n"],
	['CTE DML', 'with d as (delete from t where id = 911 returning *) insert '
		. 'into nokey select id, v from d'],
	['CTE and UPDATE', 'with s as (select 3 as k) update t set v = $$cte$$ '
		. 'from s where id = s.k'],
	['UPDATE FROM', 'update t set v = b from nokey where a = id'],
	['DELETE USING', 'delete from t using nokey where t.id = a and a = 3'],
	['subquery in SET', 'update t set n = (select count(*) from nokey) where '
		. 'id = 5'],
	['INSERT ... SELECT', 'insert into t (id, v) select id + 2000, v from t '
		. 'where id < 20'],
	['INSERT ... SELECT with LIMIT, no order', 'insert into t (id, v) select '
		. 'id + 3000, v from t limit 3'],
	['SAVEPOINT and ROLLBACK TO', "begin; update t set v = 'keep' where id = "
		. "6; savepoint s; update t set v = 'undo' where id in (6, 7); "
		. 'rollback to s; update t set n = 9 where id = 8; commit'],
	['SAVEPOINT and RELEASE', "begin; savepoint s; update t set v = 'rel' "
		. 'where id = 6; release s; commit'],
	['error, ROLLBACK TO, COMMIT', "begin; update t set v = 'e' where id = 6;"
		. " savepoint s;\n\\set ON_ERROR_STOP 0\nupdate t set n = 1/0;\n"
		. 'rollback to s; commit'],
	['function with side effects', 'select touch(9)'],
	['function in UPDATE', 'update t set n = touch(9) where id = 10'],
	['DO', "do \$\$ begin update t set v = 'do' where id = 11; end \$\$"],
	['CALL with COMMIT inside', 'call proc(12)'],
	['PREPARE and EXECUTE', 'prepare q (int) as update t set n = n + 1 where '
		. 'id = $1; execute q(14); execute q(15); deallocate q'],
	['EXPLAIN ANALYZE', 'explain analyze update t set n = 3 where id = 16'],
	['SELECT INTO', 'select * into copied from t where id < 5'],
	['CREATE TABLE AS', 'create table copied2 as select * from t'],
	['view', "update tv set v = 'view' where id = 17"],
	['rule', "update ruled set v = 's' where id = 1"],
	['row level security', "update secret set v = 'z'", user => 'app'],
	['identity and generated columns', 'insert into gen (a) values (1), (2)'],
	['generated column, UPDATE', 'update gen set a = 5 where id = 1'],
	['deferred constraint', 'begin; update defer set u = 3 - u; commit'],
	['unlogged table', "insert into ul values (1, 'x')"],
	['domain', 'insert into dom values (1, 2)'],
	['temporary table', 'create temp table tmp (id int primary key); insert '
		. 'into tmp values (1)'],
	['SET LOCAL changes the meaning', "begin; set local datestyle = 'German';"
		. "update t set v = date '2020-02-01'::text where id = 18; commit"],
	['SET ROLE', "begin; set role app; update t set v = current_user where "
		. 'id = 19; reset role; commit'],
	['search_path', 'create schema other; create table other.t (id int '
		. 'primary key, v text); set search_path = other; '
		. "insert into t values (1, 'other')"],
	['environment', 'update t set v = version() where id = 20'],
	['system columns', 'update t set v = ctid::text where id = 20'],
	['catalog', 'update t set n = (select count(*) from pg_class) where id = 20'],
	['sequence', 'create sequence sq; update t set n = nextval($$sq$$) where '
		. 'id = 21'],
	['cursor', "begin; declare cur cursor for select * from t where id = 22 "
		. "for update; fetch cur; update t set v = 'cur' where current of cur;"
		. ' commit'],
	['DDL and DML together', 'begin; alter table t add column z int default 3;'
		. 'update t set z = 4 where id = 23; commit'],
	['two-phase commit', "begin; update t set v = '2pc' where id = 24; "
		. "prepare transaction 'g'; commit prepared 'g'"],
	['two-phase rollback', "begin; update t set v = '2pr' where id = 24; "
		. "prepare transaction 'h'; rollback prepared 'h'", none => 1,
		outcome => 'aborted'],
	['large object', "select lo_from_bytea(0, 'x')"],
	['stable order in float', 'update t set n = (select sum(n::float8 / 3) '
		. 'from t)::int where id = 25'],
	['clock', 'update t set v = left(clock_timestamp()::text, 9) where id = 26'],
	['txid', 'update t set v = pg_current_xact_id()::text where id = 26'],
	['uuid', q{update t set v = 'u' || gen_random_uuid() where id = 27}],
	['several statements in one message', "update t set v = 'm1' where id = "
		. "28; update t set v = 'm2' where id = 28", message => 1],
	['a block in one message', "begin; update t set v = 'b1' where id = 28; "
		. 'commit', message => 1],
	['DML and DDL in one message', "update t set v = 'm3' where id = 28; "
		. 'create table one_message (a int)', message => 1],
);

my $preparation = qr/^\s*create (?:temp|schema|sequence|table other)\b/i;

for (@cases) {
	my ($name, $sql, %o) = @$_;
	my ($rc, undef, $err) = $o{message}
		? $p->psql_c($sql)
		: $p->psql($sql, user => $o{user} // 'postgres');
	is($rc, 0, "$name: works through the proxy") or diag($err);
	my @tx = grep { ($_->{query} // '') !~ $preparation }
		eval { $p->settled };
	is($@, '', "$name: settles");
	cmp_ok(scalar @tx, '>', 0, "$name: has a record") unless $o{none};
	for my $t (@tx) {
		is_named($t, $name, outcome => $t->{outcome}{outcome} eq 'aborted'
			&& $o{outcome} ? $o{outcome} : 'committed');
	}
}

# --- nothing is called verified that cannot be ---

my %never = ('environment' => qr/version\(\)/, 'clock' => qr/clock_timestamp/,
	'uuid' => qr/gen_random_uuid/, 'system columns' => qr/ctid::text/,
	'catalog' => qr/pg_class/);
for my $name (sort keys %never) {
	my ($t) = grep { ($_->{query} // '') =~ $never{$name} } $p->transactions;
	is($t->{verdict}{verdict}, 'unverifiable', "$name: not verified");
}

# --- DML by the extended protocol ---

sub raw
{
	my ($name, @bytes) = @_;
	my $w = $p->wire;
	my @m = $w->ask(@bytes);
	ok(!(grep { $_->[0] eq 'E' } @m), "$name: works")
		or diag(map { fields($_)->{M} } grep { $_->[0] eq 'E' } @m);
	$w->send(Terminate);
	my @tx = $p->settled;
	cmp_ok(scalar @tx, '>', 0, "$name: has a record");
	is_named($_, $name) for @tx;
}
raw('unnamed extended UPDATE', Parse('update t set v = $1 where id = $2'),
	Bind(['x', 30]), Describe('P'), Execute, Sync);
raw('named extended INSERT', Parse('insert into t values ($1, $2)',
	name => 'i'), Bind([950, 'n'], name => 'i'), Execute,
	Bind([951, undef], name => 'i'), Execute, Sync);
raw('binary parameters', Parse('update t set n = $1 where id = $2',
	types => [23, 23]), Bind([pack('N', 77), pack('N', 31)],
	formats => [1]), Execute, Sync);
raw('suspended DML portal', Parse('update t set n = n + 1 where id < 40 '
	. 'returning id'), Bind([]), Execute(5), Execute(5), Sync);

my $script = new_dir('b') . '/script.sql';
spew($script, "\\set id random(30, 50)\nupdate t set n = n + 1 where id = :id;\n"
	. "begin;\nupdate t set v = 'pgbench' where id = :id;\n"
	. "insert into nokey values (:id, 'pgbench');\nend;\n");
for my $mode (qw(simple extended prepared)) {
	my ($rc, $out, $err) = $p->pgbench('-n', '-M', $mode, '-c', 2, '-t', 20,
		'-f', $script);
	is($rc, 0, "pgbench -M $mode") or diag($err);
	like($out, qr/failed transactions: 0/, 'no failed transactions');
	my @tx = $p->settled;
	cmp_ok(scalar @tx, '>=', 80, "pgbench -M $mode: a record per transaction");
	my @bad = grep { !($_->{outcome}{outcome} eq 'committed'
		&& ($_->{verdict}{verdict} eq 'unverifiable'
			|| ($_->{verdict}{verdict} eq 'verified'
				&& $_->{record}{capture} eq 'exact'))) } @tx;
	is(@bad, 0, "pgbench -M $mode: all named") or diag(describe_tx($bad[0]));
}

no_mismatches($p);
one_outcome_and_verdict($p);
ok(!(grep { $_->{record} && ($_->{record}{capture} // '') ne 'exact'
	&& ($_->{verdict}{verdict} // '') eq 'verified' } $p->transactions),
	'nothing is verified that was not captured exactly');
is($p->stop('TERM'), 0, 'stops');
done_testing;
