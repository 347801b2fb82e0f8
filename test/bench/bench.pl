# `make bench`: see README here.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use Bench::Growth;
use Bench::Loads;
use Bench::Machine;
use Bench::Parts;
use Bench::Report;
use Bench::Targets;
use Bench::Verified;

$| = 1;
my $short = $ENV{SHORT};
my %o = (load => 'S N B U W C', mode => $short ? 'simple' :
	'simple extended prepared', clients => '1 8 32', target => '',
	rounds => 3, seconds => $short ? 1 : 2, scale => 32,
	section => 'loads verified parts growth', lock => '');
my $whole = !$short;
for (keys %o) {
	next unless length($ENV{ uc $_ } // '');
	$o{$_} = $ENV{ uc $_ };
	$whole = 0 unless /^(?:lock|scale)$/;
}
my %section = map { $_ => 1 } split ' ', $o{section};
my $report = Bench::Report->new(whole => $whole);

my $targets = Bench::Targets->new(%o);
$report->part('Machine', Bench::Machine::describe($targets));
if ($section{loads}) {
	my $loads = Bench::Loads->new(%o, targets => $targets);
	my @cases = $loads->run(sub { print "$_[0]\n" });
	$report->goals(@cases);
	$report->cases(@cases);
}
$report->part('With enable_verification = on',
	Bench::Verified::measure(%o, targets => $targets)) if $section{verified};
$report->part('Parts', Bench::Parts::measure(%o, targets => $targets))
	if $section{parts};
$report->part('As work grows', Bench::Growth::measure(%o,
	targets => $targets)) if $section{growth};
$report->write;
