# Triggers: what they do to the row at hand is captured and verified; what they
# do elsewhere is seen, and said.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;

sub trigger
{
	my ($table, $name, $when, $body) = @_;
	return "create function $name() returns trigger language plpgsql as "
		. "\$f\$begin $body end\$f\$; create trigger $name $when on $table "
		. ($when =~ /statement/ ? '' : 'for each row ')
		. "execute function $name();";
}
sub table
{
	my ($name, @t) = @_;
	return "create table $name (id int primary key, v text, n int default 0, "
		. "at timestamptz, s serial); insert into $name select i, 'v' || i "
		. 'from generate_series(1, 9) i;'
		. join '', map { trigger($name, "${name}_$_", @{ $t[$_] }) } 0 .. $#t;
}

my $c = PGW::Cluster->new(sql => join '',
	'create table log (what text, n int); create table rate (f int);'
	. 'insert into rate values (3);',
	table('touch', ['before insert or update', "new.at := now(); new.n := new.n "
		. '+ 1; return new;']),
	table('quiet', ['after insert or update', 'return null;']),
	table('drops', ['before insert or update', "if new.v = 'no' then return "
		. 'null; end if; return new;']),
	table('elsewhere', ['after insert or update or delete', 'insert into log '
		. "values (tg_op, new.n); return null;"]),
	table('keeps', ['before delete', 'if old.id < 5 then return null; end if; '
		. 'return old;']),
	'create table audit (id bigserial primary key, who text default '
		. 'current_user, at timestamptz default clock_timestamp(), row jsonb);'
	. 'create table archive (like audit);',
	table('audited', ['after insert or update or delete', 'insert into audit '
		. '(row) values (to_jsonb(new)); return null;']),
	table('twice', ['after update', "insert into log values ('a', new.id), ('a', "
		. "new.id); insert into archive select 1, 'x', now(), to_jsonb(old); "
		. 'return null;']),
	table('itself', ['after update', 'if new.n < 5 then update itself set n = '
		. 'n + 1 where id = new.id; end if; return null;']),
	table('counted', ['after insert or update', 'update rate set f = f + 1; '
		. 'return null;'], ['after delete', "delete from rate where f > 100; "
		. "insert into log values ('d', old.id); return null;"]),
	'create table large as select i, repeat($$x$$, 100) v from generate_series(1, '
		. '5000) i;',
	table('vast', ['before update', 'new.n := (select count(*) from large); '
		. 'return new;'], ['before delete', 'update large set i = i + 1 where i < 9; '
		. 'return old;']),
	table('reads', ['before insert or update', 'new.n := (select f from rate); '
		. 'return new;']),
	table('moves', ['before insert', 'new.s := new.s + 1000; return new;']),
	table('clock', ['before update', 'new.at := clock_timestamp(); '
		. 'return new;']),
	table('alive', ['before insert or update', "new.v := new.v || '!'; "
		. 'return new;']),
	table('two', ['before update', "new.v := new.v || '1'; return new;"],
		['before update', "new.v := new.v || '2'; return new;"]),
	table('late', ['after delete', 'return null;']),
	'create extension dblink;',
	table('absent', ['before update', 'begin perform dblink_get_connections(); '
		. "exception when undefined_function then new.v := 'none'; end; "
		. 'return new;']),
	table('notifies', ['after update', "perform pg_notify('changed', new.id::text), "
		. 'pg_advisory_xact_lock(7); return null;']),
	table('divides', ['before update', 'begin new.n := 1 / 0; exception when '
		. 'division_by_zero then new.n := -1; end; return new;']),
	'alter table alive enable always trigger alive_0;'
	. 'alter table late enable replica trigger late_0;'
	. trigger('quiet', 'stm', 'after update', 'return null;'));
my $p = PGW::Proxy->new($c);

for my $in ('', 'transaction') {
	my ($begin, $end) = $in ? ('begin; update quiet set n = n + 1 where id = 9; ',
		'; update touch set n = n + 1 where id = 9; commit') : ('', '');
	my $as = $in ? ', in a transaction' : '';
	my $id = $in ? 200 : 100;
	my $run = sub {
		my ($name, $sql, $want) = @_;
		comes_out($p, "$name$as", $begin . ($sql =~ s/ID/$id/gr) . $end, $want);
	};
	$run->('INSERT', "insert into touch (id, v) values (ID, 'a')", 'verified');
	$run->('several rows', "insert into touch (id, v) values (ID + 1, 'a'), "
		. "(ID + 2, 'b')", 'verified');
	$run->('UPDATE', "update touch set v = 'x' where id = 1", 'verified');
	$run->('a set', "update touch set v = v || 'y' where id between 2 and 4",
		'verified');
	$run->('DELETE', 'delete from touch where id = ID', 'verified');
	$run->('does nothing', "update quiet set v = 'q' where id = 2", 'verified');
	$run->('two of them', "update two set v = 'w' where id = 2", 'verified');
	$run->('ENABLE ALWAYS', "update alive set v = 'l' where id = 2", 'verified');
	$run->('ENABLE REPLICA', 'delete from late where id = ID / 100 + 1',
		'verified');
	$run->('rows of UPDATE left out', "update drops set v = case when id < 5 "
		. "then 'no' else v end where id in (4, 5)", 'verified');
	$run->('rows of DELETE left out', 'delete from keeps where id in (ID / 100, '
		. '5 + ID / 100)', 'verified');
	$run->('writes elsewhere', "update elsewhere set v = 'e' where id = 1",
		'verified');
	$run->('writes elsewhere, at once again', "update elsewhere set v = 'f' where "
		. 'id = 1', 'verified');
	$run->('writes elsewhere, several rows', 'update elsewhere set n = n + 1 '
		. 'where id < 5', 'verified');
	$run->('writes elsewhere, with a serial', "insert into audited (id, v) "
		. "values (ID, 'a'), (ID + 1, 'b')", 'verified');
	$run->('writes elsewhere twice', "update twice set v = 'e' where id = 1",
		'verified');
	# Of these one statement is run again, with all rows of the tables.
	$run->('writes to its own table', 'update itself set n = 1 where id = 1',
		$in ? 'incomplete:triggers' : 'verified');
	$run->('updates another table', "update counted set v = 'c' where id = 1",
		$in ? 'incomplete:triggers' : 'verified');
	$run->('... of a set', "update counted set v = 'c' where id < 6",
		$in ? 'incomplete:triggers' : 'verified');
	$run->('deletes elsewhere', 'delete from counted where id = 5 + ID / 100',
		$in ? 'read_set' : 'verified');
	$run->('reads another table', "update reads set v = 'r' where id = 1",
		$in ? 'read_set' : 'verified');
	$run->('reads what is too large', "update vast set v = 'r' where id = 1",
		'read_set');
	$run->('updates what is too large', "delete from vast where id = 5 + ID / 100",
		'incomplete:triggers');
	$run->('a clock', "update clock set v = 'c' where id = 1",
		'volatile_function');
	$run->('changes what was recorded', "insert into moves (id) values (ID)",
		'trigger_input');
}

