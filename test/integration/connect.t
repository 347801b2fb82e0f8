# Ways to connect, and what a client is told when it cannot.
use strict;
use warnings;
use Test::More;
use IO::Socket::INET;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until slurp spew new_dir free_port alive);
use PGW::Wire;

my $c = PGW::Cluster->new(conf => "max_connections = 12\n"
	. "superuser_reserved_connections = 1\nmax_wal_senders = 0\n",
	sql => q{create role joe login; create table t (id int primary key);
	grant all on t to joe});

# --- unix socket ---

my $dir = new_dir('sock');
my $p = PGW::Proxy->new($c, conf => { proxy => { listen_addresses => '',
	unix_socket_directory => $dir } });
my $path = "$dir/.s.PGSQL." . $p->port;
is($p->safe_psql('select inet_client_addr() is null'), 't',
	'a unix socket, to a unix socket');
is($p->safe_psql('select 1', conn => { sslmode => 'require' }, host => $dir), 1,
	'libpq asks for no TLS there');
my $w = $p->wire(raw => 1);
$w->send(SSLRequest);
is($w->read_byte, 'N', 'and one who asks is told N');
$w->startup(user => 'postgres');
$w->send(Query('select pg_sleep(600)'));
sleeps();
my $cancel = $p->wire(raw => 1);
$cancel->send(CancelRequest($w->{pid}, $w->{key}));
ok($cancel->closed, 'a CancelRequest');
is(fields(($w->read_ready)[-2])->{C}, '57014', 'cancels');
is(slurp("$path.lock") =~ /^(\d+)$/m ? $1 : '', $p->pid, 'the lock file');
is((stat $path)[2] & 0777, 0777, 'everybody may connect');
my ($tx) = $p->witness('insert into t values (1)');
is($tx->{record}{client_addr}, 'local', 'the record says where from');

my $second = PGW::Proxy->new($c, no_start => 1, conf => { proxy => {
	listen_addresses => '', unix_socket_directory => $dir,
	port => $p->port } });
ok(!eval { $second->start }, 'a second proxy on the same socket is refused');
like($second->last_words, qr/\Q$path\E.*is in use/, 'and says why');
kill KILL => $p->processes;
waitpid delete $p->{pid}, 0;
wait_until('the children to go', sub { !$p->leftovers });
ok(-S $path, 'a killed proxy leaves its socket');
$p->start;
is($p->safe_psql('select 2'), 2, 'the next one takes it over');
is($p->stop, 0, 'stops');
ok(!-e $path && !-e "$path.lock", 'and takes both files away');

sub sleeps
{
	wait_until('the sleep', sub { $c->safe_psql('select count(*) from '
		. "pg_stat_activity where wait_event = 'PgSleep'") });
}

# --- TCP ---

SKIP: {
	my $six = eval { require IO::Socket::IP; IO::Socket::IP->new(
		LocalHost => '::1', Listen => 1) };
	skip 'no IPv6 here', 3 unless $six;
	close $six;
	my $q = PGW::Proxy->new($c, no_start => 1);
	$q->write_conf({ proxy => { listen_addresses => '127.0.0.1, ::1',
		unix_socket_directory => $dir } });
	$q->start;
	is($q->safe_psql('select 6', host => $_), 6, "$_ of three addresses")
		for '::1', '127.0.0.1', $dir;
	my ($tx) = do { $q->safe_psql('insert into t values (6)',
		host => '::1'); $q->settled };
	is($tx->{record}{client_addr}, '::1', 'the address in the record');
	$q->stop;
}

$p = PGW::Proxy->new($c->tcp, conf => { proxy => { max_connections => 3 } });
# Whoever looked whether it accepts may not have left yet.
$w = wait_until('a place', sub { eval { $p->wire } });
# Other timers run while something is on its way.
ok(eval { wait_until('it', sub { timer($p->port, $w->{sock}->sockport) eq '02' }) },
	'keepalive to the client');
ok(eval { wait_until('it', sub { timer(undef, $c->port) eq '02' }) },
	'keepalive to the server');

# The timer of the connection from one port to another, or from any.
sub timer
{
	my ($here, $there) = @_;
	# /proc/net/tcp: local address, remote address, state, queues, timer:when
	for (slurp('/proc/net/tcp') =~ /^.*$/mg) {
		my ($from, $to, $timer) =
			/^\s*\d+: \w+:(\w+) \w+:(\w+) 01 \S+ (\d+):/ or next;
		return $timer if hex $to == $there
			&& (!$here || hex $from == $here);
	}
	return '';
}

