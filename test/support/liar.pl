#!/usr/bin/perl
# liar.pl PORT TARGET-HOST TARGET-PORT CONTROL-SOCKET: the relay of PGW::Liar.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP qw(encode_json decode_json);
use Socket qw(SOCK_STREAM IPPROTO_TCP TCP_NODELAY);

my ($port, $host, $target_port, $control_path) = @ARGV;
my %types = (statements => qr/[QPB]/, rows => qr/[Dd]/);
my %from_server = (statements => 0, rows => 1);
my @rules;		# {do, where, from, to, max, skip, count, on}
my %end;		# fd => an end of a connection
my %control;		# fd => {sock, in}

$SIG{PIPE} = 'IGNORE';
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
	LocalPort => $port, Listen => 50, ReuseAddr => 1) or die "listen: $!\n";
my $control = IO::Socket::UNIX->new(Type => SOCK_STREAM, Listen => 5,
	Local => $control_path) or die "control: $!\n";

# --- one connection: two ends, each with what came in (in) and what is to go
# out (out); state: start, ssl (one byte follows), messages ---

sub accept_client
{
	my $c = $listen->accept or return;
	my $s = $host =~ m{^/}
		? IO::Socket::UNIX->new(Type => SOCK_STREAM,
			Peer => "$host/.s.PGSQL.$target_port")
		: IO::Socket::INET->new(PeerAddr => $host,
			PeerPort => $target_port);
	return close $c unless $s;
	my @e = map { { sock => $_, in => '', out => '', held => 0 } } $c, $s;
	@e[0, 1] = ({ %{ $e[0] }, server => 0, state => 'start' },
		{ %{ $e[1] }, server => 1, state => 'message' });
	for my $i (0, 1) {
		$e[$i]{peer} = $e[1 - $i];
		$e[$i]{sock}->blocking(0);
		setsockopt $e[$i]{sock}, IPPROTO_TCP, TCP_NODELAY, 1;
		$end{ fileno $e[$i]{sock} } = $e[$i];
	}
}

sub drop
{
	my ($e) = @_;
	for ($e, $e->{peer}) {
		next if $_->{gone};
		$_->{gone} = 1;
		delete $end{ fileno $_->{sock} };
		close $_->{sock};
	}
	delete $e->{peer}{peer};
	delete $e->{peer};
}

# Whole messages of e->in go to the peer's out.
sub pass
{
	my ($e) = @_;
	while (!$e->{held} && length $e->{in}) {
		my $n;
		if ($e->{raw}) {		# the answer to SSLRequest
			$e->{raw} = 0;
			$n = 1;
		} elsif ($e->{state} eq 'start') {
			return if length $e->{in} < 4;
			$n = unpack 'N', $e->{in};
			$n = length $e->{in} if $n < 8 || $n > 1_000_000;
			return if length $e->{in} < $n;
			my $code = unpack 'x4 N', $e->{in};
			if ($code == 80877103 || $code == 80877104) {
				$e->{peer}{raw} = 1;
			} else {
				$e->{state} = 'message';
			}
		} else {
			return if length $e->{in} < 5;
			$n = 1 + unpack 'x N', $e->{in};
			return if length $e->{in} < $n;
		}
		my $m = substr $e->{in}, 0, $n;
		return $e->{held} = 1 if must_hold($e, $m);
		substr $e->{in}, 0, $n, '';
		lie($e, \$m);
		$e->{peer}{out} .= $m;
	}
}

sub matching
{
	my ($e, $m, $do) = @_;
	my $type = substr $m, 0, 1;
	return grep { $_->{on} && $_->{do} eq $do
		&& $from_server{ $_->{where} } == $e->{server}
		&& $type =~ /^$types{ $_->{where} }/
		&& (index($m, $_->{from}) >= 0 || $do eq 'swap'
			&& index($m, $_->{to}) >= 0) } @rules;
}

sub must_hold
{
	my ($e, $m) = @_;
	for (matching($e, $m, 'pause')) {
		next if $_->{skip}-- > 0;
		$_->{on} = 0;
		$_->{count}++;
		return 1;
	}
	return 0;
}

