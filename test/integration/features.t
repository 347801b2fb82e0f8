# Each switch of pgwitness.conf does what its line says.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text, r float8);
	insert into t select i, 'v' || i from generate_series(1, 20) i;
	create function touch() returns void language sql as
		$$ update t set v = 'no' $$;
});
my $p = PGW::Proxy->new($c, conf => {
	features => { enable_verification => 'off',
		log_non_deterministic_warnings => 'off' } });

# --- enable_verification = off ---

my ($t) = $p->witness("update t set v = 'secret literal' where id = 1");
is($t->{record}{capture}, 'exact', 'verification off: still captured');
is($t->{outcome}{outcome}, 'committed', 'still decided');
is($t->{verdict}{verdict}, 'unverifiable', 'unverifiable');
is($t->{verdict}{reason}, 'verification_disabled', 'verification_disabled');
ok(!$t->{verdict}{success}, 'success is false');
like($t->{query}, qr/secret literal/, 'statements=text keeps literals');
ok(!exists $t->{record}{rows}, 'no rows unless row_data is on');

# --- log_non_deterministic_warnings = off ---

($t) = $p->witness('update t set r = random() where id = 2');
ok((grep { ($_->{function} // '') eq 'random' } @{ $t->{record}{warnings} }),
	'warnings off: still in the record');
ok(!(grep { ($_->{message} // '') =~ /random/ } $p->operator_log),
	'not in the operator log');

# --- statements = normalized, row_data = on ---

is($p->stop('TERM'), 0, 'stops');
$p->write_conf({ log => { statements => 'normalized', row_data => 'on' },
	features => { enable_verification => 'on',
		log_non_deterministic_warnings => 'on' } });
$p->start;
($t) = $p->witness("update t set v = 'hidden literal' where id = 3");
# Without its literals a statement cannot be run again.
is_named($t, 'normalized');
unlike($t->{query}, qr/hidden/, 'no literal in the statement');
like($t->{query}, qr/update t set v = \$1 where id = \$2/, 'but placeholders');
is($t->{record}{rows}[0]{before}[0]{v}[1], 'v3', 'row_data: before');
is($t->{record}{rows}[0]{after}[0]{v}[1], 'hidden literal', 'row_data: after');
is($t->{record}{rows}[0]{after}[0]{r}[1], undef, 'NULL is null');
$p->witness('update t set r = random() where id = 4');
ok((grep { ($_->{message} // '') =~ /random/ } $p->operator_log(level =>
	'warning')), 'warnings on: in the operator log');

# --- enable_capture = off ---

is($p->stop('TERM'), 0, 'stops');
$p->write_conf({ log => { statements => undef },
	features => { enable_capture => 'off' } });
$p->start;
my $before = () = $p->transactions;
my $all = q{update t set v = 'relayed' where id = 4; begin; update t set r = 1
	where id = 4; prepare q as update t set v = 'twice' where id = 5;
	execute q; commit; do $$begin update t set r = 2 where id = 5; end$$;};
is($p->safe_psql($all . 'select v, r from t where id in (4, 5) order by id'),
	"relayed|1\ntwice|2", 'capture off: clients are served');
my $pgbench_script = $p->dir . '/off.sql';
PGW::Util::spew($pgbench_script, "update t set r = 3 where id = 6;\n");
is(($p->pgbench('-n', '-M', $_, '-t', 2, '-f', $pgbench_script))[0], 0,
	"capture off: $_") for qw(simple extended prepared);
ok(eval { $p->wait_for_lines('the gap', sub { grep { $_->{type} eq 'Gap'
	&& $_->{reason} eq 'capture_off' } @_ }) }, 'the log says so');
is(scalar(() = $p->transactions), $before, 'and has no record');
is(scalar $p->operator_log(event => 'capture_off', level => 'warning'), 1,
	'so does the operator log');
is($p->stop('TERM'), 0, 'stops');
$p->write_conf({ features => { enable_capture => undef } });
$p->start;
($t) = $p->witness('update t set r = 4 where id = 6');
is($t->{verdict}{verdict}, 'verified', 'capture on again');

# --- reject ---

is($p->stop('TERM'), 0, 'stops');
$p->write_conf({ features => { on_capture_failure => 'reject',
	on_unverifiable => 'reject' } });
$p->start;
my $rows = $c->safe_psql('select * from t order by id');
sub rejected
{
	my ($name, $sql) = @_;
	my ($rc, $out, $err) = $p->psql($sql, verbose => 'verbose');
	isnt($rc, 0, "reject: $name is refused") or diag($out);
	like($err, qr/0A000/, "$name: feature not supported");
	is($c->safe_psql('select * from t order by id'), $rows,
		"$name: no change was made");
}
rejected('random() in an expression', 'update t set r = random() + 1 where id = 1');
rejected('SQL EXECUTE, computed arguments', 'prepare q (text) as update t set '
	. "v = \$1; execute q('n' || 'o')");
rejected('DO', "do \$\$ begin update t set v = 'no'; end \$\$");
rejected('a function that writes', 'select touch()');
my $s = $p->session;
$s->safe('begin');
$s->safe("update t set v = 'in block' where id = 5");
$s->query('update t set r = random() + 1 where id = 6');
like($s->err, qr/ERROR/, 'in a transaction: refused');
$s->query('select 1');
like($s->err, qr/current transaction is aborted/, 'which has then failed');
$s->query('commit');
is($c->safe_psql('select * from t order by id'), $rows, 'and changes nothing');
is($s->query('select 2'), '2', 'the session goes on');
$s->close;
$p->settled;
($t) = $p->witness("update t set v = 'fine' where id = 7");
is_verified($t, 'what can be verified passes');
is($p->safe_psql('select count(random()) from t'), '20', 'reading is not refused');

no_mismatches($p);
one_outcome_and_verdict($p);
is($p->stop('TERM'), 0, 'stops');

# --- max_capture_bytes ---

$p->write_conf({ features => { max_capture_bytes => '1MB',
	on_capture_failure => undef, on_unverifiable => undef } });
$p->start;
($t) = grep { $_->{query} =~ /repeat/ } $p->witness(
	"update t set v = repeat('x', 300000)");
is_named($t, 'more than max_capture_bytes');
isnt($t->{record}{capture}, 'exact', 'is not captured exactly');
is($c->safe_psql('select min(length(v)) from t'), 300000, 'but done');
is($p->stop('TERM'), 0, 'stops');
done_testing;
