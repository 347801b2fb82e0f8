# What a proxy holds: processes, descriptors, memory; and that it holds no more
# than before once its clients are gone.
#
#	my $census = PGW::Census->new($proxy);	# nobody is connected
#	... clients come and go ...
#	$census->is_as_before('after the storm');
#
# Descriptors are seen only of a proxy with env => { PGWITNESS_DEBUGGER => 1 }.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Census;
use strict;
use warnings;
use Carp qw(croak);
use Test::More;
use PGW::Util qw(wait_until slurp comm children zombies);

sub new
{
	my ($class, $proxy) = @_;
	my $self = bless { proxy => $proxy }, $class;
	# Who was here a moment ago may still be leaving.
	wait_until('nobody to be connected', sub {
		$self->{before} = $self->count;
		$self->{before}{backends} == $proxy->spare_children
			&& !$self->{before}{zombies};
	});
	croak 'descriptors cannot be seen' unless $self->{before}{fds};
	return $self;
}

# Backend children, spare ones too.
sub backends
{
	my ($self) = @_;
	return grep { comm($_) =~ /^pgwitness/ } children($self->{proxy}->pid);
}

sub _fds { my ($pid) = @_; my @l = glob "/proc/$pid/fd/*"; return scalar @l }

sub count
{
	my ($self) = @_;
	my $pid = $self->{proxy}->pid;
	return { backends => scalar($self->backends), fds => _fds($pid),
		zombies => scalar(zombies($pid)) };
}

# The largest peak of memory among the backends, in kB.
sub peak_kb
{
	my ($self) = @_;
	my $max = 0;
	for ($self->backends) {
		my ($kb) = (eval { slurp("/proc/$_/status") } // '')
			=~ /^VmHWM:\s+(\d+)/m;
		$max = $kb if ($kb // 0) > $max;
	}
	return $max;
}

sub is_as_before
{
	my ($self, $name) = @_;
	my $now;
	eval { wait_until('all to be given back', sub {
		$now = $self->count;
		!grep { $now->{$_} != $self->{before}{$_} } keys %$now;
	}) };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_deeply($now, $self->{before}, $name);
}

1;
