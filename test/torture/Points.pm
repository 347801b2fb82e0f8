# The control file of a build with KILLPOINTS=1 (include/killpoint.h): which
# point is armed, and who died there.
#
#	0	name, 56 bytes, zero-padded
#	56	int32: passes left until death
#	60	int32: pid of the one that died
#
# SPDX-License-Identifier: PostgreSQL
package Points;
use strict;
use warnings;
use PGW::Util qw(slurp spew);

sub new
{
	my ($class, $path) = @_;
	spew($path, "\0" x 64);
	open my $f, '+<:raw', $path or die "$path: $!";
	return bless { path => $path, file => $f }, $class;
}

sub path { $_[0]{path} }

# {the points that the sources name => the folder}
sub names
{
	my %n;
	for my $path (glob "$ENV{PGW_SRC}/{backend,common,postmaster,replayd}/*.c") {
		my ($folder) = $path =~ m{(\w+)/[^/]+$};
		$n{$_} = $folder
			for slurp($path) =~ /\bKILLPOINT\("(\w+)"\)/g;
	}
	return %n;
}

sub _put
{
	my ($self, $at, $bytes) = @_;
	sysseek $self->{file}, $at, 0;
	syswrite $self->{file}, $bytes;
}

sub arm
{
	my ($self, $name, $passes) = @_;
	$self->disarm;
	$self->_put(56, pack 'l2', $passes, 0);
	$self->_put(0, pack 'a56', $name);
}

sub disarm { $_[0]->_put(0, "\0" x 64) }

sub victim
{
	my ($self) = @_;
	sysseek $self->{file}, 60, 0;
	sysread $self->{file}, my $b, 4;
	return unpack 'l', $b;
}

1;
