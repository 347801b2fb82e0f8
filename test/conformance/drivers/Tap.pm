# What the Perl driver's program uses: TAP, and values worth comparing.
#
# SPDX-License-Identifier: PostgreSQL
package Tap;
use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(show equal skip wait_until main sleeper);

my $json = JSON::PP->new->ascii->canonical->allow_nonref->allow_blessed;

sub sleeper
{
	return 'select count(*) from pg_stat_activity where wait_event = '
		. "'PgSleep' and application_name = '$_[0]'";
}

sub _text { return substr $json->encode($_[0]), 0, 400 }
sub show { print '# ', join(' ', map { _text($_) } @_), "\n" }

# Values are compared as they would be printed.
sub equal
{
	my ($got, $want) = map { $json->encode($_) =~ s/"(-?\d+)"/$1/gr } @_;
	show($_[0]);
	die 'wanted ' . substr($want, 0, 200) . "\n" if $got ne $want;
}

sub skip { die { skip => $_[0] } }

sub wait_until
{
	my ($what, $code) = @_;
	my $end = time + 30;
	until ($code->()) {
		die "gave up waiting for $what\n" if time > $end;
		sleep 0.02;
	}
}

# Each name on the command line is a check.
sub main
{
	my ($version, %checks) = @_;
	my ($n, $failed) = (0, 0);
	$| = 1;
	print "# $version\n1..", scalar @ARGV, "\n";
	for my $name (@ARGV) {
		$n++;
		my $error = eval { $checks{$name}->(); 1 } ? '' : $@;
		if (ref $error eq 'HASH' && $error->{skip}) {
			print "ok $n - $name # SKIP $error->{skip}\n";
		} elsif ($error) {
			$failed++;
			print "not ok $n - $name\n";
			print STDERR $error;
		} else {
			print "ok $n - $name\n";
		}
	}
	exit($failed ? 1 : 0);
}

1;