# --- too many ---

my @clients = map { wait_until('a place', sub { eval { $p->wire } }) } 2 .. 3;
my $refused = $p->wire(raw => 1);
$refused->send(Startup(0x30000, user => 'postgres'));
my @m = $refused->read_all;
is("@{ fields($m[0]) }{qw(S C M)}",
	'FATAL 53300 sorry, too many clients already',
	'one client more than max_connections');
like(($p->psql('select 1'))[2], qr/FATAL:  sorry, too many clients already/,
	'psql shows it');
my $storm = 0;
for (1 .. 40) {
	my $k = $p->wire(raw => 1);
	$k->send(CancelRequest($w->{pid}, pack 'N', $_));
	$storm += $k->closed;
}
is($storm, 40, 'CancelRequests are taken all the same');
$clients[0]->send(Terminate);
ok($clients[0]->closed, 'a client leaves');
wait_until('its place', sub { eval { $p->wire->close; 1 } });
pass('and another has its place');
$_->close for $w, @clients;

$p->write_conf({ proxy => { max_connections => 100 } });
$p->restart;
# replayd's sessions come and go.
my (@server, @told);
eval { wait_until('the same words', sub {
	while (my $w = eval { $c->wire }) { push @server, $w }
	@told = map { my $w = $_->wire(raw => 1);
		$w->send(Startup(0x30000, user => 'joe', database => 'postgres'));
		[map { "@$_" } $w->read_to('EZ')] } $c, $p;
	"@{ $told[0] }" =~ /\0C53300\0/ && "@{ $told[0] }" eq "@{ $told[1] }" }) };
like($told[0][0], qr/\0C53300\0/, 'a server that is full');
is_deeply($told[1], $told[0], 'says so through the proxy, byte by byte');
$_->close for @server;
wait_until('the server to have room', sub {
	eval { $p->safe_psql('select 1', user => 'joe') } });

# --- the server away ---

$w = $p->wire;
kill KILL => $w->{pid};
@m = $w->read_all;
is(@m, 1, 'a server process that dies: one message');
is("@{ fields($m[0]) }{qw(S C M)}",
	'FATAL 08006 server closed the connection unexpectedly', 'with 08006');
$c->kill9;
$refused = $p->wire(raw => 1);
$refused->send(Startup(0x30000, user => 'postgres'));
@m = $refused->read_all;
like("@{ fields($m[0]) }{qw(S C M)}", qr/^FATAL 08006 could not connect to the server at "127.0.0.1", port \d+: Connection refused$/,
	'no server: 08006 and why');
$c->start;
is($p->safe_psql('select 3'), 3, 'and when it is back');
$w = $p->wire;
$w->send(Query('select pg_sleep(600)'));
sleeps();
$c->stop('INT');
@m = $w->read_all;
is(fields($m[-1])->{C}, '57P01', 'a shutdown of the server: its 57P01');
is(scalar(() = grep { $_->[0] eq 'E' } @m), 1, 'and nothing of ours behind it');
$c->start;
$w = $p->wire;
$p->signal('INT');
@m = $w->read_all;
is("@{ fields($m[0]) }{qw(S C M)}", 'FATAL 57P01 terminating connection due to '
	. 'administrator command', 'a shutdown of the proxy: 57P01');
is($p->stop('none'), 0, 'stops');

# --- versions, where the proxy answers itself ---

$p = PGW::Proxy->new($c, conf => { proxy => { auth_method => 'trust' },
	backend => { client_user => 'joe' } });
for ([0x30002], [0x30000, '_pq_.one' => 1, '_pq_.two' => ''], [0x3270f],
	[0x30000]) {
	my ($version, %options) = @$_;
	my @v = map { my $w = $_->wire(raw => 1);
		$w->startup(user => 'joe', protocol => $version, %options);
		join '', map { $_->[0] eq 'v' ? unpack 'H*', $_->[1] : () }
			@{ $w->{start} } } $c, $p;
	is($v[1], $v[0], sprintf 'protocol %x %s: the same NegotiateProtocolVersion',
		$version, join ' ', sort keys %options);
}
is($p->stop, 0, 'stops');
done_testing;