sub lie
{
	my ($e, $m) = @_;
	for my $r (matching($e, $$m, 'swap')) {
		my ($a, $b) = @$r{qw(from to)};
		my %other = ($a => $b, $b => $a);
		$r->{count} += $$m =~ s/(\Q$a\E|\Q$b\E)/$other{$1}/g;
	}
	for my $r (matching($e, $$m, 'replace')) {
		my $at = 0;
		while ($r->{on} && ($at = index $$m, $r->{from}, $at) >= 0) {
			if ($r->{skip}-- <= 0) {
				substr $$m, $at, length $r->{to}, $r->{to};
				$r->{on} = 0 if ++$r->{count} >= $r->{max};
			}
			$at += length $r->{from};
		}
	}
}

sub release
{
	my @held = grep { $_->{held} } values %end;
	for (@held) {
		$_->{held} = 0;
		# The held message itself may match another pause rule: it
		# was counted, so let this one through.
		pass($_);
	}
}

sub obey
{
	my ($q) = @_;
	my $do = $q->{do};
	if ($do eq 'replace' || $do eq 'swap' || $do eq 'pause') {
		$types{ $q->{where} } or die "where?\n";
		push @rules, { skip => 0, max => 1e9, %$q, count => 0, on => 1,
			from => pack('H*', $q->{from}),
			to => pack('H*', $q->{to} // '') };
		return $#rules;
	}
	return $rules[$q->{rule}]{count} if $do eq 'count';
	return scalar grep { $_->{held} } values %end if $do eq 'paused';
	if ($do eq 'clear') { $_->{on} = 0 for @rules }
	release();
	return 1;
}

sub serve_control
{
	my ($c) = @_;
	sysread $c->{sock}, $c->{in}, 65536, length $c->{in}
		or return delete $control{ fileno $c->{sock} };
	while ($c->{in} =~ s/^(.*)\n//) {
		my $r = eval { { result => obey(decode_json($1)) } }
			// { error => "$@" };
		syswrite $c->{sock}, encode_json($r) . "\n";
	}
}

sub flush_out
{
	my ($e) = @_;
	while (length $e->{out}) {
		my $n = syswrite $e->{sock}, $e->{out}, 262144;
		if (!defined $n) {
			drop($e) unless $!{EAGAIN} || $!{EINTR};
			return;
		}
		substr $e->{out}, 0, $n, '';
	}
	drop($e) if $e->{peer} && $e->{peer}{eof} && !$e->{peer}{held};
}

for (;;) {
	my $r = IO::Select->new($listen, $control,
		(map { $_->{sock} } values %control),
		map { $_->{sock} } grep { !$_->{eof} && !$_->{held} } values %end);
	my $w = IO::Select->new(map { $_->{sock} }
		grep { length $_->{out} } values %end);
	my ($can_read, $can_write) = IO::Select->select($r, $w, undef, 10);
	for my $fh (@{ $can_write // [] }) {
		my $e = $end{ fileno($fh) // next } or next;
		flush_out($e);
	}
	for my $fh (@{ $can_read // [] }) {
		if ($fh == $listen) { accept_client(); next }
		if ($fh == $control) {
			my $c = $control->accept or next;
			$control{ fileno $c } = { sock => $c, in => '' };
			next;
		}
		my $fd = fileno($fh) // next;
		if ($control{$fd}) { serve_control($control{$fd}); next }
		my $e = $end{$fd} or next;
		my $n = sysread $fh, $e->{in}, 262144, length $e->{in};
		next if !defined $n && ($!{EAGAIN} || $!{EINTR});
		$e->{eof} = 1 unless $n;
		pass($e);
		my $p = $e->{peer};
		flush_out($p) if $p;
		drop($e) if !$e->{gone} && $e->{eof} && !$e->{held}
			&& !length $e->{peer}{out};
	}
	# One that goes takes its peer along.
	my @left = values %end;
	for (@left) { flush_out($_) if !$_->{gone} && length $_->{out} }
}
