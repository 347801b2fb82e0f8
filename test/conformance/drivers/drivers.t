# Real drivers, each directly against a server and through pgwitness: they
# pass the same checks, see the same, and what they committed is in the log.
#
#	D="psycopg2 dbd"	only these
#	TLS=1			in TLS to pgwitness
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Drivers;
use Test::More;

my $drivers = Drivers->new;
$drivers->check($_) for $ENV{D} ? split(' ', $ENV{D}) : $drivers->names;
diag($drivers->finish);
done_testing;
