# A PostgreSQL server of its own: in a temporary directory, on a unix socket
# there and on a free port of 127.0.0.1.  initdb runs once per run of the
# suite; every cluster is a copy.  Superuser postgres, witness role pgwitness.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Cluster;
use strict;
use warnings;
use parent 'PGW::Endpoint';
use Carp qw(croak);
use Fcntl qw(:flock);
use PGW::Util qw(wait_until slurp spew run_dir new_dir free_port run spawn
	reap alive tail pg_bin keep_for_end);

my $conf = <<'EOC';
unix_socket_permissions = 0777
fsync = off
full_page_writes = off
max_connections = 60
max_prepared_transactions = 10
shared_buffers = 32MB
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
autovacuum_naptime = 1h
timezone = 'UTC'
EOC

sub _template
{
	my $dir = run_dir() . '/template';
	open my $lock, '>', "$dir.lock" or croak $!;
	flock $lock, LOCK_EX;
	return $dir if -e "$dir/ready";
	my ($rc, $out, $err) = run([pg_bin('initdb'), '-D', $dir, '-N',
		'--no-instructions', '-U', 'postgres', '-A', 'trust', '-E', 'UTF8',
		'--locale', 'C.UTF-8']);
	croak "initdb: $err" if $rc;
	($rc, $out, $err) = run([pg_bin('postgres'), '--single', '-D', $dir,
		'postgres'], stdin => "CREATE ROLE pgwitness LOGIN\n"
		. "GRANT pg_read_all_data, pg_monitor TO pgwitness\n");
	croak "postgres --single: $err" if $rc || $err =~ /ERROR|FATAL/;
	spew("$dir/ready", '');
	return $dir;
}

# conf: extra lines of postgresql.conf; hba: the whole pg_hba.conf;
# sql: run once when it is up; started unless no_start.
sub new
{
	my ($class, %o) = @_;
	my $template = _template();
	my $dir = new_dir('pg');
	my ($rc, undef, $err) = run(['cp', '-a', '--reflink=auto',
		"$template/.", $dir]);
	croak "cp: $err" if $rc;
	my $self = bless { dir => $dir, host => $dir, port => free_port(),
		user => 'postgres' }, $class;
	$self->append_conf($conf . "port = $self->{port}\n"
		. "listen_addresses = '127.0.0.1'\n"
		. "unix_socket_directories = '$dir'\n" . ($o{conf} // ''));
	spew("$dir/pg_hba.conf", $o{hba}) if $o{hba};
	keep_for_end($self);
	$self->start unless $o{no_start};
	$self->safe_psql($o{sql}) if $o{sql};
	return $self;
}

sub dir { $_[0]{dir} }
sub pid { $_[0]{pid} }
sub log { tail("$_[0]{dir}/server.log", 1e6) }

sub append_conf
{
	my ($self, $text) = @_;
	open my $f, '>>', "$self->{dir}/postgresql.conf" or croak $!;
	print $f "$text\n";
	close $f;
}

# The server over TCP, for those who connect by host and port.
sub tcp
{
	my ($self) = @_;
	return bless { %$self, host => '127.0.0.1' }, 'PGW::Endpoint';
}

sub start
{
	my ($self) = @_;
	my $dir = $self->{dir};
	open my $log, '>>', "$dir/server.log" or croak $!;
	$self->{pid} = spawn([pg_bin('postgres'), '-D', $dir], stdout => $log,
		stderr => $log, own_group => 1, dies_with_us => 'QUIT');
	wait_until('PostgreSQL to start', sub {
		alive($self->{pid}) or croak 'server: ' . $self->last_words;
		-e "$dir/postmaster.pid"
			&& slurp("$dir/postmaster.pid") =~ /^ready/m;
	});
	return $self;
}

sub _end
{
	my ($self, $signal, $seconds) = @_;
	my $pid = delete $self->{pid} or return;
	kill $signal => $pid;
	my $rc = reap($pid, $seconds);
	return $rc if defined $rc;
	kill KILL => $pid;
	waitpid $pid, 0;
	return;
}

sub stop { my ($self, $signal) = @_; return $self->_end($signal // 'INT',
	$PGW::Util::patience) }
sub restart { my ($self) = @_; $self->stop; return $self->start }

# As after a crash of the server: all its processes at once.  First it is stopped,
# so that it makes no new ones.
sub kill9
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill STOP => $pid;
	wait_until('the server to stop', sub { PGW::Util::stopped($pid) });
	my @all = ($pid, PGW::Util::descendants($pid));
	kill KILL => @all;
	waitpid $pid, 0;
	wait_until('server processes to go away', sub {
		!grep { alive($_) } @all });
	unlink "$self->{dir}/postmaster.pid";
}

sub last_words
{
	my ($self) = @_;
	return "# --- $self->{dir}/server.log\n"
		. tail("$self->{dir}/server.log", 25);
}

sub destroy { $_[0]->_end('QUIT', 10) }

1;