# What earlier transactions of the session were counted for is not mistaken.
my $s = $p->session;
$s->safe($_) for 'truncate log', map({ "update elsewhere set n = $_ where id = 1" } 1 .. 3),
	"insert into log values ('own', 1)", 'update elsewhere set n = 4 where id < 3',
	'begin', 'update elsewhere set n = 5 where id = 1', 'rollback',
	'update elsewhere set n = 6 where id = 1', 'begin', 'savepoint a',
	'update elsewhere set n = 7 where id = 1', 'rollback to a', 'update elsewhere '
	. 'set n = 8 where id = 1', 'release a', 'update elsewhere set n = 9 where id '
	. '= 1', 'commit';
$s->close;
is_verified($_, 'in one session') for $p->settled;

comes_out($p, 'notifies', 'update notifies set n = 1 where id = 1', 'verified');

# Errors that handlers take are others in replay, where something may be missing.
comes_out($p, 'a handled error', 'update divides set n = 1 where id = 1', 'verified');
comes_out($p, 'an error of replay alone', 'update absent set n = 1 where id = 1',
	'caught_error');

# Rows that lie in another order than replay's: so are the serials of the audit.
comes_out($p, 'one row moved', 'update audited set n = 1 where id = 1', 'verified');
comes_out($p, 'in the order of rows', 'update audited set n = n + 1 where n >= 0', 'order');

# In a transaction they are captured with all that is known of them by then.
$s = $p->session;
$s->safe($_) for map { ('begin', 'update counted set n = 5 where id = 2',
	'commit') } 1 .. 2;
$s->close;
my @known = $p->settled;
is($known[0]{record}{capture_reason}, 'triggers', 'the first time');
is_verified($known[1], 'the second time');

# What the transaction wrote before, a trigger may write again.
$s = $p->session;
$s->safe($_) for 'update counted set n = 6 where id = 2', 'begin',
	"insert into log values ('own', 0)", 'delete from counted where id = 8',
	'commit', 'begin', "insert into log values ('own', 0)", 'delete from counted '
	. 'where id = 9', 'commit';
$s->close;
my @twice = $p->settled;
is("$twice[1]{record}{capture} $twice[1]{record}{capture_reason}",
	'incomplete scope', 'the first time') or diag(describe_tx($twice[1]));
is($twice[2]{record}{capture_reason}, 'no_primary_key', 'then it is known, but '
	. 'not which of its rows are whose') or diag(describe_tx($twice[2]));

# --- COPY ---

for my $t (['touch', 'verified'], ['elsewhere', 'verified'], ['audited',
	'verified'], ['counted', 'incomplete:triggers'], ['drops', 'verified']) {
	my ($table, $want) = @$t;
	for my $in ('', 'transaction') {
		my $id = $in ? 600 : 500;
		comes_out($p, "COPY into $table" . ($in && ', in a transaction'), ($in &&
			"begin; update elsewhere set n = n + 1 where id = 1;\n")
			. "copy $table (id, v, s) from stdin;\n$id\ta\t1\n" . ($id + 1)
			. "\tno\t2\n\\.\n" . ($in && 'commit'), $want);
	}
}

# --- the function is another one now ---

$p->safe_psql("create or replace function touch_0() returns trigger language "
	. "plpgsql as \$f\$begin new.n := new.n + 100; return new; end\$f\$");
comes_out($p, 'a function replaced', "update touch set v = 'z' where id = 5",
	'verified');
$c->safe_psql("create or replace function touch_0() returns trigger language "
	. "plpgsql as \$f\$begin new.n := new.n + 7; return new; end\$f\$");
comes_out($p, 'replaced behind the proxy', "update touch set v = 'z' where id = 6",
	'verified');
$p->safe_psql('alter table touch disable trigger touch_0');
comes_out($p, 'disabled', "update touch set v = 'z' where id = 7", 'verified');

no_mismatches($p);
one_outcome_and_verdict($p);
is($p->stop('TERM'), 0, 'stops');
done_testing;
