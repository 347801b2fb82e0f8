# TLS: to clients, to the server, and both.
use strict;
use warnings;
use Test::More;
use IO::Socket::INET;
use PGW::Certs;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until run program spawn free_port);
use PGW::Wire;

my $ca = PGW::Certs->new('ca');
my $other_ca = PGW::Certs->new('other');
my $server_cert = $ca->issue('server', 'localhost', 'DNS:localhost');
my $proxy_cert = $ca->issue('proxy', 'proxy', 'DNS:localhost,IP:127.0.0.1');
my $client_cert = $ca->issue('client', 'certain');

my $c = PGW::Cluster->new(conf => $server_cert->server_conf(ca => $ca),
	hba => "local all all trust\n"
	. "hostnossl all clear 127.0.0.1/32 trust\n"
	. "hostssl all tls 127.0.0.1/32 trust\n"
	. "hostssl all tlspw 127.0.0.1/32 scram-sha-256\n"
	. "hostnossl all clearpw 127.0.0.1/32 scram-sha-256\n"
	. "hostssl all certain 127.0.0.1/32 cert\n"
	. "host all scram 127.0.0.1/32 scram-sha-256\n"
	. "host all postgres,pgwitness 127.0.0.1/32 trust\n", sql => q{
	create role clear login; create role tls login; create role certain login;
	create role scram login password 'secret';
	create role tlspw login password 'secret';
	create role clearpw login password 'secret';
	create table t (id int primary key, v text);
	grant all on t to public;
});
my $on_server = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()';

# A proxy before the server's TCP port, at once or later.
sub proxy
{
	my ($proxy, $backend, %o) = @_;
	return PGW::Proxy->new($c->tcp, conf => { proxy => $proxy,
		backend => $backend }, %o);
}

