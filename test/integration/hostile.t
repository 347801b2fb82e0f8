# Code that clients wrote does to the verification cluster what it may do there:
# nothing.  It hangs nobody, and is never verified or accused wrongly.  (What
# capture keeps away from replay is tried in unit/test_pins.)
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(slurp new_dir);

my $dir = new_dir('ho');
chmod 0777, $dir;
my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text);
	create table other (id int primary key, v text);
	insert into t select i, 'v' || i from generate_series(1, 99) i;
});
my $p = PGW::Proxy->new($c, conf => { replay => { statement_timeout => '5s' } });
my $id = 0;

# Bodies of functions, run for real on the server, whose superuser may do all
# of it; the verification cluster would leave a second trace.
my @evil = (
	['program', "copy (select 1) to program 'pwd >> $dir/program'"],
	['file', "copy (select clock_timestamp()) to '$dir/file'"],
	['read a file', "v := pg_read_file('postmaster.pid')"],
	['large object', "v := lo_import('$dir/lo')::text"],
	['system', "v := set_config('port', '1', true)", 'refused'],
	['role', 'set local role pg_monitor'],
	['session user', "execute 'reset session authorization'"],
	['commit', "execute 'do \$x\$ begin commit; end \$x\$'", 'refused'],
	['deallocate', 'deallocate all'],
	['prepare', 'prepare evil as select 1'],
	['no timeout', 'set local statement_timeout = 0'],
	['session lock', 'perform pg_advisory_lock(42)'],
	['listen', 'listen evil'],
	['elsewhere', "insert into other values (1, 'x') on conflict do nothing"],
	['rename', 'alter table other rename to another; '
		. 'alter table another rename to other'],
	['extension', 'create extension if not exists dblink'],
	['own role', 'create role evil; drop role evil'],
	['port', "v := current_setting('port')"],
	['process', 'v := pg_backend_pid()'],
	['clock', 'v := clock_timestamp()'],
	['who', 'v := current_user'],
	['catalog', 'v := (select count(*) from pg_class)'],
	['pins', "perform pgwitness_pin.set('', 'a.b', 'c')", 'refused'],
	['alter system', "alter system set work_mem = '5MB'", 'refused'],
	['dblink', "perform public.dblink_exec('dbname=none', 'select 1')",
		'refused']);

open my $lo, '>', "$dir/lo" or die $!;
close $lo;
for my $label (qw(volatile stable immutable)) {
	my $i = 0;
	$p->safe_psql(join ';', map { "create function ${label}_" . $i++
		. "() returns text language plpgsql $label as \$f\$declare v text "
		. ":= 'evil'; begin begin $_->[1]; exception when others then v "
		. ":= 'caught'; end; return v; end\$f\$" } @evil);
	for $i (0 .. $#evil) {
		my $name = "$evil[$i][0], $label";
		$id++;
		my @tx = $p->witness("update t set v = ${label}_$i() "
			. "where id = $id");
		cmp_ok(scalar @tx, '>', 0, "$name: has a record");
		is_named($_, $name) for @tx;
		isnt($_->{verdict}{verdict}, 'verified', "$name: not verified")
			for $evil[$i][2] ? () : grep { $label ne 'immutable' } @tx;
	}
}

# --- the same behind defaults, constraints, indexes and triggers ---

$p->safe_psql(q{
	create table hidden (id int primary key, a text default volatile_17(),
		b text check (b is null or immutable_17() is not null),
		c text generated always as (immutable_18()) stored);
	create index on hidden (immutable_0());
	create function fire() returns trigger language plpgsql as
		$f$begin new.a := volatile_0(); return new; end$f$;
	create table fired (id int primary key, a text);
	create trigger evil before insert on fired for each row
		execute function fire();
	alter table fired enable always trigger evil;
	create domain answer as text check (stable_17() <> value);
	create table asked (id int primary key, a answer);
});
for (['default', "insert into hidden (id) values (1)"],
	['constraint', "insert into hidden (id, a, b) values (2, 'a', 'b')"],
	['update', "update hidden set b = 'c' where id = 2"],
	['trigger', "insert into fired values (1, 'x')"],
	['domain', "insert into asked values (1, 'x')"],
	['a function of the name', q{create schema mine; create function
		mine.now() returns timestamptz language sql as
		'select pg_catalog.clock_timestamp()'; set search_path = mine,
		pg_catalog, public; insert into t values (1000, now())}]) {
	my ($name, $sql) = @$_;
	my @tx = $p->witness($sql);
	is_named($_, $name) for @tx;
}

# --- the same in trigger functions, which replay does run ---

# What replay refuses is an error there alone: code can tell, and do its worst.
my $there = 'begin v := current_user; exception when others then %s; end; '
	. "v := 'x'";
push @evil, map { [$_->[0], sprintf $there, $_->[1]] }
	['for ever', 'perform 1; loop null; end loop'],
	['for ever, no timeout', 'begin set statement_timeout = 0; exception '
		. 'when others then null; end; loop null; end loop'],
	['sort', 'perform count(*) from (select g from '
		. 'generate_series(1, 200000000) g order by -g) x'],
	['memory', "perform array_agg(repeat('x', 100000000)) from "
		. 'generate_series(1, 100)'];
