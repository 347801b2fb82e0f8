# `make torture`: see README here.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Torture;

$| = 1;
my %o = (say => sub { print "@_\n" });
for (qw(seed kills minutes level writers readers rate deadline storm settle
	spool)) {
	$o{$_} = $ENV{ uc $_ } if length($ENV{ uc $_ } // '');
}
$o{points} = 1 if $ENV{KILLPOINTS};
exit(Torture->new(%o)->run ? 1 : 0);
