# With replay on the same machine: what it costs the clients, how far it falls
# behind, and how long until all has a verdict.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Verified;
use strict;
use warnings;
use Bench::Loads;
use PGW::Util qw(wait_until slurp);
use Time::HiRes qw(time);

my $DRAIN_SECONDS = 300;

# How many lines of that type the log of the target has.
sub _count
{
	my ($proxy, $type) = @_;
	my $n = 0;
	for my $path ($proxy->evidence_files) {
		open my $f, '<', $path or die "$path: $!";
		while (<$f>) {
			$n++ if /^\{"type":"$type"/;
		}
	}
	return $n;
}

sub _behind
{
	my ($proxy) = @_;
	return _count($proxy, 'StateCommitmentRecord')
		- _count($proxy, 'VerificationResult');
}

sub measure
{
	my (%o) = @_;
	my $targets = $o{targets};
	my $loads = Bench::Loads->new(%o);
	my $on = $targets->proxy(features => { enable_verification => 'on' });
	$targets->{at}{verifying} = $on;
	$on->witness('create table warm (id int primary key);'
		. 'insert into warm values (1)');
	my $text = sprintf "%-15s %3s %9s %9s %6s %9s %8s %9s\n", 'load', 'n',
		'tps off', 'tps on', 'ratio', 'behind', 'drain s', 'replays/s';
	for my $load ('U', 'N', 'B') {
		for my $clients (1, 8) {
			my $case = { load => $load, mode => 'simple',
				clients => $clients, seconds => 2 * $o{seconds} };
			$text .= $targets->quietly(
				sub { _case($loads, $on, $case) });
		}
	}
	return $text;
}

sub _case
{
	my ($loads, $on, $case) = @_;
	my (@off, @with, @behind, @drain, @rate);
	for (1 .. 3) {
		push @off, $loads->once($case, 'before_commit')->{tps};
		my $before = _count($on, 'VerificationResult');
		my $start = time;
		push @with, $loads->once($case, 'verifying', sub {
			push @behind, _behind($on);
			my $end = time;
			wait_until('verdicts', sub { _behind($on) == 0 },
				$DRAIN_SECONDS);
			push @drain, time - $end;
		})->{tps};
		push @rate, (_count($on, 'VerificationResult') - $before)
			/ ($case->{seconds} + $drain[-1]);
	}
	my ($off, $with) = map { Bench::Loads::median(@$_) } \@off, \@with;
	return sprintf "%-15s %3d %9.0f %9.0f %6.2f %9.0f %8.1f %9.0f\n",
		Bench::Loads::name($case->{load}), $case->{clients}, $off,
		$with, $with / $off, map { Bench::Loads::median(@$_) }
		\@behind, \@drain, \@rate;
}

1;
