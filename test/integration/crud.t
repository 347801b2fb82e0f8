# INSERT, UPDATE and DELETE through the proxy are recorded, decided, verified.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text, n numeric(10,2), b bool);
	create table pair (a int, b text, v text, primary key (b, a));
	create table keyless (v text);
	create table stamped (id int primary key, at timestamptz default now(),
		note varchar(20) default 'none', r float8);
	create table big (id int primary key, v text);
	create table kinds (id int primary key, i8 int8, f4 float4, f8 float8,
		d date, ts timestamp, tz timestamptz, iv interval, by bytea,
		j jsonb, js json, u uuid, ia int[], ta text[], c char(5),
		vc varchar(9), ip inet, bt bit(3), r int4range);
	create table cash (id int primary key, m money);
	create table "Odd ""Name" (id int primary key, "The Value" text);
	insert into t select i, 'v' || i, i, i % 2 = 0 from generate_series(1, 9) i;
});
my $p = PGW::Proxy->new($c, conf => { log => { row_data => 'on' } });

# Runs it and wants one verified transaction; returns that.
sub verified
{
	my ($name, $sql) = @_;
	my @tx = $p->witness($sql);
	is(@tx, 1, "$name: one record") or diag(map { describe_tx($_) . "\n" } @tx);
	is_verified($tx[0], $name);
	return $tx[0];
}

# --- one row ---

my $tx = verified('INSERT', "insert into t values (10, 'ten', 1.5, true)");
my $r = $tx->{record};
is($r->{query_sequence}[0]{sql}, "insert into t values (10, 'ten', 1.5, true)",
	'the statement as sent');
is($r->{query_sequence}[0]{type}, 'INSERT', 'its type');
is($r->{user}, 'postgres', 'the user');
is($r->{database}, 'postgres', 'the database');
is($r->{application_name}, 'psql', 'the application');
like($r->{xid}, qr/^\d+$/, 'the xid as a decimal string');
is($r->{system_identifier}, $c->safe_psql('select system_identifier from '
	. 'pg_control_system()'), 'the system identifier');
my $table = table_of($tx, 't');
is($table->{pre_rows}, 0, 'no row before');
is($table->{post_rows}, 1, 'one after');
is_deeply($table->{key}, ['id'], 'the key');
is($table->{access}, 'write', 'written');
isnt($table->{pre_root}, $table->{post_root}, 'roots differ');

$tx = verified('UPDATE', "update t set v = 'changed', n = n + 1 where id = 1");
is(table_of($tx, 't')->{pre_rows}, 1, 'one row before');
my ($rows) = @{ $tx->{record}{rows} };
is($rows->{before}[0]{v}[1], 'v1', 'row_data has the value before');
is($rows->{after}[0]{v}[1], 'changed', 'and after');
is($rows->{after}[0]{n}[0], 'numeric(10,2)', 'with its full type');

$tx = verified('DELETE', 'delete from t where id = 2');
is(table_of($tx, 't')->{post_rows}, 0, 'no row after');
my $empty = table_of($tx, 't')->{post_root};
$tx = verified('INSERT again', 'insert into t (id) values (2)');
is(table_of($tx, 't')->{pre_root}, $empty, 'no rows: the empty root');

# --- values ---

verified('all NULL', 'update t set v = null, n = null, b = null where id = 3');
verified('NULL is not the text nil', "update t set v = 'nil' where id = 3");
$tx = verified('empty string', "update t set v = '' where id = 3");
my $a = table_of($tx, 't')->{post_root};
$tx = verified('NULL', 'update t set v = null where id = 3');
isnt(table_of($tx, 't')->{post_root}, $a, 'NULL and empty string differ');
$p->witness('delete from pair');
my @framed = map { table_of(verified("frame $_->[0]|$_->[1]",
	"insert into pair values ($_->[0], '$_->[1]', '$_->[2]')"), 'pair')
	->{post_root} } [1, 'ab', 'c'], [2, 'a', 'bc'], [3, 'abc', ''];
isnt($framed[0], $framed[1], 'fields are framed');

my @kinds = ("1, 9007199254740993, 0.1, 0.1::float8 / 3, '2020-02-29', "
	. "'1999-12-31 23:59:59.999999', '2020-06-01 12:00+09', "
	. "'1 year 2 mons -3 days 04:05:06.7', '\\xdeadbeef00', "
	. "'{\"b\": 1.10, \"a\": [null, \"x\"]}', '{\"b\":  1}', "
	. "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{1,null,3}', "
	. "'{\"a,b\",\"c\\\"d\",null,NULL}', 'ab', 'ab', '10.0.0.0/8', "
	. "B'101', '[1,5)'");
verified('nineteen types', "insert into kinds values ($kinds[0])");
is_named($_, 'nineteen types in another session\'s settings')
	for $p->witness("set timezone = 'Asia/Tokyo'; set datestyle = 'German';"
	. "set intervalstyle = 'iso_8601'; set extra_float_digits = 0; "
	. "set bytea_output = 'escape'; update kinds set iv = iv * 2, "
	. "f8 = f8 / 7, by = by || '\\001'::bytea, d = '31.12.2020' where id = 1");
