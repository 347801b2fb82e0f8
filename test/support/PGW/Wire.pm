# A client that sends the protocol's messages byte by byte, and reads them.
#
#	my $w = $endpoint->wire;		# connected and started up
#	$w->send(Query('select 1'));
#	my @m = $w->read_ready;		# up to ReadyForQuery, as [type, payload]
#
# tls => {}: asks for TLS first; with direct => 1 begins with it; alpn, cert and
# key are what the client shows.
#
# Numbers of messages: PostgreSQL manual, chapter 55.7.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Wire;
use strict;
use warnings;
use Carp qw(croak);
use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM);
use Time::HiRes qw(time);
use PGW::Util ();

our @EXPORT = qw(Message Startup SSLRequest GSSENCRequest CancelRequest Query
	Parse Bind Describe Execute Close Sync Flush Terminate CopyData CopyDone
	CopyFail FunctionCall fields columns tags);

sub Message { return $_[0] . pack('N', 4 + length $_[1]) . $_[1] }
sub Startup
{
	my ($protocol, %p) = @_;
	my $b = pack('N', $protocol)
		. join('', map { "$_\0$p{$_}\0" } sort keys %p) . "\0";
	return pack('N', 4 + length $b) . $b;
}
sub SSLRequest { pack 'N2', 8, 80877103 }
sub GSSENCRequest { pack 'N2', 8, 80877104 }
sub CancelRequest { pack('N2', 12 + length $_[1], 80877102) . pack('N', $_[0]) . $_[1] }
sub Query { Message('Q', "$_[0]\0") }
sub Parse
{
	my ($sql, %o) = @_;
	return Message('P', ($o{name} // '') . "\0$sql\0"
		. pack('n N*', scalar @{ $o{types} // [] }, @{ $o{types} // [] }));
}
# Text format; formats and results may give others.
sub Bind
{
	my ($values, %o) = @_;
	return Message('B', ($o{portal} // '') . "\0" . ($o{name} // '') . "\0"
		. pack('n n*', scalar @{ $o{formats} // [] }, @{ $o{formats} // [] })
		. pack('n', scalar @$values)
		. join('', map { defined ? pack('N/a*', $_) : pack('N', 0xffffffff) }
			@$values)
		. pack('n n*', scalar @{ $o{results} // [] }, @{ $o{results} // [] }));
}
sub Describe { Message('D', $_[0] . ($_[1] // '') . "\0") }	# 'S' or 'P', name
sub Execute { Message('E', ($_[1] // '') . "\0" . pack 'N', $_[0] // 0) }
sub Close { Message('C', $_[0] . ($_[1] // '') . "\0") }
sub Sync { Message('S', '') }
sub Flush { Message('H', '') }
sub Terminate { Message('X', '') }
sub CopyData { Message('d', $_[0]) }
sub CopyDone { Message('c', '') }
sub CopyFail { Message('f', "$_[0]\0") }
sub FunctionCall	# oid, text arguments; text result
{
	my ($oid, @a) = @_;
	return Message('F', pack('N n n', $oid, 0, scalar @a)
		. join('', map { pack 'N/a*', $_ } @a) . pack('n', 0));
}

# Fields of an ErrorResponse or NoticeResponse: {S => 'ERROR', C => ...}.
sub fields { return { map { /^(.)(.*)/s ? ($1, $2) : () } split /\0/, $_[0][1] } }

# Values of a DataRow.
sub columns
{
	my ($b) = $_[0][1];
	my ($n, $at, @v) = (unpack('n', $b), 2);
	for (1 .. $n) {
		my $len = unpack 'l>', substr $b, $at, 4;
		$at += 4;
		push @v, $len < 0 ? undef : substr $b, $at, $len;
		$at += $len if $len > 0;
	}
	return @v;
}

# Command tags among messages.
sub tags { return map { $_->[0] eq 'C' ? $_->[1] =~ s/\0//r : () } @_ }

sub new
{
	my ($class, $endpoint, %o) = @_;
	my $host = $o{host} // $endpoint->host;
	my $self = bless { in => '', seconds => $o{seconds}
		// $PGW::Util::patience }, $class;

	$self->{sock} = ($host =~ m{^/}
		? IO::Socket::UNIX->new(Type => SOCK_STREAM,
			Peer => "$host/.s.PGSQL." . $endpoint->port)
		: IO::Socket::INET->new(PeerAddr => $host,
			PeerPort => $endpoint->port)) or croak "$host: $!";
	$self->{sock}->autoflush(1);
	$self->start_tls(%{ $o{tls} }) if $o{tls};
	$self->startup(user => $endpoint->user, %{ $o{startup} // {} })
		unless $o{raw};
	return $self;
}

sub start_tls
{
	my ($self, %o) = @_;
	require IO::Socket::SSL;
	$self->send(SSLRequest()) unless $o{direct};
	my $answer = $o{direct} ? 'S' : $self->read_byte;
	croak "SSLRequest is answered '$answer'" if $answer ne 'S';
	IO::Socket::SSL->start_SSL($self->{sock},
		SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE(),
		Timeout => $self->{seconds},
		($o{alpn} ? (SSL_alpn_protocols => [$o{alpn}]) : ()),
		($o{cert} ? (SSL_cert_file => $o{cert}, SSL_key_file => $o{key})
			: ())) or croak "TLS: $IO::Socket::SSL::SSL_ERROR";
	return $self;
}

sub startup
{
	my ($self, %p) = @_;
	my $protocol = delete $p{protocol} // 0x30000;
	$p{database} //= 'postgres';
	$self->send(Startup($protocol, %p));
	$self->{start} = [$self->read_ready];
	for (@{ $self->{start} }) {
		@$self{qw(pid key)} = unpack 'N a*', $_->[1] if $_->[0] eq 'K';
		croak 'startup: ' . fields($_)->{M} if $_->[0] eq 'E';
	}
	return $self;
}

sub send
{
	my ($self, @bytes) = @_;
	my $all = join '', @bytes;
	my $end = time + $self->{seconds};
	# Read while writing: a burst fills both directions.
	while (length $all) {
		croak 'cannot send' if time > $end;
		my ($r, $w) = IO::Select->select(
			IO::Select->new($self->{sock}),
			IO::Select->new($self->{sock}), undef, 1);
		if ($r && @$r && !$self->{eof}) {
			$self->_read or return $self;
		}
		next unless $w && @$w;
		my $n = do { $self->{sock}->blocking(0);
			my $k = syswrite $self->{sock}, $all, 65536;
			$self->{sock}->blocking(1); $k };
		substr $all, 0, $n, '' if $n;
		return $self if !defined $n && !$!{EAGAIN} && !$!{EINTR};
	}
	return $self;
}

sub _read
{
	my ($self) = @_;
	my $n = sysread $self->{sock}, $self->{in}, 262144, length $self->{in};
	$self->{eof} = 1 unless $n;
	return $n;
}

sub _wait
{
	my ($self, $end) = @_;
	my $left = $end - time;
	return 0 if $left <= 0;
	return 1 if $self->{sock}->can('pending') && $self->{sock}->pending;
	return IO::Select->new($self->{sock})->can_read($left) ? 1 : 0;
}

# One byte that is no message (the answer to SSLRequest); '' at end of file.
sub read_byte
{
	my ($self) = @_;
	my $end = time + $self->{seconds};
	until (length $self->{in} || $self->{eof}) {
		$self->_wait($end) or croak 'no answer';
		$self->_read;
	}
	return substr $self->{in}, 0, 1, '';
}

# The next message as [type, payload]; undef at end of file; dies when none
# came in time.
sub read_message
{
	my ($self, $seconds) = @_;
	my $end = time + ($seconds // $self->{seconds});
	for (;;) {
		if (length $self->{in} >= 5) {
			my ($type, $len) = unpack 'a1 N', $self->{in};
			croak "bad length $len of '$type'" if $len < 4;
			if (length $self->{in} > $len) {
				my $m = substr $self->{in}, 0, $len + 1, '';
				return [$type, substr $m, 5];
			}
		}
		return undef if $self->{eof};
		$self->_wait($end) or croak "no message within "
			. ($seconds // $self->{seconds}) . ' s';
		$self->_read;
	}
}

# Messages up to and with the nth of a type, or to the end of file.
sub read_to
{
	my ($self, $types, $n) = @_;
	my @m;
	$n //= 1;
	while ($n) {
		my $m = $self->read_message // last;
		push @m, $m;
		$n-- if $m->[0] =~ /[$types]/;
	}
	return @m;
}

sub read_ready { my ($self, $n) = @_; return $self->read_to('Z', $n) }

# Everything to the end of file.
sub read_all
{
	my ($self) = @_;
	my @m;
	while (my $m = $self->read_message) { push @m, $m }
	return @m;
}

# Sends and reads to ReadyForQuery.
sub ask { my ($self, @bytes) = @_; $self->send(@bytes); return $self->read_ready }

# One statement as pgbench -M extended or prepared sends it, the latter under a
# name that it keeps; integers are parameters.  Without its Sync.
sub statement
{
	my ($self, $mode, $sql) = @_;
	my @values;
	$sql =~ s/(?<![\w.\$])(\d+)\b/push @values, $1; '$' . @values/ge
		if $sql =~ /^(?:select|insert|update|delete)\b[^']*$/;
	return (Parse($sql), Bind(\@values), Describe('P'), Execute)
		if $mode eq 'extended';
	my $names = $self->{prepared} //= {};
	my @parse;
	if (!$names->{$sql}) {
		my $name = $names->{$sql} = 's' . keys %$names;
		@parse = Parse($sql, name => $name);
	}
	return (@parse, Bind(\@values, name => $names->{$sql}), Describe('P'), Execute);
}

# ... or as a simple one does; run to its end.  Dies of an error.
sub run
{
	my ($self, $mode, $sql) = @_;
	my @m = $self->ask($mode eq 'simple' ? Query($sql)
		: ($self->statement($mode, $sql), Sync));
	my ($error) = grep { $_->[0] eq 'E' } @m;
	croak "$sql: " . fields($error)->{M} if $error;
	return @m;
}

# True once the other side closed; messages before that are thrown away.
sub closed
{
	my ($self, $seconds) = @_;
	local $self->{seconds} = $seconds // $self->{seconds};
	my $ok = eval { 1 while $self->read_message; 1 };
	return $ok || $self->{eof} ? 1 : 0;
}

sub close { my ($self) = @_; CORE::close $self->{sock} if $self->{sock}; delete $self->{sock} }

1;
