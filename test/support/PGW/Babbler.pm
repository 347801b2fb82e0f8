# A server that sends garbage to sessions whose application_name is "babble
# NAME", and is the target for all others (babbler.pl).
#
#	my $babbler = PGW::Babbler->new($cluster);
#	for my $name ($babbler->names) { ... }
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Babbler;
use strict;
use warnings;
use parent 'PGW::Endpoint';
use Carp qw(croak);
use File::Basename qw(dirname);
use IO::Socket::INET;
use PGW::Util qw(wait_until new_dir free_port run spawn reap alive tail
	keep_for_end);

my @program = ($^X, '-I', dirname(__FILE__) . '/..',
	dirname(__FILE__) . '/../babbler.pl');

sub new
{
	my ($class, $target) = @_;
	my $dir = new_dir('ba');
	my $self = bless { dir => $dir, target => $target, port => free_port(),
		host => '127.0.0.1', user => 'postgres' }, $class;
	open my $log, '>>', "$dir/babbler.log" or croak $!;
	$self->{pid} = spawn([@program, $self->{port}, $target->host,
		$target->port], stdout => $log, stderr => $log,
		dies_with_us => 'KILL', own_group => 1);
	keep_for_end($self);
	wait_until('the babbler to listen', sub {
		alive($self->{pid}) or croak tail("$dir/babbler.log", 10);
		IO::Socket::INET->new(PeerAddr => '127.0.0.1',
			PeerPort => $self->{port});
	});
	return $self;
}

sub target { $_[0]{target} }

sub names
{
	my ($rc, $out) = run([@program, 'names']);
	croak 'no names' if $rc;
	return split /\n/, $out;
}

# Ends all sessions; who waits for an answer hangs on us alone.
sub hang_up { my ($self) = @_; kill KILL => PGW::Util::children($self->{pid}) }

sub last_words { return "# --- babbler\n" . tail("$_[0]{dir}/babbler.log", 10) }

sub destroy
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill KILL => -$pid;
	reap($pid, 10);
}

1;
