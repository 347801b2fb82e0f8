# What replay finds otherwise for reasons that are its own, or nobody's, is no
# mismatch: OIDs, the order of rows, locks of others.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;

sub hashed
{
	my ($name, $key) = @_;
	return "create table $name (k $key, v text) partition by hash (k);"
		. join '', map { "create table ${name}_$_ partition of $name for "
		. "values with (modulus 4, remainder $_);" } 0 .. 3;
}
sub trigger
{
	my ($name, $body) = @_;
	return "create table $name (id int primary key, n int, v text); insert into "
		. "$name select i, i, 'v' from generate_series(1, 9) i; create function "
		. "${name}_f() returns trigger language plpgsql as \$f\$$body\$f\$; "
		. "create trigger t before update on $name for each row execute "
		. "function ${name}_f();";
}

# Whatever the server makes later has other OIDs than in a copy.
my $c = PGW::Cluster->new(sql => join '',
	(map { "create type filler$_ as enum ('x'); drop type filler$_;" } 1 .. 3),
	"create type mood as enum ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');"
	. hashed('moods', 'mood'),
	hashed('ranges', 'int4range'), hashed('texts', 'text'),
	trigger('number', 'begin new.n := tg_relid::int8::int; return new; end'),
	trigger('letters', 'begin new.v := TG_RelId; return new; end'),
	trigger('assigned', "declare o oid; begin o := 'assigned'::regclass; "
		. 'new.v := o; return new; end'),
	trigger('context', 'declare x text; begin get diagnostics x = pg_context; '
		. 'new.v := x; return new; end'), q{
	create table job (id int primary key, state text);
	insert into job select i, 'new' from generate_series(1, 20) i;
	create table t (id int primary key, v text, n int, m mood);
	insert into t select i, 'v' || i, i % 3, 'b' from generate_series(1, 50) i;
	update t set v = v || '' where id % 2 = 0;
	create table copies (id int primary key, v text);
	create table up (id int primary key, u int unique, v text);
	insert into up select i, i, 'v' from generate_series(9, 1, -1) i;
	create table scaled (id int primary key, x numeric, v text);
	insert into scaled values (1, 1.00, 'a'), (2, 1.0, 'a'), (3, 1, 'b');
	update scaled set v = 'z' where id = 1;
	create table sink (id int, x text)});
my $family = q{
	create table PREparent (id int primary key);
	insert into PREparent select generate_series(1, 9);
	create table PREchild (id int primary key,
		p int references PREparent on delete cascade on update cascade);
	insert into PREchild select id, id from PREparent;
	alter table PREparent disable trigger all;
	create table PREboss (id int primary key);
	insert into PREboss select generate_series(1, 9);
	create table PREstaff (id int primary key, b int references PREboss);
	insert into PREstaff select id, id from PREboss;
	alter table PREboss disable trigger all;
	alter table PREstaff disable trigger all;
	create table PREbase (id int primary key, a int);
	create table PREheir (b int) inherits (PREbase);
	alter table PREbase add column c text default 'c'};
$c->safe_psql($family =~ s/PRE/dumped_/gr);
my $p = PGW::Proxy->new($c);

# --- OIDs ---

comes_out($p, 'enums in hash partitions', "insert into moods select m, 'x' from "
	. 'unnest(enum_range(null::mood)) m', 'unpinned_expression');
comes_out($p, 'one of them', "insert into moods values ('c', 'y')",
	'unpinned_expression');
comes_out($p, 'ranges in hash partitions', "insert into ranges values ('[1,2)', 'y')",
	'verified');
comes_out($p, 'texts in hash partitions', "insert into texts values ('b', 'y')",
	'verified');
comes_out($p, 'the hash of an enum', 'update t set n = hashenum(m) where id = 1',
	'environment');
comes_out($p, 'the hash of an array', 'update t set n = hash_array(array[m]) '
	. 'where id = 1', 'environment');
comes_out($p, 'the hash of a text', 'update t set n = hashtext(v) where id = 1',
	'verified');
