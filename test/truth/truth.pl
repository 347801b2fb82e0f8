# `make truth`: see README here.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Truth;

$| = 1;
my %o = (say => sub { print "@_\n" });
for (qw(tx clients level)) {
	$o{$_} = $ENV{ uc $_ } if length($ENV{ uc $_ } // '');
}
exit(Truth->new(%o)->run ? 1 : 0);
