#!/usr/bin/perl
# babbler.pl PORT TARGET-HOST TARGET-PORT: the server of PGW::Babbler.
#
# A session whose application_name is "babble NAME" gets the bytes of that
# name; any other is relayed to the target.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM IPPROTO_TCP TCP_NODELAY);
use PGW::Wire;

my ($port, $host, $target_port) = @ARGV;
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';

sub status { return Message('S', "$_[0]\0$_[1]\0") }
sub noise { srand 7; return join '', map { chr int rand 256 } 1 .. $_[0] }

my $hello = Message('R', pack 'N', 0)
	. status('standard_conforming_strings', 'on')
	. status('client_encoding', 'UTF8') . status('server_version', '15.0')
	. Message('K', pack 'N2', 1, 2) . Message('Z', 'I');
# How the answer to a statement of the proxy's own begins.
sub answer { return Message('1', '') . Message('2', '') }
my %login = (
	close => '', http => "HTTP/1.1 400 Bad Request\r\n\r\n",
	length_3 => 'R' . pack('N', 3), negative => 'E' . pack('N', 0xffffffff),
	long_error => 'E' . pack('N', 0x3fffffff) . 'x' x 200_000,
	error_without_end => Message('E', 'SFATAL'),
	error_of_nothing => Message('E', ''),
	fatal_without_severity => Message('E', "C57P01\0\0"),
	ready_empty => Message('Z', ''), ready_long => Message('Z', 'II'),
	ready_odd => Message('R', pack 'N', 0) . Message('Z', "\xff"),
	status_without_end => Message('S', 'client_encoding') . $hello,
	many_statuses => join('', map { status("name$_", 'x' x 100) } 1 .. 20_000)
		. $hello,
	long_status => status('client_encoding', 'x' x 2_000_000) . $hello,
	key_short => Message('K', '') . $hello, noise => noise(100_000),
	type_zero => Message("\0", 'abc') . $hello,
	negotiate_garbage => Message('v', noise(50)) . $hello,
	sasl_garbage => Message('R', pack('N', 10) . noise(50)),
	sasl_forever => Message('R', pack('N', 11) . 'x' x 1_000_000),
);
# After the login: what each message that ends in a ReadyForQuery gets.
my %session = (
	silence => '', close => undef,
	length_0 => 'T' . pack('N', 0), noise => noise(100_000),
	only_ready => Message('Z', 'I'),
	ready_status => Message('Z', 'X'),
	many_readies => Message('Z', 'I') x 1000,
	rows_of_nothing => answer() . Message('D', '') x 10 . Message('C', "SELECT 1\0")
		. Message('3', '') x 2 . Message('Z', 'I'),
	rows_too_wide => answer() . Message('D', pack 'n', 65535) x 10
		. Message('C', "SELECT 1\0") . Message('3', '') x 2 . Message('Z', 'I'),
	rows_negative => answer() . Message('D', pack 'n N', 1, 0xfffffffe)
		. Message('3', '') x 2 . Message('Z', 'I'),
	rows_long => answer() . Message('D', pack('n', 20) . ("\0\0\x40\0" . 'y' x 16384) x 20)
		. Message('C', "SELECT 1\0") . Message('3', '') x 2 . Message('Z', 'I'),
	tag_without_end => Message('C', 'UPDATE 1') . Message('Z', 'I'),
	complete_twice => Message('C', "UPDATE 1\0") x 2 . Message('Z', 'I'),
	errors => Message('E', "SERROR\0VERROR\0C42601\0Mno\0\0") x 50 . Message('Z', 'E'),
	error_alone => Message('E', "SERROR\0VERROR\0C42601\0Mno\0\0"),
	copy_in => Message('G', "\0\0\0") . Message('Z', 'I'),
	copy_both => Message('W', "\0\0\0") . Message('C', "X\0") . Message('Z', 'I'),
	endless_row => 'D' . pack('N', 0x3fffffff) . 'x' x 3_000_000,
	commit => Message('C', "COMMIT\0") x 3 . Message('Z', 'T'),
);

# --- one connection ---

# n bytes; dies at the end.
sub take
{
	my ($sock, $n) = @_;
	my $b = '';
	while (length $b < $n) {
		sysread($sock, $b, $n - length $b, length $b) or exit;
	}
	return $b;
}

sub take_message
{
	my ($type, $len) = unpack 'a N', my $head = take($_[0], 5);
	return ($type, take($_[0], $len - 4));
}

sub relay
{
	my ($client, $startup) = @_;
	my $server = $host =~ m{^/}
		? IO::Socket::UNIX->new(Type => SOCK_STREAM,
			Peer => "$host/.s.PGSQL.$target_port")
		: IO::Socket::INET->new(PeerAddr => $host, PeerPort => $target_port);
	exit unless $server;
	syswrite $server, $startup;
	my %peer = (fileno($client) => $server, fileno($server) => $client);
	my $all = IO::Select->new($client, $server);
	while (my @ready = $all->can_read) {
		for (@ready) {
			sysread($_, my $b, 65536) or exit;
			my $to = $peer{ fileno $_ };
			while (length $b) {
				my $n = syswrite($to, $b) // exit;
				substr $b, 0, $n, '';
			}
		}
	}
}

sub babble
{
	my ($sock, $name) = @_;
	if (exists $login{$name}) {
		print $sock $login{$name};
		exit if $name eq 'close';
		1 while sysread $sock, my $b, 65536;
		exit;
	}
	print $sock $hello;
	$name =~ s/^session_//;
	for (;;) {
		my ($type) = take_message($sock);
		next unless $type =~ /[QSF]/;
		exit if !defined $session{$name};
		print $sock $session{$name};
	}
}

sub serve
{
	my ($sock) = @_;
	$sock->autoflush(1);
	setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
	for (;;) {
		my $head = take($sock, 4);
		my $body = take($sock, unpack('N', $head) - 4);
		my $code = unpack 'N', $body;
		if ($code == 80877103 || $code == 80877104) {
			print $sock 'N';
			next;
		}
		babble($sock, $1) if $body =~ /\0babble (\w+)\0/;
		relay($sock, $head . $body);
	}
}

if ($port eq 'names') {
	print "$_\n" for sort keys %login;
	print "session_$_\n" for sort keys %session;
	exit;
}
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
	LocalPort => $port, Listen => 50, ReuseAddr => 1) or die "listen: $!\n";
for (;;) {
	my $sock = $listen->accept or next;
	next if fork;
	close $listen;
	serve($sock);
}
