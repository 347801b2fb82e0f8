# PostgreSQL's isolation suite, directly and through pgwitness.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Suites;
use PGW::Util qw(slurp);
use Test::More;

my $schedule = suite_source('src/test/isolation') . '/isolation_schedule';
my $tests = () = map { /^test:\s*(.*)/ ? split ' ', $1 : () }
	split /\n/, slurp($schedule);
my @options = ("--schedule=$schedule");
my $server = suite_cluster();
my $direct = pg_regress('isolation', $server, 'direct', @options);
$server->stop;
my $twin = suite_cluster();
my $proxy = suite_proxy($twin);
my $through = pg_regress('isolation', $proxy, 'proxy', @options);
again('isolation', $direct, $through, $proxy);
same_results($direct, $through, $tests);
check_log($proxy);
done_testing;
