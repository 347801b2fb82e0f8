# Which process of pgwitness and of its servers is which, and killing it.
#
# SPDX-License-Identifier: PostgreSQL
package Victims;
use strict;
use warnings;
use PGW::Util qw(slurp comm children descendants alive);

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

# The client of a child of the postmaster: its number, '' if not known yet, undef
# for a spare child.
sub client_of
{
	my ($v, $pid, $inodes, $sessions) = @_;
	for (_links($pid)) {
		my ($inode) = /^socket:\[(\d+)\]/ or next;
		my $port = $inodes->{$inode} // next;
		return $sessions->{$port} ? $sessions->{$port}[0] : '';
	}
	return;
}

# {kind => [pids]} of all that runs now.  clients: {pid => client's number}.
sub look
{
	my ($v) = @_;
	my %k;
	my %inodes = $v->_inodes;
	my %sessions = $v->sessions;
	$v->{clients} = {};
	my $postmaster = $v->{proxy}->pid // return {};
	push @{ $k{postmaster} }, $postmaster;
	for my $pid (children($postmaster)) {
		if (comm($pid) eq 'replayd') {
			$v->_look_at_replayd($pid, \%k);
			next;
		}
		my $client = $v->client_of($pid, \%inodes, \%sessions);
		$v->{clients}{$pid} = $client;
		push @{ $k{defined $client ? 'child' : 'spare'} }, $pid;
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
