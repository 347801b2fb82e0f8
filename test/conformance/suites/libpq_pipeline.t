# libpq_pipeline, PostgreSQL's test of pipelines in libpq, with its traces of
# the messages, directly and through pgwitness.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Suites;
use PGW::Util qw(new_dir run slurp);
use Test::More;

my $traces = suite_source('src/test/modules/libpq_pipeline') . '/traces';
my $program = "$ENV{PGW_BUILD}/suites/libpq_pipeline";
my ($rc, $tests) = run([$program, 'tests']);
my @tests = split ' ', $tests;

# Test => 'ok' or why not, and the same for 'NAME trace'.
sub results
{
	my ($on) = @_;
	my $dir = new_dir('trace');
	my %got;
	for my $test (@tests) {
		my $trace = -e "$traces/$test.trace" ? "$dir/$test.trace" : undef;
		my ($status, $out, $err) = run([$program, '-r', 700,
			defined $trace ? ('-t', $trace) : (), $test,
			$on->conninfo]);
		$got{$test} = $status == 0 ? 'ok' : "$status: $err";
		next unless defined $trace;
		my ($want, $seen) = ("$traces/$test.trace", $trace);
		$got{"$test trace"} = -e $seen && slurp($want) eq slurp($seen)
			? 'ok' : (run(['diff', '-u', $want, $seen]))[1];
	}
	return \%got;
}

my $server = suite_cluster();
my $direct = results($server);
$server->stop;
my $proxy = suite_proxy(suite_cluster());
my $through = results($proxy);
for (sort keys %$direct) {
	is($direct->{$_}, 'ok', "$_, directly");
	is($through->{$_}, 'ok', "$_, through the proxy");
}
check_log($proxy);
done_testing;
