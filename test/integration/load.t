# pgbench TPC-B: nothing fails, nothing is lost, nearly all is verified.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;

my $c = PGW::Cluster->new;
my ($rc, $out, $err) = $c->pgbench('-i', '-s', 1, '-q');
is($rc, 0, 'pgbench -i') or diag($err);
my $p = PGW::Proxy->new($c);

my $before = 0;
for my $mode (qw(simple prepared)) {
	($rc, $out, $err) = $p->pgbench('-n', '-c', 4, '-j', 2, '-T', 4, '-M',
		$mode);
	is($rc, 0, "pgbench -M $mode") or diag($err);
	like($out, qr/failed transactions: 0 /, 'zero failed transactions');
	note($out =~ /(tps = .*)/);
	my $history = $c->safe_psql('select count(*) from pgbench_history')
		- $before;
	$before += $history;
	cmp_ok($history, '>', 0, 'there were transactions');
	my @tx = $p->settled(seconds => 600);
	is(@tx, $history, "$mode: one record per transaction");
	is((grep { $_->{outcome}{outcome} eq 'committed' } @tx), $history,
		'one outcome committed each');
	next if $mode ne 'simple';
	my $verified = grep { $_->{verdict}{verdict} eq 'verified' } @tx;
	note(sprintf '%d of %d verified', $verified, scalar @tx);
	my %why;
	$why{"$_->{verdict}{verdict} $_->{verdict}{reason} "
		. "$_->{record}{capture} $_->{record}{capture_reason}"}++ for grep {
		$_->{verdict}{verdict} ne 'verified' } @tx;
	cmp_ok($verified, '>=', 0.99 * @tx, "$mode: at least 99 % verified")
		or diag(map { "$why{$_} x $_\n" } sort keys %why);
}
is($c->safe_psql('select (select sum(abalance) from pgbench_accounts) = '
	. '(select sum(delta) from pgbench_history)'), 't', 'the sums agree');

# A new connection for each transaction.
($rc, $out, $err) = $p->pgbench('-n', '-C', '-c', 2, '-t', 20);
is($rc, 0, 'pgbench -C') or diag($err);
like($out, qr/failed transactions: 0 /, 'zero failed transactions');
is(scalar(my @tx = $p->settled), 40, 'one record per transaction');

no_mismatches($p);
one_outcome_and_verdict($p);
($rc, $out, $err) = $p->verify;
is($rc, 0, 'the log verifies') or diag("$out$err");
is($p->stop('TERM'), 0, 'stops');
done_testing;
