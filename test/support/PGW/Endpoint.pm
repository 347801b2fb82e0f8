# Something that speaks PostgreSQL's protocol at host and port: a server, the
# proxy, the liar.  All SQL of the tests goes through here.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Endpoint;
use strict;
use warnings;
use Carp qw(croak);
use PGW::Session;
use PGW::Util qw(run pg_bin);
use PGW::Wire;

sub host { $_[0]{host} }
sub port { $_[0]{port} }
sub user { $_[0]{user} // 'postgres' }

sub conninfo
{
	my ($self, %o) = @_;
	my %c = (host => $o{host} // $self->host, port => $self->port,
		user => $o{user} // $self->user, dbname => $o{dbname} // 'postgres');
	$c{options} = $o{options} if defined $o{options};
	%c = (%c, %{ $o{conn} }) if $o{conn};
	return join ' ', map { (my $v = $c{$_}) =~ s/([\\'])/\\$1/g; "$_='$v'" }
		sort keys %c;
}

# conn: more of libpq's parameters.
#
# psql's arguments.  verbose: SQLSTATE and positions as \set VERBOSITY;
# tags: command tags are shown.
sub psql_command
{
	my ($self, %o) = @_;
	return (pg_bin('psql'), '-XAt', ($o{tags} ? () : '-q'),
		'-v', 'ON_ERROR_STOP=' . ($o{on_error_go_on} ? 0 : 1),
		($o{verbose} ? ('-v', "VERBOSITY=$o{verbose}") : ()),
		'-d', $self->conninfo(%o));
}

sub _env
{
	my (%o) = @_;
	return { PGCONNECT_TIMEOUT => $PGW::Util::patience, %{ $o{env} // {} },
		(defined $o{password} ? (PGPASSWORD => $o{password}) : ()) };
}

# (exit code, stdout, stderr); each statement is its own message.
sub psql
{
	my ($self, $sql, %o) = @_;
	my ($rc, $out, $err) = run([$self->psql_command(%o), '-f', '-'],
		stdin => $sql, env => _env(%o), seconds => $o{seconds});
	s/\n\z// for $out, $err;
	return ($rc, $out, $err);
}

# The same with the whole text as one simple Query message.
sub psql_c
{
	my ($self, $sql, %o) = @_;
	my ($rc, $out, $err) = run([$self->psql_command(%o), '-c', $sql],
		env => _env(%o), seconds => $o{seconds});
	s/\n\z// for $out, $err;
	return ($rc, $out, $err);
}

# stdout; dies on any error.
sub safe_psql
{
	my ($self, $sql, %o) = @_;
	my ($rc, $out, $err) = $self->psql($sql, %o);
	croak "psql ($rc): $err\n  in: " . substr($sql, 0, 400) if $rc;
	return $out;
}

sub session { my ($self, %o) = @_; return PGW::Session->new($self, %o) }
sub wire { my ($self, %o) = @_; return PGW::Wire->new($self, %o) }

# (exit code, stdout, stderr)
sub pgbench
{
	my ($self, @args) = @_;
	return run([pg_bin('pgbench'), '-h', $self->host, '-p', $self->port,
		'-U', $self->user, @args, 'postgres'], env => _env());
}

1;