for my $i (0 .. $#evil) {
	my ($name, $body, $refused) = @{ $evil[$i] };
	$p->safe_psql("create table armed_$i (id int primary key, v text); "
		. "create function evil_$i() returns trigger language plpgsql as "
		. "\$f\$declare v text := 'evil'; begin begin $body; exception when "
		. "others then v := 'caught'; end; new.v := v; return new; end\$f\$; "
		. "create trigger evil before insert or update on armed_$i "
		. "for each row execute function evil_$i()");
	for my $sql ("insert into armed_$i values (1, 'x')",
		"update armed_$i set v = 'y' where id = 1") {
		my @tx = $p->witness($sql);
		cmp_ok(scalar @tx, '>', 0, "trigger, $name: has a record");
		is_named($_, "trigger, $name") for @tx;
		isnt($_->{verdict}{verdict}, 'verified',
			"trigger, $name: not verified")
			for $refused || $name eq 'elsewhere' ? () : @tx;
	}
}
is(() = slurp("$dir/program") =~ /^\Q$c->{dir}\E/mg,
	() = slurp("$dir/program") =~ /^.+$/mg,
	'only the server has run a program');

# --- DO, by itself ---

for (['commit', 'insert into other values (2, $x$a$x$); commit; '
		. 'insert into other values (3, $x$b$x$)'],
	['session user', 'execute $x$reset session authorization$x$; '
		. 'update other set v = $x$c$x$'],
	['role', 'set local role pg_monitor; reset role; '
		. 'update other set v = $x$d$x$']) {
	my ($name, $body) = @$_;
	is_named($_, "DO, $name") for $p->witness("do \$f\$begin $body; end\$f\$");
}

# --- functions that replay gives the results of, made anew on the server ---

my $pinned = 'create or replace function pg_catalog.random() returns float8 '
	. 'volatile strict parallel restricted';
$p->safe_psql("create table drawn (id int primary key, r float8 "
	. "default random()); $pinned language sql as 'select 0.5::float8'");
is_named($_, 'a pinned function, replaced') for $p->witness(
	'insert into drawn (id) values (1); update drawn set r = random() / 2');
$p->safe_psql("$pinned language internal as 'drandom'");

# --- what clients' DDL runs while it is run in the copies ---

# A default that is no volatile one is evaluated by ADD COLUMN.  What it does it
# does only there.
my @there = (
	['program', "copy (select 1) to program 'touch $dir/there'"],
	['file', "copy (select 1) to '$dir/there'"],
	['read a file', "perform pg_read_file('postmaster.pid')"],
	['superuser', 'alter role pgwitness_replay superuser'],
	['password', "alter role pgwitness_replay password 'x'"],
	['another role', 'set role pg_execute_server_program'],
	['session user', 'set session authorization postgres'],
	['extension', 'create extension dblink'],
	['language', 'create function c() returns int language c as $$x$$, $$y$$'],
	['pins', 'drop schema pgwitness_pin cascade'],
	['pinned', 'create or replace function pg_catalog.now() returns timestamptz '
		. 'language sql as $$select null::timestamptz$$'],
	['input', 'create or replace function pgwitness_pin.take(internal) returns '
		. 'internal language internal as $$int4in$$'],
	['catalog', 'delete from pg_class'],
	['rows', "insert into other values (77, 'stray'); "
		. "update other set v = 'stray'"],
	['commit', 'commit'],
	['session', 'set search_path = pg_temp; create temp table t (x int); '
		. 'perform pg_advisory_lock(7); listen x; set statement_timeout = 0'],
	['for ever', 'begin loop null; end loop; exception when query_canceled '
		. 'then loop null; end loop; end']);
for my $i (0 .. $#there) {
	my ($name, $body) = @{ $there[$i] };
	$p->safe_psql("create function writes_$i() returns void language plpgsql as "
		. "\$f\$begin if current_user = 'pgwitness_replay' then $body; end if; "
		. "end\$f\$; create function there_$i() returns text language plpgsql "
		. "stable as \$f\$begin perform writes_$i(); return 'x'; end\$f\$");
	$p->safe_psql("create table victim_$i (id int primary key); "
		. "alter table victim_$i add column v text default there_$i()");
	is_named($_, "DDL: $name") for $p->witness(
		"insert into victim_$i values (1); "
		. "insert into other values (1$i$i, 'honest'); update other set v = 'h'");
}
ok(!-e "$dir/there", 'DDL in the copies runs no program and writes no file');
is_verified($_, 'no row of it is left') for $p->witness(
	"delete from other; insert into other values (77, 'honest')");

# --- nothing of it is left, nobody hangs ---

is_verified($_, 'an honest statement') for $p->witness(
	"update t set v = 'honest' where id = 99");
no_mismatches($p);
one_outcome_and_verdict($p);
ok(!(grep { ($_->{event} // '') =~ /replay_stuck|verification_leftover/ }
	$p->operator_log), 'no process of the verification cluster is stuck');
is($p->stop('TERM'), 0, 'stops');
done_testing;