sub tries
{
	my ($p, %o) = @_;
	my ($rc, $out, $err) = $p->psql($o{sql} // $on_server, %o);
	return $rc ? $err : $out;
}

# --- to the server ---

my $p = proxy({}, { host => 'localhost' });
is(tries($p), 't', 'sslmode = prefer: TLS to a server that has it');
is(tries($p, user => 'tls'), 't', 'prefer: hostssl');
is(tries($p, user => 'clear'), 'f',
	'prefer: hostnossl, after the server refused TLS');
is(tries($p, user => 'tlspw', password => 'secret'), 't',
	'prefer: SCRAM in TLS from a client in clear text');
is(tries($p, user => 'scram', password => 'secret',
	conn => { channel_binding => 'disable' }), 't', 'without channel binding');
like(tries($p, user => 'scram', password => 'secret',
	conn => { channel_binding => 'require' }),
	qr/channel binding required, but SSL not in use/,
	'with channel binding required: libpq needs TLS for that');
like(tries($p, user => 'scram', password => 'wrong'),
	qr/FATAL:  password authentication failed for user "scram"/,
	'a wrong password: the server says so');
ok((grep { $_->{message} =~ /in clear text.*its pg_hba.conf refuses TLS/ }
	$p->operator_log(event => qr/server_tls/)), 'which is logged');
like(tries($p, user => 'nobody'), qr/no pg_hba.conf entry for host/,
	'a user without an entry: the server says so');
$p->safe_psql("insert into t select g, repeat('x', 1000) "
	. 'from generate_series(1, 2000) g');
my ($tx) = $p->settled;
ok($tx->{verdict}, 'recorded through TLS');
is($p->safe_psql("update t set v = 'a' where id = 1 returning v"), 'a', 'DML');
($tx) = $p->settled;
is($tx->{verdict}{verdict}, 'verified', 'verified, the witness role in TLS');
is($p->safe_psql("copy (select repeat('x', 1000) from "
	. 'generate_series(1, 20000)) to stdout') =~ tr/x//, 2e7, '20 MB out');
is($p->safe_psql("create temp table big (v text); copy big from stdin;\n"
	. ('y' x 999 . "\n") x 5000 . "\\.\nselect sum(length(v)) from big"),
	999 * 5000, '5 MB in');
my $w = $p->wire;
$w->send(Query('select pg_sleep(600)'));
sleeps();
my $cancel = $p->wire(raw => 1);
$cancel->send(CancelRequest($w->{pid}, $w->{key}));
ok($cancel->closed, 'a CancelRequest goes through TLS');
is(fields(($w->read_ready)[-2])->{C}, '57014', 'and cancels');
is((columns(($w->ask(Query("select 'next'")))[1]))[0], 'next',
	'the session goes on');
my $listener = $p->wire;
$listener->ask(Query('listen ears'));
$c->safe_psql("notify ears, 'hello'");
is($listener->read_message->[0], 'A',
	'a notification reaches an idle client');
$c->safe_psql("select pg_terminate_backend($w->{pid})");
is(fields(($w->read_all)[0])->{C}, '57P01', 'a terminated session: its FATAL');

sub sleeps
{
	wait_until('the sleep', sub { $c->safe_psql('select count(*) from '
		. "pg_stat_activity where wait_event = 'PgSleep'") });
}

# mode, other settings, user, what is expected of $on_server or the error
my $root = $ca->cert;
for (['disable', {}, 'postgres', 'f'],
	['disable', {}, 'tls', qr/FATAL:.*no pg_hba.conf entry.*no encryption/],
	['allow', {}, 'postgres', 'f'],
	['allow', {}, 'tls', 't'],
	['allow', {}, 'clear', 'f'],
	['require', {}, 'postgres', 't'],
	['require', {}, 'clear', qr/FATAL:.*no pg_hba.conf entry.*SSL encryption/],
	['require', { sslrootcert => $other_ca->cert }, 'postgres',
		qr/FATAL:.*certificate verify failed/],
	['prefer', { sslrootcert => $other_ca->cert }, 'postgres', 'f'],
	['verify-ca', { sslrootcert => $root, host => '127.0.0.1' }, 'postgres',
		't'],
	['verify-ca', { sslrootcert => $other_ca->cert }, 'postgres',
		qr/FATAL:.*certificate verify failed/],
	['verify-full', { sslrootcert => $root }, 'postgres', 't'],
	['verify-full', { sslrootcert => $root, host => '127.0.0.1' },
		'postgres', qr/FATAL:.*certificate does not match host name "127/],
	['require', { sslcert => $client_cert->cert,
		sslkey => $client_cert->key }, 'certain', 't']) {
	my ($mode, $more, $user, $want) = @$_;
	$p->write_conf({ backend => { host => 'localhost', sslmode => $mode,
		map { ($_ => $more->{$_}) } qw(sslrootcert sslcert sslkey),
		keys %$more } });
	reload($p);
	my $got = tries($p, user => $user);
	my $name = "sslmode = $mode" . (join '', map { ", $_ "
		. $more->{$_} =~ s{.*/}{}r } sort keys %$more) . ": $user";
	ref $want ? like($got, $want, $name) : is($got, $want, $name);
}
is($p->stop, 0, 'stops');

# --- to clients ---

# TLS at the client, and the SCRAM mechanism psql used, from the server's side.
$p = proxy({ $proxy_cert->proxy_conf(ca => $ca) }, { sslmode => 'disable' });
my %verify = (sslmode => 'verify-full', sslrootcert => $ca->cert);
is(tries($p, sql => 'select 1', conn => { sslmode => $_ }), 1,
	"client: sslmode=$_") for qw(disable allow prefer require);
is(tries($p, sql => 'select 1', conn => { %verify }), 1, 'client: verify-full');
like(tries($p, conn => { %verify, sslrootcert => $other_ca->cert }),
	qr/certificate verify failed/, 'client: another authority');
is(tries($p, sql => 'select 1', conn => { %verify,
	sslcert => $client_cert->cert, sslkey => $client_cert->key }), 1,
	'client: with a certificate');
my $stranger = $other_ca->issue('stranger', 'stranger');
like(tries($p, sql => 'select 1', conn => { %verify,
	sslcert => $stranger->cert, sslkey => $stranger->key }),
	qr/SSL error|server closed the connection|alert/,
	'client: a certificate of somebody else is refused');
is(tries($p, user => 'scram', password => 'secret', conn => { %verify,
	channel_binding => $_ }), 'f', "TLS to the client alone, SCRAM, "
	. "channel_binding=$_") for qw(disable prefer);
like(tries($p, user => 'scram', password => 'secret', conn => { %verify,
	channel_binding => 'require' }),
	qr/channel binding is required, but server did not offer/,
	'channel_binding=require: libpq refuses');
is($p->safe_psql("copy (select repeat('x', 1000) from "
	. 'generate_series(1, 20000)) to stdout', conn => { %verify })
	=~ tr/x//, 2e7, '20 MB out in TLS');
is($p->safe_psql("create temp table big (v text); copy big from stdin;\n"
	. ('y' x 999 . "\n") x 5000 . "\\.\nselect sum(length(v)) from big",
	conn => { %verify }), 999 * 5000, '5 MB in');
$p->safe_psql("update t set v = 'tls' where id = 2", conn => { %verify });
($tx) = grep { $_->{query} =~ /update t/ } $p->settled;
is($tx->{verdict}{verdict}, 'verified', 'captured and verified');

$w = $p->wire(tls => {});
ok($w->{pid}, 'startup in TLS');
$w->send(Query('select pg_sleep(600)'));
sleeps();
$cancel = $p->wire(raw => 1, tls => {});
$cancel->send(CancelRequest($w->{pid}, $w->{key}));
ok($cancel->closed, 'a CancelRequest in TLS is taken');
is(fields(($w->read_ready)[-2])->{C}, '57014', 'and cancels');
my @burst = map { (Parse("select $_, repeat('z', 200)"), Bind([]), Execute) }
	1 .. 500;
is((grep { $_->[0] eq 'D' } $w->ask(@burst, Sync)), 500,
	'500 statements in one burst');
$w->send(Terminate);
ok($w->closed, 'Terminate closes');

my $g = $p->wire(raw => 1, tls => { alpn => 'postgresql' });
is($g->{sock}->alpn_selected, 'postgresql', 'ALPN after an SSLRequest');
ok(!eval { $p->wire(raw => 1, tls => { alpn => 'http/1.1' }) },
	'ALPN of another protocol is refused');
$g = $p->wire(raw => 1, tls => { direct => 1, alpn => 'postgresql' });
$g->startup(user => 'postgres');
is((columns(($g->ask(Query('select 5')))[1]))[0], 5, 'direct TLS with ALPN');
$g = $p->wire(raw => 1, tls => { direct => 1 });
$g->send(Startup(0x30000, user => 'postgres'));
is(scalar(() = $g->read_all), 0, 'direct TLS without ALPN: closed');

$g = $p->wire(raw => 1, tls => {});
$g->send(SSLRequest);
is(fields(($g->read_all)[0])->{C}, '08P01', 'an SSLRequest in TLS is refused');
$g = $p->wire(raw => 1, tls => {});
$g->send(GSSENCRequest);
is(fields(($g->read_all)[0])->{C}, '08P01', 'a GSSENCRequest likewise');
$g = $p->wire(raw => 1);
$g->send(GSSENCRequest);
is($g->read_byte, 'N', 'a GSSENCRequest before TLS is answered N');
$g->start_tls;
$g->startup(user => 'postgres');
ok($g->{pid}, 'and TLS may follow');
$g = $p->wire(raw => 1);
$g->send(SSLRequest . Startup(0x30000, user => 'postgres'));
my ($m, @rest) = $g->read_all;
is(fields($m)->{M}, 'received unencrypted data after SSL request',
	'clear text behind an SSLRequest: refused');
is(@rest, 0, 'and nothing else happens');
$g = $p->wire(raw => 1);
$g->send(SSLRequest);
is($g->read_byte, 'S', 'clear text instead of the handshake');
$g->send(Startup(0x30000, user => 'postgres'));
ok((grep { $_->[0] =~ /[RZ]/ } eval { $g->read_all }) == 0 && $g->{eof},
	'is no startup');
ok((grep { $_->{message} =~ /could not accept SSL connection/ }
	$p->operator_log(event => qr/tls_failed/)), 'and logged');
for (1 .. 20) {		# a handshake that stops anywhere
	my $h = $p->wire(raw => 1);
	$h->send(SSLRequest);
	$h->read_byte;
	$h->send(substr "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
		. ("\x5a" x 600), 0, $_ * 20);
	$h->close;
}
is($p->safe_psql('select 8', conn => { %verify }), 8, 'the proxy still serves');

# Versions
for (['1.1', qr/alert|unsupported|protocol|no protocols/i], ['1.2', 1],
	['1.3', 1]) {
	my ($v, $want) = @$_;
	my (undef, $out, $err) = run(['openssl', 's_client', '-starttls',
		'postgres', '-connect', '127.0.0.1:' . $p->port,
		"-tls1_" . ($v =~ s/1\.//r), '-brief',
		($v eq '1.1' ? ('-cipher', 'ALL:\@SECLEVEL=0') : ())]);
	ref $want ? unlike($err, qr/CONNECTION ESTABLISHED/, "no TLS $v")
		: like($err, qr/CONNECTION ESTABLISHED/, "TLS $v");
}
my (undef, $out, $err) = run(['openssl', 's_client', '-starttls', 'postgres',
	'-connect', '127.0.0.1:' . $p->port, '-tls1_2'], stdin => "R\n");
my ($then) = $err =~ /^RENEGOTIATING\n(.*)/ms;
ok(defined $then && $then !~ /verify return/, 'no renegotiation');
like($out, qr/Compression: NONE/, 'no compression');

# --- require ---

$p->write_conf({ proxy => { ssl => 'require' } });
reload($p);
my ($rc, undef, $refusal) = $p->psql('select 1', verbose => 'verbose',
	conn => { sslmode => 'disable' });
like($refusal, qr/FATAL:  connection requires SSL: host "127.0.0.1", user "postgres", database "postgres", no encryption/,
	'require: clear text is refused');
is(fields(($p->wire(raw => 1)->send(Startup(0x30000, user => 'postgres'))
	->read_all)[0])->{C}, '28000', 'with 28000');
is(tries($p, sql => 'select 1', conn => { sslmode => $_ }), 1,
	"require: client sslmode=$_") for qw(allow prefer require);

# --- reload of certificates; -n ---

sub shown
{
	my ($p) = @_;
	my $w = $p->wire(raw => 1, tls => {});
	return $w->{sock}->peer_certificate('cn');
}

is(shown($p), 'proxy', 'the certificate');
my $old = $p->wire(tls => {});
$p->write_conf({ proxy => { ssl_cert_file => $server_cert->cert,
	ssl_key_file => $server_cert->key } });
reload($p);
is(shown($p), 'localhost', 'another after a reload');
is((columns(($old->ask(Query('select 6')))[1]))[0], 6,
	'old connections go on');
$p->write_conf({ proxy => { ssl_key_file => $proxy_cert->key } });
my $n_failed = () = $p->operator_log(event => qr/reload_failed/);
$p->reload;
wait_until('the refusal', sub { $n_failed
	< (() = $p->operator_log(event => qr/reload_failed/)) });
is(shown($p), 'localhost', 'a reload with a wrong key changes nothing');
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $p->dir]);
is($rc, 2, '-n finds a key that does not belong to the certificate');
like($err, qr/proxy\.key: private key does not belong to certificate/,
	'and says so');
chmod 0640, $proxy_cert->key;
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $p->dir]);
like($err, qr/proxy\.key: private key is open to group or others/,
	'-n finds a key that others may read');
chmod 0600, $proxy_cert->key;
my $locked = $proxy_cert->key . '.locked';
run(['openssl', 'ec', '-aes256', '-passout', 'pass:abcd', '-in',
	$proxy_cert->key, '-out', $locked]);
$p->write_conf({ proxy => { ssl_cert_file => $proxy_cert->cert,
	ssl_key_file => $locked } });
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $p->dir]);
like($err, qr/locked: private key has a passphrase; nobody is asked/,
	'-n finds a key with a passphrase');
