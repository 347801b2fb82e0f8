#!/usr/bin/perl
# prove.pl COUNT-FILE TEST...: prove(1), that also writes "PASSED FAILED" to a
# file.  Each test is bounded in time; one that dies or ends early counts as
# one failure more.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use File::Basename qw(dirname);
use TAP::Harness;

my ($count_file, @tests) = @ARGV;
my $support = dirname(__FILE__);
my $harness = TAP::Harness->new({
	exec => ['timeout', '-k', '20', $ENV{TEST_TIMEOUT} // 1800, $^X,
		"-I$support"],
	jobs => $ENV{JOBS} // 2, timer => 1, verbosity => $ENV{V} ? 1 : 0, failures => 1 });
my ($passed, $failed) = (0, 0);

$harness->callback(after_test => sub {
	my (undef, $parser) = @_;
	my $bad = () = $parser->failed;
	$passed += () = $parser->passed;
	$failed += $bad + ($parser->parse_errors
		|| (!$bad && $parser->has_problems) ? 1 : 0);
});
$harness->runtests(map { [$_, m{([^/]+/[^/]+)\.t$} ? $1 : $_] } @tests);
open my $f, '>', $count_file or die "$count_file: $!\n";
print $f "$passed $failed\n";
