# PgBouncer in session mode before a server, otherwise as it comes.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::PgBouncer;
use strict;
use warnings;
use parent 'PGW::Endpoint';
use PGW::Util qw(new_dir free_port spew spawn reap tail wait_until
	keep_for_end);

sub new
{
	my ($class, $server) = @_;
	my $dir = new_dir('pgbouncer');
	my $self = bless { dir => $dir, host => $dir, port => free_port(),
		user => 'postgres' }, $class;
	spew("$dir/users", qq{"postgres" ""\n});
	spew("$dir/pgbouncer.ini", <<"EOI");
[databases]
* = host=$server->{host} port=$server->{port}
[pgbouncer]
listen_port = $self->{port}
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = session
max_client_conn = 200
default_pool_size = 100
EOI
	keep_for_end($self);
	open my $log, '>', "$dir/log" or die $!;
	$self->{pid} = spawn([-x '/usr/sbin/pgbouncer' ? '/usr/sbin/pgbouncer'
		: 'pgbouncer', '-q', "$dir/pgbouncer.ini"], stdout => $log,
		stderr => $log, dies_with_us => 'TERM');
	wait_until('PgBouncer', sub { ($self->psql('select 1'))[0] == 0 });
	return $self;
}

sub pid { $_[0]{pid} }
sub last_words { tail("$_[0]{dir}/log", 25) }

sub destroy
{
	my ($self) = @_;
	my $pid = delete $self->{pid} // return;
	# A shell's background has QUIT ignored.
	kill TERM => $pid;
	reap($pid, 10);
}

1;