comes_out($p, "TG_RELID, $_", "update $_ set n = 2 where id = 1",
	'unpinned_expression') for qw(number letters);
comes_out($p, 'an OID assigned', 'update assigned set n = 2 where id = 1', 'environment');
comes_out($p, 'PG_CONTEXT', 'update context set n = 2 where id = 1', 'verified');

# --- what a dump does not keep, and what DDL in a copy cannot do ---

$p->warm;
is_named($_, 'rows of before') for $p->witness($family =~ s/PRE/seen_/gr);
for my $as ('dumped', 'seen') {
	comes_out($p, "foreign keys that do not act, $as", $_, 'schema_not_restored',
		'schema_changed') for "delete from ${as}_parent where id = 1",
		"update ${as}_parent set id = 99 where id = 2",
		"delete from ${as}_parent where id between 3 and 4",
		"delete from ${as}_boss where id = 1";
	comes_out($p, "foreign keys that do not check, $as", "insert into ${as}_staff "
		. 'values (100, 100)', 'verified');
	comes_out($p, "columns in another order, $as", "insert into ${as}_heir values "
		. '(1, 2, 3)', 'schema_not_restored', 'schema_changed', 'verified');
}

# --- locks of others ---

my $holder = $c->session;
$holder->safe($_) for 'begin', 'select from job where id in (1, 2, 3) for update';
my $free = "select id from job where state = 'new' and id < 9 for update skip locked";
comes_out($p, 'SKIP LOCKED', "update job set state = 'x' where id in ($free)", 'order');
comes_out($p, 'SKIP LOCKED, INSERT', 'insert into copies select id, state from job for '
	. 'update skip locked', 'order');
comes_out($p, 'SKIP LOCKED, DELETE', "delete from job where id in (select id from job "
	. 'where id between 3 and 9 for update skip locked)', 'order');
$holder->safe('rollback');
$holder->close;
comes_out($p, 'no lock', "update job set state = 'y' where id in (select id from job "
	. 'where id < 3 for update)', 'verified');

# --- the order of rows, which a copy need not have ---

comes_out($p, 'ARRAY()', 'update t set v = array(select id from t)::text where id = 2',
	'order', 'verified');
comes_out($p, 'string_agg, equal keys', 'update t set v = (select string_agg(id::text, '
	. "',' order by n) from t) where id = 4", 'order', 'verified');
comes_out($p, "$_ of floats", "update t set v = (select $_ from t)::text where id = 6",
	'order', 'verified') for 'regr_slope(n, id)', 'sum(n::float8 / 7)',
	'avg(sqrt(id))', 'corr(n, id)', 'stddev(n / 7::real)';
for (['one after the other', 'update up set u = u + 1'],
	['some of them', 'update up set u = u + 1 where id > 3'],
	['in a transaction', 'begin; update up set u = u + 1 where id > 2; commit'],
	['touched before', "begin; update up set v = 'x'; update up set u = u + 1; "
		. 'commit'],
	['by a CTE', 'with x as (select 1) update up set u = u + 1 from x'],
	['by MERGE', 'merge into up using (select id from up) s on s.id = up.id '
		. 'when matched then update set u = u + 1']) {
	my ($name, $sql) = @$_;
	$p->safe_psql('begin; truncate up; insert into up select i, i, $$v$$ from '
		. 'generate_series(9, 1, -1) i; commit');
	$p->settled;
	comes_out($p, "unique keys, $name", $sql, 'order', 'verified');
}
comes_out($p, "equal ones, $_", "insert into sink select 1, x::text from ($_) q",
	'order', 'verified') for 'select distinct x from scaled',
	'select x from scaled group by x', 'select max(x) as x from scaled',
	'select x from scaled union select x from scaled';
comes_out($p, 'a sum of integers', 'update t set n = (select sum(n) from t) where id = 7',
	'verified');
no_mismatches($p);
is($p->stop, 0, 'stops');
done_testing;
