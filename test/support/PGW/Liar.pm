# A relay between proxy and server that can be told to lie or to wait.
#
#	my $liar = PGW::Liar->new($cluster);
#	my $rule = $liar->replace('rows', 'honest', 'h0nest', max => 1);
#	... $liar->count($rule) ...
#	$liar->pause('statements', 'update acct'); $liar->wait_paused;
#	$liar->release;
#
# `statements`: Query, Parse and Bind from the client; `rows`: DataRow and
# CopyData from the server.  Replacements are of the same length, so framing
# stays right.  Of each message only whole ones are passed on.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Liar;
use strict;
use warnings;
use parent 'PGW::Endpoint';
use Carp qw(croak);
use File::Basename qw(dirname);
use IO::Socket::UNIX;
use JSON::PP qw(encode_json decode_json);
use PGW::Util qw(wait_until new_dir free_port spawn reap alive tail
	keep_for_end);

sub new
{
	my ($class, $target) = @_;
	my $dir = new_dir('li');
	my $self = bless { dir => $dir, target => $target, port => free_port(),
		host => '127.0.0.1', user => 'postgres' }, $class;
	open my $log, '>>', "$dir/liar.log" or croak $!;
	$self->{pid} = spawn([$^X, dirname(__FILE__) . '/../liar.pl',
		$self->{port}, $target->host, $target->port, "$dir/control"],
		stdout => $log, stderr => $log, dies_with_us => 'KILL');
	keep_for_end($self);
	wait_until('the liar to listen', sub {
		alive($self->{pid}) or croak $self->last_words;
		$self->{control} = IO::Socket::UNIX->new("$dir/control");
	});
	return $self;
}

sub target { $_[0]{target} }

sub _ask
{
	my ($self, %q) = @_;
	my $s = $self->{control};
	print $s encode_json(\%q), "\n";
	$s->flush;
	my $line = <$s> // croak 'the liar is gone';
	my $a = decode_json($line);
	croak $a->{error} if $a->{error};
	return $a->{result};
}

# Replaces from by to in where ('statements' or 'rows'): skip the first so
# many, at most max.  Returns the rule's number.
sub replace
{
	my ($self, $where, $from, $to, %o) = @_;
	croak 'not the same length' if length $from != length $to;
	return $self->_ask(do => 'replace', where => $where,
		from => unpack('H*', $from), to => unpack('H*', $to), %o);
}

# Each of the two by the other, wherever they are.
sub swap
{
	my ($self, $where, $one, $other) = @_;
	croak 'not the same length' if length $one != length $other;
	return $self->_ask(do => 'swap', where => $where,
		from => unpack('H*', $one), to => unpack('H*', $other));
}

# Holds that connection's direction at the first message with pattern in it,
# until release(); skip: not at the first so many.
sub pause
{
	my ($self, $where, $pattern, %o) = @_;
	return $self->_ask(do => 'pause', where => $where,
		from => unpack('H*', $pattern), %o);
}

sub count { my ($self, $rule) = @_; return $self->_ask(do => 'count', rule => $rule) }
sub paused { $_[0]->_ask(do => 'paused') }
sub release { $_[0]->_ask(do => 'release') }
sub clear { $_[0]->_ask(do => 'clear') }	# all rules; releases, too

sub wait_paused
{
	my ($self, $seconds) = @_;
	return wait_until('the liar to hold a message',
		sub { $self->paused }, $seconds);
}

sub last_words
{
	my ($self) = @_;
	return "# --- $self->{dir}/liar.log\n" . tail("$self->{dir}/liar.log", 10);
}

sub destroy
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill KILL => $pid;
	reap($pid, 10);
}

1;
