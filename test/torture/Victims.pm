# Which process of pgwitness and of its servers is which, and killing it.
#
# SPDX-License-Identifier: PostgreSQL
package Victims;
use strict;
use warnings;
use PGW::Util qw(wait_until slurp comm children descendants alive);

# dir: where Writer.pm keeps its sessions; proxy, cluster.
sub new { my ($class, %o) = @_; return bless {%o}, $class }

sub _links { return map { readlink($_) // () } glob "/proc/$_[0]/fd/*" }

# {client's port => [client's number, its server process]}
sub sessions
{
	my ($v) = @_;
	my %s;
	for (glob "$v->{dir}/session.*") {
		my ($id) = /\.(\d+)$/ or next;
		my ($port, $pid) = split ' ', eval { slurp($_) } // '';
		$s{$port} = [$id, $pid] if $pid;
	}
	return %s;
}

# {inode of the proxy's end => client's port}
sub _inodes
{
	my ($v) = @_;
	my %port;
	for (split /\n/, slurp('/proc/net/tcp')) {
		my @f = split ' ';
		next unless ($f[3] // '') eq '01';
		my ($here, $there) = map { hex((split /:/)[1]) } @f[1, 2];
		$port{$f[9]} = $there if $here == $v->{proxy}->port;
	}
	return %port;
}

# The port of a child's client; undef for a spare child.
sub _port
{
	my ($pid, $inodes) = @_;
	return (map { /^socket:\[(\d+)\]/ ? $inodes->{$1} // () : () }
		_links($pid))[0];
}

# Stops children of the postmaster, so that it is certain whose they are: a spare
# one may have a client since look().
sub hold
{
	my ($v, @pids) = @_;
	for my $pid (@pids) {
		kill STOP => $pid or next;
		wait_until('it to stop', sub {
			(eval { slurp("/proc/$pid/stat") } // '') !~ /\) [RSD] / });
	}
	my %inodes = @pids ? $v->_inodes : ();
	$v->{ports}{$_} = _port($_, \%inodes) for @pids;
}

# {kind => [pids]} of all that runs now.  ports: {pid => client's port}; clients:
# {pid => client's number, '' if not known yet}, undef for a spare child.
sub look
{
	my ($v) = @_;
	my %k;
	my %inodes = $v->_inodes;
	my %sessions = $v->sessions;
	$v->{clients} = {};
	$v->{ports} = {};
	my $postmaster = $v->{proxy}->pid // return {};
	push @{ $k{postmaster} }, $postmaster;
	for my $pid (children($postmaster)) {
		if (comm($pid) eq 'replayd') {
			$v->_look_at_replayd($pid, \%k);
			next;
		}
		my $port = $v->{ports}{$pid} = _port($pid, \%inodes);
		$v->{clients}{$pid} = $sessions{$port} ? $sessions{$port}[0] : ''
			if defined $port;
		push @{ $k{defined $port ? 'child' : 'spare'} }, $pid;
	}
	push @{ $k{server_postmaster} }, $v->{cluster}->pid
		if $v->{cluster}->pid;
	push @{ $k{server_backend} }, grep { $_ && alive($_) }
		map { $_->[1] } values %sessions;
	return \%k;
}

sub _look_at_replayd
{
	my ($v, $replayd, $k) = @_;
	push @{ $k->{replayd} }, $replayd;
	for my $pid (children($replayd)) {
		my $files = join ' ', _links($pid);
		my $kind = $files =~ m{/verifier\.lock} ? 'verifier'
			: $files =~ m{/recorder\.lock} ? 'recorder' : 'starting';
		push @{ $k->{$kind} }, $pid;
		for my $below (children($pid)) {
			if (comm($below) eq 'replayd') {
				push @{ $k->{$kind eq 'recorder' ? 'resolver'
					: 'worker'} }, $below;
			} elsif (comm($below) eq 'postgres') {
				push @{ $k->{verification_postmaster} }, $below;
				push @{ $k->{verification_backend} },
					children($below);
			} else {
				push @{ $k->{verification_helper} }, $below;
			}
		}
	}
}

1;
