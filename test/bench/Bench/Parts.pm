# The parts alone: parts_bench, spool_bench and the offline check of a log.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Parts;
use strict;
use warnings;
use Bench::Loads;
use PGW::Util qw(run run_dir program);
use Time::HiRes qw(time);

sub _verify
{
	my (%o) = @_;
	my $proxy = $o{targets}->get('before_commit');
	Bench::Loads->new(%o)->once({ load => 'U', mode => 'simple',
		clients => 8, seconds => 4 }, 'before_commit');
	my $lines = () = $proxy->evidence_lines;
	my @took;
	for (1 .. 3) {
		my $start = time;
		my ($rc, $out, $err) = $proxy->verify;
		die "witnessctl verify: $out$err" if $rc;
		push @took, time - $start;
	}
	return sprintf "witnessctl verify, %7d lines     %10.0f lines/s\n",
		$lines, $lines / Bench::Loads::median(@took);
}

sub measure
{
	my (%o) = @_;
	return $o{targets}->quietly(sub {
		my $text = '';
		for (['parts_bench'], ['spool_bench', run_dir()]) {
			my ($name, @args) = @$_;
			my ($rc, $out, $err) = run([program("bench/$name"), @args]);
			die "$name: $err" if $rc > 1;
			$text .= $out;
		}
		return _verify(%o) . $text;
	});
}

1;