$p->write_conf({ proxy => { ssl_cert_file => $proxy_cert->cert . 'x' } });
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $p->dir]);
like($err, qr/crtx: cannot load certificate: No such file/,
	'-n finds a missing certificate');
is($p->stop, 0, 'stops');

# --- both ---

# certificate, client's channel_binding, what happens
for ([$server_cert, 'disable', 't'], [$server_cert, 'prefer', 't'],
	[$server_cert, 'require', 't'], [$proxy_cert, 'disable', 't'],
	[$proxy_cert, 'prefer', qr/FATAL:  08004: SCRAM channel binding is not possible.*HINT:  Connect with channel_binding=disable/s],
	[$proxy_cert, 'require', qr/FATAL:  08004: SCRAM channel binding/]) {
	my ($cert, $binding, $want) = @$_;
	if (!$p->{both} || $p->{both} ne $cert) {
		$p->stop if $p->{pid};
		$p = proxy({ $cert->proxy_conf }, { host => 'localhost',
			sslmode => 'verify-full', sslrootcert => $ca->cert });
		$p->{both} = $cert;
	}
	my $got = tries($p, user => 'scram', password => 'secret', verbose =>
		'verbose', conn => { sslmode => 'require',
		channel_binding => $binding });
	$got = wire_refusal($p) if ref $want;
	my $name = 'TLS on both legs, '
		. ($cert eq $server_cert ? "the server's own" : 'another')
		. " certificate, channel_binding=$binding";
	ref $want ? like($got, $want, $name) : is($got, $want, $name);
}
# psql shows the SQLSTATE of connection errors in no verbosity.
sub wire_refusal
{
	my ($p) = @_;
	my $w = $p->wire(raw => 1, tls => {});
	$w->send(Startup(0x30000, user => 'scram', database => 'postgres'));
	my $m = $w->read_message;
	like($m->[1], qr/^\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0$/,
		"the server's mechanisms as they are");
	my $first = 'p=tls-server-end-point,,n=,r=abcdefghijklmnop';
	$w->send(Message('p', "SCRAM-SHA-256-PLUS\0" . pack 'N/a*', $first));
	my @m = $w->read_all;
	is(@m, 1, 'one error');
	my $f = fields($m[0]);
	return "$f->{S}:  $f->{C}: $f->{M}\nHINT:  $f->{H}";
}
is(tries($p, user => 'scram', password => 'secret', conn => {
	sslmode => 'disable' }), 't', 'the same client in clear text');
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $p->dir]);
is($rc, 0, '-n: no error');
like($err, qr/works only if ssl_cert_file is the server's own certificate; else/,
	'but a warning');
