# A real driver (DBD::Pg) through pgwitness; make drivers runs all of them.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../conformance/drivers";
use Drivers;
use Test::More;

my $drivers = Drivers->new;
$drivers->check('dbd');
note($drivers->finish);
done_testing;
