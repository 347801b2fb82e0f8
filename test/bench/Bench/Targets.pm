# What is measured: one server, and what stands before it.  All are reached by
# unix sockets, and reach the server by its.
#
#	direct		the server
#	pgbouncer	PgBouncer in session mode
#	bare		pgwitness with enable_capture = off
#	before_commit, async	pgwitness at that commit level, verification off
#	other-...	the same of another build (OTHER=)
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Targets;
use strict;
use warnings;
use Bench::PgBouncer;
use Fcntl qw(:flock);
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(slurp descendants new_dir run pg_bin nap);

my @ALL = qw(direct pgbouncer bare before_commit async);

# As a server is run, but for what would come at random moments.
my $CONF = <<'EOC';
fsync = on
full_page_writes = on
max_connections = 200
shared_buffers = 512MB
max_wal_size = 16GB
checkpoint_timeout = 1h
autovacuum = off
EOC

sub new
{
	my ($class, %o) = @_;
	my $self = bless { scale => $o{scale}, at => {} }, $class;
	$self->{server} = PGW::Cluster->new(conf => $CONF);
	my ($rc, undef, $err) = $self->{server}->pgbench('-i', '-q', '-s',
		$o{scale});
	die "pgbench -i: $err" if $rc;
	$self->{server}->safe_psql('create table wide as select i, '
		. "repeat('x', 90) as t from generate_series(1, 20000) i");
	$self->{server}->safe_psql('vacuum analyze; checkpoint');
	open $self->{lock}, '<', $o{lock} or die "$o{lock}: $!" if $o{lock};
	$self->{names} = [$o{target} ? split ' ', $o{target}
		: (@ALL, $ENV{OTHER} ? map { "other-$_" } @ALL[2 .. 4] : ())];
	return $self;
}

sub names { @{ $_[0]{names} } }
sub server { $_[0]{server} }
sub scale { $_[0]{scale} }

# Runs code while nobody else who takes the lock measures or builds.
sub quietly
{
	my ($self, $code) = @_;
	flock $self->{lock}, LOCK_EX if $self->{lock};
	my @r = eval { $code->() };
	my $error = $@;
	flock $self->{lock}, LOCK_UN if $self->{lock};
	die $error if $error;
	return wantarray ? @r : $r[0];
}

# The target of that name, started when it is wanted first.
sub get
{
	my ($self, $name) = @_;
	return $self->{at}{$name} //= $self->_start($name);
}

sub _start
{
	my ($self, $name) = @_;
	return $self->{server} if $name eq 'direct';
	return Bench::PgBouncer->new($self->{server}) if $name eq 'pgbouncer';
	local $ENV{PGW_BUILD} = $ENV{OTHER} if $name =~ s/^other-//;
	return $self->proxy(features => { enable_capture => 'off' })
		if $name eq 'bare';
	return $self->proxy(evidence => { commit => $name });
}

# pgwitness before the server, with that configuration.
sub proxy
{
	my ($self, %conf) = @_;
	my $env = delete $conf{env};
	return PGW::Proxy->new($self->{server}, env => $env, conf => { %conf,
		proxy => { listen_addresses => '',
			unix_socket_directory => new_dir('s') },
		features => { enable_verification => 'off',
			%{ $conf{features} // {} } } });
}

# Nanoseconds of CPU that the proxy's processes used up to now, ended ones
# included; and those of the server.
sub cpu_ns
{
	my ($self, $name) = @_;
	return $name eq 'direct' ? 0 : _cpu_ns($self->get($name)->pid);
}

sub server_cpu_ns { return _cpu_ns($_[0]{server}->pid) }

sub _cpu_ns
{
	my ($pid) = @_;
	my $sum = 0;
	for my $p ($pid, descendants($pid)) {
		my $ran = eval { slurp("/proc/$p/schedstat") } // next;
		my @f = split ' ', (eval { slurp("/proc/$p/stat") } // next)
			=~ s/^.*\) //sr;
		$sum += (split ' ', $ran)[0] + ($f[13] + $f[14]) * 1e7;
	}
	return $sum;
}

# Until what the last load left to do is done.
sub settle
{
	my ($self, $name) = @_;
	return if $name eq 'direct';
	my $last = $self->cpu_ns($name);
	for (1 .. 100) {
		nap 0.1;
		my $now = $self->cpu_ns($name);
		return if $now - $last < 2e6;
		$last = $now;
	}
}

1;
