# Whatever clients send: a clear error or a closed connection, bounded memory,
# nobody else disturbed, nothing left behind.
use strict;
use warnings;
use Test::More;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);
use PGW::Census;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);
use PGW::Wire;

my $timeout = 3;
my $secret = 'hunter2-in-clear';
my $c = PGW::Cluster->new(
	hba => "local all asked scram-sha-256\nhost all asked all scram-sha-256\n"
		. "local all all trust\nhost all all all trust\n",
	sql => 'create table t (id int primary key, v text);'
		. " insert into t select i, 'v' from generate_series(1, 100) i;"
		. " create role asked login password 'right'");
my $p = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 },
	conf => { proxy => { authentication_timeout => '600s' },
		log => { level => 'info' } });
# Logins that are to succeed, however slow the machine, are not made here.
my $hasty = PGW::Proxy->new($c,
	conf => { proxy => { authentication_timeout => "${timeout}s" } });
$p->settled;
my $census = PGW::Census->new($p);

# Another's session, asked after each case.
my $other = $p->wire;
sub undisturbed
{
	my ($name) = @_;
	my @m = $other->ask(Query('select 1'));
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join('', map { $_->[0] } @m), 'TDCZ', "$name: nobody else is disturbed");
}

# What the client got as messages, and whether it was closed.
sub ends
{
	my ($name, $w, %o) = @_;
	my @m = eval { $w->read_all };
	my $error = $@;
	my ($e) = grep { $_->[0] eq 'E' } reverse @m;
	my %f = $e ? %{ fields($e) } : ();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($w->{eof}, "$name: closed") or diag($error);
	is($f{C} // 'nothing', $o{sqlstate}, "$name: $o{sqlstate}")
		or diag(explain(\%f)) if $o{sqlstate};
	is($f{S}, 'FATAL', "$name: FATAL") if $o{sqlstate};
	$w->close;
	return %f;
}

sub raw { return $p->wire(raw => 1) }
sub noise { my ($n) = @_; srand 1; return join '', map { chr int rand 256 } 1 .. $n }

# --- before the login ---

my $startup = Startup(0x30000, user => 'postgres', database => 'postgres');
my %lengths = (0 => 0, 1 => 1, 3 => 3, 7 => 7, 10001 => 10001,
	'2^31-1' => 0x7fffffff, negative => 0xffffffff, '2^31' => 0x80000000);
for (sort keys %lengths) {
	my $w = raw();
	$w->send(pack('N', $lengths{$_}), "\0\3\0\0");
	ends("startup packet of length $_", $w, sqlstate => '08P01');
}
for (['HTTP request', "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", '08P01'],
	['SSH banner', "SSH-2.0-OpenSSH_9.2\r\n", '08P01'],
	['protocol 2.0', pack('N2', 296, 0x20000) . "\0" x 288, '0A000'],
	['protocol 0.0', pack('N2', 8, 0), '0A000'],
	['protocol 4.0', pack('N2', 9, 0x40000) . "\0", '0A000'],
	['SSLRequest with more behind it', SSLRequest() . $startup, '08P01'],
	['SSLRequest of nine bytes', pack('N2', 9, 80877103) . "\0", '08P01']) {
	my ($name, $bytes, $state) = @$_;
	my $w = raw();
	$w->send($bytes);
	ends($name, $w, sqlstate => $state);
}
{
	my $w = raw();
	$w->send("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", noise(506));
	my $got = '';
	while ((my $b = $w->read_byte) ne '') { $got .= $b }
	like($got, qr/^(\x15\x03[\x00-\x03]\x00\x02\x02.)?$/s,
		'TLS hello: closed, with an alert at most');

	$w = raw();
	$w->send(SSLRequest());
	is($w->read_byte, 'N', 'SSLRequest: N');
	$w->send(SSLRequest());
	ends('second SSLRequest', $w, sqlstate => '08P01');
	undisturbed('first packets');
}
for (['half a startup packet', substr $startup, 0, 20],
	['one byte', "\0"], ['nothing', '']) {
	my ($name, $bytes) = @$_;
	my $start = time;
	my $w = $hasty->wire(raw => 1);
	$w->send($bytes);
	ends("$name, then silence", $w);
	cmp_ok(time - $start, '>=', $timeout - 1,
		"$name: not before authentication_timeout");
	$w = raw();
	$w->send($bytes);
	shutdown $w->{sock}, 1;
	ends("$name, then the end, which nobody waits behind", $w);
}
{
	my $w = raw();
	eval { $w->send("\x7f" . noise(1 << 20)) };
	ends('a megabyte of noise', $w);
	$w = raw();
	$w->send(pack('N', 10000) . pack('N', 0x30000));
	eval { $w->send('n' x 9000) };
	cmp_ok($census->peak_kb, '<', 60_000, 'startup takes little memory')
		or diag($census->peak_kb);
	$w->close;
	undisturbed('noise');
}

# --- while the server asks for a password ---

sub asked
{
	my $w = raw();
	$w->send(Startup(0x30000, user => 'asked', database => 'postgres'));
	my $m = $w->read_message;
	is($m->[0], 'R', 'asked for a password');
	return $w;
}
for (['Query before the login', Query('select 1'), '08P01'],
	['second StartupMessage', $startup, '08P01'],
	['Sync before the login', Sync(), '08P01'],
	['negative length', 'p' . pack('N', 0xfffffffe), '08P01'],
	['no SASL message', Message('p', noise(100)), '08P01'],
	['password where SASL is asked', Message('p', "$secret\0"), '28P01|08P01|28000']) {
	my ($name, $bytes, $state) = @$_;
	my $w = asked();
	$w->send($bytes);
	my %f = ends($name, $w);
	like($f{C} // '', qr/^(?:$state)$/, "$name: $state");
}
{
	my $w = asked();
	$w->send('p' . pack('N', 0x3fffffff) . 'x' x 100_000);
	ends('an endless password', $w);
	cmp_ok($census->peak_kb, '<', 60_000, 'and takes little memory');
	undisturbed('passwords');
}

# --- after the login ---

sub logged_in { return $p->wire }
for (['unknown type z', Message('z', 'abc')], ['type 0xff', Message("\xff", '')],
	['PasswordMessage', Message('p', "$secret\0")],
	['second StartupMessage', $startup],
	['HTTP request', "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" . 'x' x 5000]) {
	my ($name, $bytes) = @$_;
	my $w = logged_in();
	$w->send($bytes);
	# The server's own words, or the proxy's; both may wait for the rest of
	# what claims to be a long message.
	shutdown $w->{sock}, 1;
	ends("$name after the login", $w);
}
for my $type ('Q', 'P', 'X', 'z') {
	for my $length (0, 3, 0x40000000, 0x7fffffff, 0xffffffff) {
		my $w = logged_in();
		$w->send($type . pack('N', $length) . 'abc');
		ends("$type of length $length", $w, sqlstate => '08P01');
	}
}
{
	my @long = map {
		my $w = logged_in();
		$w->send($_ . pack('N', 0x3fffffff) . 'x' x 300_000);
		$w;
	} qw(Q P B d);
	cmp_ok($census->peak_kb, '<', 120_000,
		'half of a gigabyte message takes what has come of it')
		or diag($census->peak_kb);
	$_->close for @long;
	for my $seed (1 .. 20) {
		my $w = logged_in();
		srand $seed;
		eval { $w->send(join '', map { chr int rand 256 } 1 .. 50_000) };
		shutdown $w->{sock}, 1;
		ends("noise $seed after the login", $w);
	}
	undisturbed('noise after the login');
}

# --- messages whose inside is nonsense: as the server answers them ---

my $bind = sub { Message('B', join '', @_) };
for (['Bind: formats that are not there', $bind->("\0\0", pack 'n', 65535)],
	['Bind: parameters that are not there', $bind->("\0\0", pack 'n n', 0, 65535)],
	['Bind: a value longer than the message',
		$bind->("\0\0", pack 'n n N', 0, 1, 0x7fffffff)],
	['Bind: a negative length', $bind->("\0\0", pack 'n n N', 0, 1, 0xfffffffe)],
	['Bind: format 7', $bind->("\0\0", pack 'n n n', 1, 7, 0)],
	['Bind: names without an end', $bind->('abc')],
	['Bind: nothing', $bind->()],
	['Bind: more behind its end', $bind->("\0\0", pack('n n n', 0, 0, 0), 'x')],
	['Parse: types that are not there', Message('P', "\0select 1\0" . pack 'n', 65535)],
	['Parse: no text', Message('P', "\0")],
	['Parse: nothing', Message('P', '')],
	['Parse: more behind its end', Message('P', "\0select 1\0" . pack('n', 0) . 'x')],
	['Execute: no row count', Message('E', "\0")],
	['Execute: nothing', Message('E', '')],
	['Execute: no such portal', Execute(0, 'none')],
	['Describe: neither S nor P', Describe('Q')],
	['Describe: nothing', Message('D', '')],
	['Close: neither S nor P', Close('?')],
	['Close: nothing', Message('C', '')],
	['Sync: with a body', Message('S', 'abc')],
	['Query: no end', Message('Q', 'select 1')],
	['Query: nothing', Message('Q', '')],
	['Query: zero inside', Message('Q', "select 1\0; select 2\0")],
	['FunctionCall: nothing', Message('F', '')],
	['CopyData, CopyDone, CopyFail outside COPY',
		CopyData('x'), CopyDone(), CopyFail('y')]) {
	my ($name, @bytes) = @$_;
	my @got = map {
		my $w = $_->wire;
		# A Query answers the first Z, the Sync the second.
		$w->send(Parse('select $1::int'), @bytes, Sync(), Sync(), Terminate());
		my @m = eval { $w->read_all };
		[map { $_->[0] =~ /[SK]/ ? () : $_ } @m];
	} $c, $p;
	is_deeply($got[1], $got[0], "$name: as the server")
		or diag(explain($got[1]), explain($got[0]));
}
undisturbed('nonsense');

# --- leaving at any moment ---

my %moments = (
	'the connection' => [1],
	'half a startup packet' => [1, substr $startup, 0, 30],
	'the StartupMessage' => [1, $startup],
	'the question for a password' => [2],
	'half a Query' => [0, substr(Query('select 1'), 0, 8)],
	'a transaction with a change' => [0, Query('begin'),
		Query("insert into t values (1000, 'left behind')")],
	'a failed transaction' => [0, Query('begin'), Query('select 1/0')],
	'a pipeline without Sync' => [0, Parse("insert into t values (1001, 'x')"),
		Bind([]), Execute(), Flush()],
	'a suspended portal' => [0, Parse('select * from t'), Bind([]),
		Execute(1), Flush()],
	'COPY FROM' => [0, Query('copy t from stdin'), CopyData("1002\tx\n")],
	'half a CopyData' => [0, Query('copy t from stdin'), 'd', pack('N', 500), 'x'],
	'an unread result' => [0, Query('select repeat($$x$$, 1000) from '
		. 'generate_series(1, 20000)')],
);
for my $name (sort keys %moments) {
	my ($how, @bytes) = @{ $moments{$name} };
	for my $reset (0, 1) {
		my $w = $how == 2 ? asked() : $how == 1 ? raw()
			: $p->wire(startup => { application_name => 'leaver' });
		$w->send(@bytes);
		# Until the server has begun with it.
		$w->read_message if !$how && $name !~ /^half a Query/;
		setsockopt $w->{sock}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)
			if $reset;
		$w->close;
	}
}
my $left = q{select count(*) from pg_stat_activity where application_name = 'leaver'};
ok(eval { wait_until('the server to be left', sub { !$c->safe_psql($left) }) },
	'the server is left when clients leave') or diag($c->safe_psql(
		q{select state, query from pg_stat_activity where application_name = 'leaver'}));
is($c->safe_psql('select count(*) from t where id >= 1000'), 0,
	'nothing of theirs is committed');
undisturbed('leaving');
$p->settled;

# --- the end ---

$other->send(Terminate());
$other->close;
$census->is_as_before('processes and descriptors are given back');
my @bad = $p->operator_log(event => qr/^bad_/);
ok((grep { $_->{message} =~ /startup packet/ } @bad), 'the log says: startup packet');
ok((grep { $_->{message} =~ /invalid message length/ && $_->{client} } @bad),
	'the log says: message length, and whose');
ok((grep { $_->{message} =~ /before authentication/ } @bad),
	'the log says: before authentication');
my @crashed = $p->operator_log(event => qr/crashed|child_failed/);
is_deeply(\@crashed, [], 'no process fell over') or diag(explain(\@crashed));
unlike(join('', map { join ' ', map { $_ // '' } values %$_ } $p->operator_log),
	qr/\Q$secret\E/, 'no password in the log');
is(($p->verify)[0], 0, 'the evidence is whole');
done_testing;