$p->write_conf({ proxy => { $stranger->proxy_conf } });
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $p->dir]);
like($err, qr/own certificate, which it is not by sslrootcert and host; else/,
	'and more where the files tell more');
is($p->stop, 0, 'stops');

# --- a server that does not play by the rules ---

# Answers the first eight bytes of each connection with these.
sub fake_server
{
	my ($answer) = @_;
	my $port = free_port();
	my $pid = spawn([$^X, '-MIO::Socket::INET', '-e', q{
		$SIG{PIPE} = 'IGNORE';
		my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
			LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1);
		while (my $s = $l->accept) {
			sysread $s, my $in, 8;
			syswrite $s, pack 'H*', $ARGV[1];
			1 while sysread $s, $in, 1000;
		}}, $port, unpack 'H*', $answer], dies_with_us => 'KILL');
	wait_until('the fake server', sub { IO::Socket::INET->new(
		PeerAddr => '127.0.0.1', PeerPort => $port) });
	return ($port, $pid);
}

my $lie = Message('E', "SFATAL\0VFATAL\0C28000\0Msend your password to me\0\0");
$p = proxy({}, { user => '' });
for (['an error', 'require', $lie, qr/no valid response to SSL/],
	['an error, prefer', 'prefer', $lie, qr/no valid response to SSL/],
	['rubbish', 'require', 'X', qr/no valid response to SSL/],
	['S and more', 'require', "S$lie", qr/no valid response to SSL/],
	['N and more', 'prefer', "N$lie", qr/no valid response to SSL/],
	['N', 'require', 'N', qr/server does not support SSL, but SSL was required/]) {
	my ($name, $mode, $answer, $want) = @$_;
	my ($port, $pid) = fake_server($answer);
	$p->write_conf({ backend => { sslmode => $mode, port => $port } });
	reload($p);
	my $w = $p->wire(raw => 1);
	$w->send(Startup(0x30000, user => 'postgres'));
	my @m = $w->read_all;
	is(@m, 1, "server says $name: one error");
	like("@{ fields($m[0]) }{qw(S C M)}", qr/^FATAL 08006 .*$want/, 'of ours');
	kill KILL => $pid;
	waitpid $pid, 0;
}
is($p->stop, 0, 'stops');

# New children serve with the new configuration.
sub reload
{
	my ($p) = @_;
	my $n = () = $p->operator_log(event => qr/^reload/);
	my %old = map { $_ => 1 } PGW::Util::children($p->pid);
	my ($replayd) = $p->processes_called(qr/replayd/);
	$p->reload;
	wait_until('the reload', sub {
		$n < (() = $p->operator_log(event => qr/^reload/)) });
	wait_until('new children', sub { my @now = grep { !$old{$_} }
		PGW::Util::children($p->pid); @now >= 4 });
}
done_testing;