$tx = verified('timestamptz under another TimeZone', "set timezone = "
	. "'Asia/Tokyo'; update kinds set tz = '2021-01-01 00:00' where id = 1");
($rows) = @{ $tx->{record}{rows} // [] };
is($rows->{after}[0]{tz}[1], '2020-12-31 15:00:00+00',
	'a timestamptz is in UTC whatever the session\'s TimeZone');
is($c->safe_psql("set timezone = 'UTC'; select tz from kinds"),
	'2020-12-31 15:00:00+00', 'and means what the session meant');
is($p->safe_psql("set timezone = 'Asia/Tokyo'; update kinds set i8 = 1; "
	. "show timezone; select tz from kinds"),
	"Asia/Tokyo\n2021-01-01 00:00:00+09", 'the client\'s settings are kept');
$p->settled;
is_named($_, 'money') for $p->witness('insert into cash values (1, 12.34)');
verified('two-byte characters', "update t set v = 'äöü €' where v is null "
	. 'and id = 3');
verified('odd names', q{insert into "Odd ""Name" values (1, 'it''s')});
verified('odd names, update', q{update "Odd ""Name" set "The Value" = 'x'});
verified('dollar quotes and comments', "/* c */ update t set v = \$q\$ ';-- "
	. "\$q\$ -- where\n where id = 4");

# --- keys and sets ---

verified('the key changes', 'update t set id = 100 where id = 5');
verified('several rows', 'update t set n = n * 2 where id in (6, 7, 8)');
verified('a set predicate', "update t set b = not b where v like 'v%'");
verified('several rows inserted', 'insert into t select i from '
	. 'generate_series(201, 250) i');
verified('several rows deleted', 'delete from t where id between 210 and 240');
verified('multi-column key', "update pair set v = 'new' where a = 1 and "
	. "b = 'ab'");
verified('multi-column key, half of it', "delete from pair where a = 2");
verified('no key, INSERT', "insert into keyless values ('x'), ('x'), (null)");
is_named($_, 'rows by a query') for $p->witness(
	'insert into t (id, v) select a + 300, b from pair');

is_deeply([$p->settled], [], 'nothing is left');
$p->safe_psql('update t set n = 0 where id = -1');
for ($p->settled) {
	is_named($_, 'an UPDATE that matches nothing');
}

# --- time and chance ---

$tx = verified('DEFAULT now()', 'insert into stamped (id) values (1)');
ok((grep { ($_->{function} // '') eq 'now' } @{ $tx->{record}{warnings} }),
	'now() in a default is warned about');
$tx = verified('now()', 'update stamped set at = now() where id = 1');
ok((grep { ($_->{function} // '') eq 'now' } @{ $tx->{record}{warnings} }),
	'now() is warned about');
$tx = verified('CURRENT_TIMESTAMP', 'update stamped set at = current_timestamp '
	. 'where id = 1');
($tx) = $p->witness('update stamped set r = 1 + random() where id = 1');
is($tx->{verdict}{verdict}, 'unverifiable', 'random() is unverifiable')
	or diag(describe_tx($tx));
is($tx->{verdict}{success} ? 1 : 0, 0, 'success is false');
my ($warning) = grep { ($_->{function} // '') eq 'random' }
	@{ $tx->{record}{warnings} };
ok($warning, 'random() is warned about');
is($warning->{code}, 'non_deterministic', 'with its code');
ok((grep { $_->{message} =~ /random/ } $p->operator_log(level => 'warning')),
	'in the operator log, too');
($tx) = $p->witness("update stamped set note = 'random()' where id = 1");
is_deeply($tx->{record}{warnings} // [], [], 'the word in a text is not');
is_verified($tx, 'the word in a text');

# --- transactions ---

$tx = verified('a transaction is one record', 'begin; '
	. "insert into t values (400, 'a'); update t set v = v || 'b' where id = "
	. "400; update t set v = v || 'c' where id = 400; commit");
is(@{ $tx->{record}{query_sequence} }, 3, 'with three statements');
is(table_of($tx, 't')->{pre_rows}, 0, 'the row was not there before');
is(table_of($tx, 't')->{post_rows}, 1, 'and is there once after');
$tx = verified('several tables', "begin; update t set v = 'x' where id = 6; "
	. "insert into pair values (9, 'nine', 'x'); select * from t; "
	. 'delete from t where id = 400; commit');
is_deeply([map { $_->{name} } @{ $tx->{record}{tables} }],
	['public.pair', 'public.t'], 'tables in order');
verified('a row that comes and goes', 'begin; insert into t (id) values (500);'
	. "delete from t where id = 500; update t set v = 'y' where id = 6; commit");
verified('repeatable read', 'begin isolation level repeatable read; '
	. "update t set v = 'rr' where id = 6; commit");
verified('serializable', 'begin isolation level serializable; '
	. "update t set v = 'ser' where v = 'rr'; commit");
my @tx = $p->witness('update t set n = 5 where id = 6; '
	. 'update t set n = n + 1 where id = 6; delete from t where id = 6');
is(@tx, 3, 'autocommit statements are transactions of their own');
is_verified($_, 'one after another') for @tx;

sub claims_nothing
{
	my ($name, $sql) = @_;
	$p->psql($sql, on_error_go_on => 1);
	my @seen = grep { !$_->{outcome} || $_->{outcome}{outcome} ne 'aborted' }
		$p->settled;
	is(@seen, 0, "$name claims nothing") or diag(map { describe_tx($_) . "\n" }
		@seen);
}
claims_nothing('ROLLBACK', "begin; update t set v = 'no'; rollback");
claims_nothing('a failed statement', 'update t set n = 1 / 0');
claims_nothing('a failed transaction', "begin; update t set v = 'no'; "
	. 'select 1 / 0; commit');
claims_nothing('a constraint violation', 'insert into t (id) values (1)');
claims_nothing('a client that leaves', "begin; update t set v = 'no'");
claims_nothing('SELECT', 'select * from t; select now(); table pair');
is($c->safe_psql("select count(*) from t where v = 'no'"), 0,
	'and nothing happened');

# --- DDL through the proxy, then DML ---

$p->safe_psql('create table later (id serial primary key, v text not null)');
$p->settled;
@tx = $p->witness("insert into later (id, v) values (1001, 'x')");
is_verified($tx[0], 'a table made through the proxy');
$p->safe_psql('alter table later add column w int default 7');
$p->settled;
@tx = $p->witness("insert into later (id, v) values (1002, 'y')");
is_verified($tx[0], 'a column added through the proxy');
@tx = $p->witness("insert into later (v) values ('by sequence')");
is_verified($tx[0], 'serial');

# --- what the client sees ---

is(($p->psql("insert into t (id) values (600), (601); update t set v = 'q' "
	. "where id >= 600; delete from t where id = 601; update t set v = 1 "
	. 'where false', tags => 1))[1],
	"INSERT 0 2\nUPDATE 2\nDELETE 1\nUPDATE 0", 'tags are the server\'s');
is($p->safe_psql("update t set v = 'ret' where id = 600 returning id, v, "
	. 'n is null'), '600|ret|t', 'the client\'s RETURNING is unchanged');
is_verified($_, 'a statement with RETURNING')
	for grep { $_->{query} =~ /returning/ } $p->settled;
is($p->safe_psql('insert into t (id) values (700); insert into t (id) '
	. 'values (701) returning *, 5'), '701||||5', 'RETURNING *');
$p->settled;

# --- extended protocol ---

my $w = $p->wire;
my @m = $w->ask(Parse('update t set v = $1 where id = $2'),
	Bind(['ext', 700]), Execute, Sync);
is_deeply([tags(@m)], ['UPDATE 1'], 'extended UPDATE');
@tx = $p->settled;
is(@tx, 1, 'one record');
is_named($tx[0], 'extended UPDATE');
$w->close;

# --- a plan of ours that has become a bad one is made anew ---

$p->safe_psql('create table grow (id int primary key, v int);
	insert into grow select i, 0 from generate_series(1, 10) i');
$p->safe_psql('vacuum analyze grow');
{
	my $s = $p->session;
	my $index_scans = sub {
		$s->safe('begin');
		$s->safe("update grow set v = v + 1 where id = $_[0]");
		my $n = $s->safe("select pg_stat_get_xact_numscans('grow_pkey'::regclass)");
		$s->safe('commit');
		return $n;
	};
	my @scans = map { $index_scans->($_) } 1 .. 8;
	is($scans[-1], 0, 'ten rows are scanned');
	$s->safe('insert into grow select i, 0 from generate_series(11, 100000) i');
	ok(wait_until('an index scan', sub { $index_scans->(50_000) }),
		'100,000 rows are not');
	$s->close;
	$p->settled;
}

# --- size ---

$tx = verified('16 MB', "insert into big values (1, repeat('x', 16 << 20))");
cmp_ok($tx->{record}{pre_state_data}{bytes}, '>=', 0, 'pre_state_data');
verified('16 MB again', "update big set v = v || 'y' where id = 1");
ok(!(grep { length > 65535 } $p->evidence_lines), 'no line is too long');
verified('a statement of 2 MB in one row', "update t set v = '"
	. ('z' x 500_000) . "' where id = 1");

# --- failed capture is not the empty root ---

my @absent = grep { $_->{record}{capture} ne 'exact' } $p->transactions;
ok(!(grep { exists $_->{record}{post_root_claimed} || exists
	$_->{record}{pre_root_captured} } grep { $_->{record}{capture}
	=~ /unsupported|capture_lost/ } @absent),
	'where capture failed there is no root, not the empty one');

no_mismatches($p);
one_outcome_and_verdict($p);
is($p->stop('TERM'), 0, 'stops');
done_testing;
