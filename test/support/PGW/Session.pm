# An interactive psql in the background.
#
#	my $s = $endpoint->session;
#	$s->query('begin');			# waits; returns stdout
#	$s->send('select pg_sleep(1000)');	# does not wait
#	$s->read_until(qr/pattern/);		# of stdout and stderr together
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Session;
use strict;
use warnings;
use Carp qw(croak);
use IO::Select;
use IPC::Open3;
use Symbol qw(gensym);
use Time::HiRes qw(time);
use PGW::Util qw(reap);

sub new
{
	my ($class, $endpoint, %o) = @_;
	my $self = bless { out => '', err => '', n => 0 }, $class;
	local %ENV = (%ENV, PGCONNECT_TIMEOUT => $PGW::Util::patience,
		(defined $o{password} ? (PGPASSWORD => $o{password}) : ()));
	my $err = gensym;
	$self->{pid} = open3(my $in, my $out, $err,
		$endpoint->psql_command(on_error_go_on => 1, %o));
	@$self{qw(in outfd errfd)} = ($in, $out, $err);
	$in->autoflush(1);
	$self->{select} = IO::Select->new($out, $err);
	$self->query('') unless $o{lazy};
	return $self;
}

sub pid { $_[0]{pid} }
sub out { $_[0]{out} }
sub err { $_[0]{err} }

# Sends SQL (or a psql command) and waits for nothing.
sub send
{
	my ($self, $sql) = @_;
	@$self{qw(out err done)} = ('', '', 0) if $self->{done};
	$sql .= ';' if $sql =~ /\S/ && $sql !~ /^\\|;\s*$/;
	syswrite $self->{in}, "$sql\n";
	return $self;
}

# One read of whatever comes; false at the end of both streams.
sub _pump
{
	my ($self, $wait) = @_;
	return 0 unless $self->{select}->count;
	for my $fh ($self->{select}->can_read($wait)) {
		my $to = $fh == $self->{outfd} ? 'out' : 'err';
		sysread($fh, $self->{$to}, 65536, length $self->{$to})
			or $self->{select}->remove($fh);
	}
	return 1;
}

# Waits until code is true; dies at the deadline or when psql ended.
sub wait_for
{
	my ($self, $what, $code, $seconds) = @_;
	my $end = time + ($seconds // $PGW::Util::patience);
	until ($code->($self)) {
		croak "psql ended before $what: $self->{err}"
			unless $self->_pump(0.1) || $code->($self);
		croak "gave up waiting for $what; out: $self->{out} "
			. "err: $self->{err}" if time > $end;
	}
	return $self;
}

# All that came since send(), without waiting.
sub read_now { my ($self) = @_; $self->_pump(0); return "$self->{out}\n$self->{err}" }

sub read_until
{
	my ($self, $re, $seconds) = @_;
	return $self->wait_for($re,
		sub { "$_[0]{out}\n$_[0]{err}" =~ $re }, $seconds);
}

# Runs SQL to its end and returns stdout; stderr is then in $s->err.
sub query
{
	my ($self, $sql, $seconds) = @_;
	$self->{done} = 1;
	$self->send($sql);
	return $self->finish_query($seconds);
}

# Waits for the end of what send() sent; out and err hold all since then.
sub finish_query
{
	my ($self, $seconds) = @_;
	@$self{qw(out err)} = ('', '') if $self->{done};
	my $mark = '--end-' . ++$self->{n} . '--';
	syswrite $self->{in}, "\\echo $mark\n\\warn $mark\n";
	$self->wait_for($mark, sub { $_[0]{out} =~ /^\Q$mark\E\n/m
		&& $_[0]{err} =~ /^\Q$mark\E\n/m }, $seconds);
	s/^\Q$mark\E\n//m for @$self{qw(out err)};
	s/\n\z// for @$self{qw(out err)};
	$self->{done} = 1;	# the next output is another statement's
	return $self->{out};
}

# query() that dies on an error.
sub safe
{
	my ($self, $sql, $seconds) = @_;
	my $out = $self->query($sql, $seconds);
	croak "$sql: $self->{err}" if $self->{err} =~ /^(?:ERROR|FATAL)/m
		|| $self->{err} =~ /(?:ERROR|FATAL):  /;
	return $out;
}

sub backend_pid
{
	my ($self) = @_;
	return $self->{backend_pid} //= $self->safe('select pg_backend_pid()');
}

# Ends psql by \q (end of input) and gives its exit code.
sub close
{
	my ($self) = @_;
	return undef unless $self->{pid};
	CORE::close $self->{in} if $self->{in};
	my $end = time + $PGW::Util::patience;
	1 while time < $end && $self->_pump(0.05);
	my $rc = reap($self->{pid}, 10);
	$self->kill unless defined $rc;
	delete $self->{pid};
	return $rc;
}

sub kill
{
	my ($self) = @_;
	return unless $self->{pid};
	CORE::kill KILL => $self->{pid};
	waitpid delete $self->{pid}, 0;
}

sub DESTROY { local ($?, $@); $_[0]->kill if $_[0]{pid} }

1;
