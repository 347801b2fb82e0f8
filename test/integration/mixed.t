# A mixed workload: TPC-B and order entry with foreign keys, serial and identity
# columns, defaults, triggers, jsonb and numeric.  All of it is recorded, nearly
# all of it verified, none of it accused.  MIXED=100000: so many transactions.
use strict;
use warnings;
use Test::More;
use File::Basename qw(dirname);
use Time::HiRes qw(time);
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;

my $transactions = $ENV{MIXED} || 1200;
my $clients = 4;
my $round = 2500;	# that many in one run of pgbench, which has 120 s
# Weights as pgbench takes them; the built-in script is TPC-B.
my %weight = (order => 6, ship => 3, pay => 5, profile => 5, signup => 2,
	restock => 2, shrink => 2);
my $tpcb = 10;
my $dir = dirname(__FILE__) . '/mixed';

my $c = PGW::Cluster->new;
my ($rc, $out, $err) = $c->pgbench('-i', '-s', 1, '-q');
is($rc, 0, 'pgbench -i') or diag($err);
open my $f, '<', "$dir/schema.sql" or die "$dir/schema.sql: $!";
$c->safe_psql(do { local $/; <$f> });
my $p = PGW::Proxy->new($c);

my $start = time;
for (my $left = $transactions; $left > 0; $left -= $round) {
	my $n = $left < $round ? $left : $round;
	($rc, $out, $err) = $p->pgbench('-n', '-c', $clients, '-j', 2, '-t',
		int($n / $clients), '-b', "tpcb-like\@$tpcb",
		map { ('-f', "$dir/$_.sql\@$weight{$_}") } sort keys %weight);
	is($rc, 0, 'the workload runs') or diag($err);
	like($out, qr/failed transactions: 0 /, 'zero failed transactions');
}
my $ran = time - $start;
my @tx = $p->settled(seconds => 600 + $transactions / 100);
my $waited = time - $start - $ran;
cmp_ok(scalar @tx, '>', 0.9 * $transactions, 'records of what changed rows');
is((grep { $_->{outcome}{outcome} eq 'committed' } @tx), scalar @tx,
	'one outcome committed each');

my %why;
for (@tx) {
	my ($r, $v) = @$_{qw(record verdict)};
	next if $v->{verdict} eq 'verified';
	my $sql = $r->{query_sequence}[0]{sql} // '';
	$why{join ' ', $v->{verdict}, $v->{reason} // '', $r->{capture},
		$r->{capture_reason} // '', '-', substr($sql, 0, 30)}++;
}
my $verified = grep { $_->{verdict}{verdict} eq 'verified' } @tx;
diag(sprintf '%d of %d verified (%.2f %%); %.0f transactions/s; all read and'
	. ' decided %.1f s later', $verified, scalar @tx, 100 * $verified / @tx, @tx / $ran,
	$waited);
diag(sprintf '%6d %s', $why{$_}, $_)
	for sort { $why{$b} <=> $why{$a} } keys %why;
cmp_ok($verified, '>=', 0.995 * @tx, 'at least 99.5 % are verified');

is($c->safe_psql('select (select sum(abalance) from pgbench_accounts) = '
	. '(select sum(delta) from pgbench_history)'), 't', 'the sums agree');
no_mismatches($p);
one_outcome_and_verdict($p);
($rc, $out, $err) = $p->verify;
is($rc, 0, 'the log verifies') or diag("$out$err");
is($p->stop('TERM'), 0, 'stops');
done_testing;
