# What is around the statements: startup packets, limits, cancel requests,
# replication, large messages, clients that vanish.  Where the server answers,
# its own bytes are expected.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use Test::More;
use IO::Socket::IP;
use Socket qw(SOL_SOCKET SO_LINGER);
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until slurp spew new_dir comm children zombies);
use PGW::Wire;

my $c = PGW::Cluster->new(conf => "wal_level = logical\nmax_wal_senders = 4\n",
	hba => "local all asked password\nhost all asked all password\n"
	. "local all all trust\nhost all all all trust\n"
	. "local replication all trust\nhost replication all all trust\n",
	sql => q{
		create role asked login password 'secret';
		create role nobody login;
		create role limited login connection limit 0;
		create table t (id int primary key, v text);
		insert into t select i, 'row ' || i from generate_series(1, 5) i;
	});
my $p = PGW::Proxy->new($c);

sub shown
{
	return map { my ($type, $body) = @$_;
		"$type " . ($type eq 'K' ? length $body
			: $type eq 'S' && $body =~ /^(.*?)\0/ ? $1
			: $body =~ s/[^ -~]/./gr) } @_;
}

# --- startup packets: the server's own answers ---

sub packet { my ($body) = @_; return pack('N2', 8 + length $body, 0x30000) . $body }
sub pairs { return join('', map { "$_\0" } @_) . "\0" }

my @who = (user => 'postgres', database => 'postgres');
my %startup = (
	'no user' => pairs(database => 'postgres'),
	'an empty user' => pairs(user => '', database => 'postgres'),
	'no database' => pairs(user => 'postgres'),
	'an empty database' => pairs(user => 'postgres', database => ''),
	'no parameters at all' => "\0",
	'nothing behind the version' => '',
	'a user twice' => pairs(user => 'nobody', @who),
	'a user that is not there' => pairs(user => 'ghost', database => 'postgres'),
	'a database that is not there' => pairs(user => 'postgres', database => 'ghost'),
	'names of 100 characters' => pairs(user => 'u' x 100, database => 'd' x 100),
	'an unknown parameter' => pairs(@who, nope => 1),
	'a parameter with a bad value' => pairs(@who, work_mem => 'much'),
	'an encoding that is not there' => pairs(@who, client_encoding => 'klingon'),
	'options: -c=' => pairs(@who, options => '-c='),
	'options: -c' => pairs(@who, options => '-c'),
	'options: --x=y' => pairs(@who, options => '--x=y'),
	'options: a backslash' => pairs(@who, options => '-c application_name=a\\ b\\'),
	'options: spaces' => pairs(@who, options => '   '),
	'options: many' => pairs(@who, options => join ' ', map {
		"-c x.y$_=" . ('v' x 20) } 1 .. 200),
	'parameters of the server alone' => pairs(@who, port => 1),
	'a value that is not UTF-8' => pairs(@who, application_name => "\xff\xfe"),
	'a parameter of extensions' => pairs(@who, '_pq_.nope' => 1),
	'a parameter of another class' => pairs(@who, 'nope.nope' => 1),
	'without the last NUL' => "user\0postgres\0",
	'a name without a value' => "user\0",
	'behind the last NUL' => pairs(@who) . "more\0",
	'a role that may not connect' => pairs(user => 'limited', database => 'postgres'),
	'replication of nothing' => pairs(@who, replication => 'perhaps'),
	'replication without the right' => pairs(user => 'nobody',
		database => 'postgres', replication => 'database'),
);
for my $name (sort keys %startup) {
	my @got;
	for my $to ($c, $p) {
		my $w = $to->wire(raw => 1);
		$w->send(packet($startup{$name}));
		my @m = $w->read_ready;
		$w->send(Query('show application_name'));
		push @m, $w->read_ready if $m[-1] && $m[-1][0] eq 'Z';
		push @got, [shown(@m), $w->{eof} ? 'end' : 'ready'];
	}
	is_deeply($got[1], $got[0], "startup: $name") or note(explain(\@got));
}

# --- authentication, out of order ---

for (['a second StartupMessage' => Startup(0x30000, @who)],
	['a Query instead of a password' => Query('select 1')],
	['a password of another length' => Message('p', "secret\0more\0")],
	['a password without its NUL' => Message('p', 'secret')],
	['an empty password' => Message('p', "\0")],
	['a wrong password' => Message('p', "guess\0")]) {
	my ($name, $bytes) = @$_;
	my @got;
	for my $to ($c, $p) {
		my $w = $to->wire(raw => 1);
		$w->send(Startup(0x30000, user => 'asked', database => 'postgres'));
		my @m = $w->read_to('RE');
		$w->send($bytes);
		push @m, $w->read_all;
		push @got, [map { $_->[0] eq 'E'
			? join ' ', 'E', @{ fields($_) }{qw(S C)} : $_->[0] } @m];
		ok($w->{eof}, "$name: closed");
	}
	is_deeply($got[1], $got[0], "$name: as the server does");
}
{
	my @got;
	for my $to ($c, $p) {
		my $w = $to->wire(raw => 1);
		$w->send(Startup(0x30000, user => 'asked', database => 'postgres'),
			Message('p', "guess\0"));
		push @got, [shown($w->read_all)];
	}
	is_deeply($got[1], $got[0], 'a wrong password: the server\'s own words');
}

# --- lengths and types in a session ---

for (['a length of 3' => pack('A N', 'Q', 3)],
	['a negative length' => pack('A N', 'Q', 0xfffffff0)],
	['a type of no message' => pack('A N', "\1", 4)],
	['a startup packet again' => Startup(0x30000, @who)],
	['a password again' => Message('p', "secret\0")]) {
	my ($name, $bytes) = @$_;
	my @got;
	for my $to ($c, $p) {
		my $w = $to->wire;
		$w->ask(Query("begin; update t set v = 'never' where id = 1"));
		$w->send($bytes);
		my @m = $w->read_all;
		push @got, [map { join ' ', 'E', @{ fields($_) }{qw(S C)} }
			grep { $_->[0] eq 'E' } @m];
	}
	# The server closes without a word where it has lost its place.
	ok(!@{ $got[1] } || "@{ $got[1] }" eq ("@{ $got[0] }" || 'E FATAL 08P01'),
		"$name: as the server does, or FATAL 08P01") or note(explain(\@got));
}
is($c->safe_psql('select v from t where id = 1'), 'row 1', 'and rolled back');

# --- cancel requests ---

my $sleeper = $p->wire;
$sleeper->send(Query('select pg_sleep(600)'));
my $asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
wait_until('the sleep', sub { $c->safe_psql($asleep) == 1 });
for (['truncated' => pack('N3', 12, 80877102, $sleeper->{pid})],
	['too long' => CancelRequest($sleeper->{pid}, $sleeper->{key} . 'more')],
	['of another process' => CancelRequest($sleeper->{pid} + 1, $sleeper->{key})]) {
	my $w = $p->wire(raw => 1);
	$w->send($_->[1]);
	is(join('', map { $_->[0] } $w->read_all), '',
		"a CancelRequest $_->[0]: closed without an answer");
}
my @storm = map { $p->wire(raw => 1) } 1 .. 80;
$_->send(CancelRequest($sleeper->{pid}, "\0\1\2\3")) for @storm;
is((grep { $_->closed } @storm), 80, 'a storm of them: all closed');
is($c->safe_psql($asleep), 1, 'and none of these cancelled');
is($p->safe_psql('select 1'), 1, 'a client is served behind the storm');
my $cancel = $p->wire(raw => 1);
$cancel->send(CancelRequest($sleeper->{pid}, $sleeper->{key}));
$cancel->read_all;
is(fields(($sleeper->read_ready)[-2])->{C}, '57014', 'the right one cancels');
# A client may rely on the order: close means that it was sent.
for (1 .. 20) {
	$sleeper->send(Query('select pg_sleep(600)'));
	wait_until('the sleep', sub { $c->safe_psql($asleep) == 1 });
	my $w = $p->wire(raw => 1);
	$w->send(CancelRequest($sleeper->{pid}, $sleeper->{key}));
	$w->read_all;
	$sleeper->read_ready;
	my @m = $sleeper->ask(Query("select 'mine'"));
	is((columns($m[1]))[0], 'mine', 'the next statement is not hit') if $_ == 20;
	last if $m[1][0] ne 'D';
}

# --- replication connections ---

for my $kind (qw(true database)) {
	my @got;
	for my $to ($c, $p) {
		my $w = $to->wire(startup => { replication => $kind });
		my @m = $w->ask(Query('IDENTIFY_SYSTEM'));
		push @m, $w->ask(Query('SHOW server_version'));
		push @m, $w->ask(Query('nonsense'));
		push @m, $w->ask(Query('select 1 as one; select 2'))
			if $kind eq 'database';
		my $lsn = $c->safe_psql('select pg_current_wal_lsn()');
		if ($kind eq 'true') {
			$w->send(Query("START_REPLICATION PHYSICAL $lsn"));
		} else {
			push @m, map { [$_->[0], ''] } $w->ask(Query(
				'CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding'));
			$w->send(Query('START_REPLICATION SLOT s LOGICAL 0/0'));
		}
		push @m, $w->read_to('WE');
		$c->safe_psql("update t set v = v where id = 2");
		push @m, grep { $_->[1] !~ /^k/ } [($w->read_to('d'))[-1][0], ''];
		$w->send(CopyDone);
		push @m, grep { $_->[0] ne 'd' } $w->read_ready;
		push @m, $w->ask(Query('IDENTIFY_SYSTEM'));
		push @got, [shown(map { $_->[0] eq 'D' ? ['D', ''] : $_ } @m)];
		$w->close;
	}
	is_deeply($got[1], $got[0], "replication=$kind: the server's answers, "
		. 'CopyBoth and its end') or note(explain(\@got));
}

# --- clients that vanish ---

sub sessions
{
	return $c->safe_psql('select count(*) from pg_stat_activity where '
		. "application_name = '$_[0]'");
}
my $update = "update t set v = 'never' where id = 3";
my %state = (
	'idle' => [],
	'in a block' => [Query("begin; $update"), 'Z'],
	'in a failed block' => [Query('begin'), 'Z', Query('select 1/0'), 'Z'],
	'behind an Execute' => [Parse($update), Bind([]), Execute, Flush, 'C'],
	'in COPY' => [Query('copy t from stdin'), 'G', CopyData("9\tx\n")],
	'in the middle of a message' => [substr Query($update), 0, 9],
	'in the middle of CopyData' => [Query('copy t from stdin'), 'G',
		substr CopyData("9\tx\n"), 0, 7],
	'in the middle of a large Bind' => [Parse('select $1::text'),
		substr Bind(['x' x 1e6]), 0, 5e5],
	'while a statement runs' => [Query('select pg_sleep(0.3)')],
	'while an answer is read' => [Query("select repeat('x', 1000) from "
		. 'generate_series(1, 100000)'), 'D'],
	'in a suspended portal' => [Query('begin'), 'Z',
		Parse("$update returning id"), Bind([]), Execute(1), Flush, 's'],
);
for my $name (sort keys %state) {
	for my $how (qw(close reset half)) {
		my $w = $p->wire(startup => { application_name => 'vanishing' });
		for (@{ $state{$name} }) {
			length == 1 ? $w->read_to($_) : $w->send($_);
		}
		setsockopt $w->{sock}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)
			if $how eq 'reset';
		$how eq 'half' ? shutdown($w->{sock}, 1) : $w->close;
		# It may still read, and gets what it is owed.
		$w->read_all if $how eq 'half';
		ok(eval { wait_until('the session to go', sub {
			sessions('vanishing') == 0 }) },
			"$name: $how frees the server's session");
	}
}
is($c->safe_psql('select count(*) from t'), 5, 'what they had begun is undone');
is($c->safe_psql('select v from t where id = 3'), 'row 3', 'nothing of it is left');

# --- large messages: bounded memory ---

sub peak		# of the postmaster and its sessions, in MB
{
	my $max = 0;
	for ($p->pid, grep { comm($_) =~ /^pgwitness/ } children($p->pid)) {
		my ($kb) = (eval { slurp("/proc/$_/status") } // '')
			=~ /^VmHWM:\s+(\d+)/m or next;
		$max = $kb if $kb > $max;
	}
	return $max / 1024;
}

my $size = 150_000_000;
my $big = $p->wire;
my $before = peak();
my @m = $big->ask(Query("select repeat('x', $size)"));
is(length((columns($m[1]))[0]), $size, 'a DataRow of 150 MB');
cmp_ok(peak() - $before, '<', 64, 'is streamed');
@m = $big->ask(Parse('select length($1::text)'), Bind(['y' x $size]), Execute, Sync);
is((columns($m[2]))[0], $size, 'a Bind of 150 MB');
@m = $big->ask(Query("select length('" . ('z' x $size) . "')"));
is((columns($m[1]))[0], $size, 'a Query of 150 MB');
cmp_ok(peak() - $before, '<', 256, 'in bounded memory');
@m = ();
$big->close;

# A client that does not read: the server is held back, nothing is hoarded.
my $deaf = $p->wire;
$before = peak();
$deaf->send(Query("select repeat('d', 10000) from generate_series(1, 20000)"));
wait_until('the server to wait', sub { $c->safe_psql('select wait_event from '
	. "pg_stat_activity where pid = $deaf->{pid}") eq 'ClientWrite' });
is($p->safe_psql('select 4'), 4, 'another client is served');
cmp_ok(peak() - $before, '<', 32, 'a client that does not read costs little');
is((grep { $_->[0] eq 'D' } $deaf->read_ready), 20000, 'and gets all of it');
$deaf->close;

# --- limits ---

my $tight = PGW::Cluster->new(conf => "max_connections = 8\n"
	. "superuser_reserved_connections = 0\n");
my $tp = PGW::Proxy->new($tight, conf => { proxy => { max_connections => 12 } });
my (@full, @refused);
for (1 .. 12) {
	my $w = $tp->wire(raw => 1);
	$w->send(Startup(0x30000, @who));
	my @m = $w->read_ready;
	if ($m[-1][0] eq 'Z') { push @full, $w } else { push @refused, \@m }
}
ok(@full >= 4 && @refused >= 2, 'a full server refuses');
# replayd's sessions come and go.
my @direct;
for (;;) {
	my $w = $tight->wire(raw => 1);
	$w->send(Startup(0x30000, @who));
	@direct = $w->read_ready;
	last if $direct[-1][0] ne 'Z';
	push @full, $w;
}
is_deeply([shown(@{ $refused[0] })], [shown(@direct)],
	'with its own words, 53300');
$_->close for @full;
wait_until('a free connection', sub { eval { $tp->safe_psql('select 1') } });
pass('and slots are freed');
$tp->destroy;
$tight->destroy;

my $few = PGW::Proxy->new($c, conf => { proxy => { max_connections => 3 } });
my @three = map { wait_until('a place', sub { eval { $few->wire } }) } 1 .. 3;
my $fourth = $few->wire(raw => 1);
$fourth->send(Startup(0x30000, @who));
@m = $fourth->read_all;
is(fields($m[-1])->{C}, '53300', 'one client too many for the proxy: 53300');
$cancel = $few->wire(raw => 1);
$three[0]->send(Query('select pg_sleep(600)'));
wait_until('the sleep', sub { $c->safe_psql($asleep) == 1 });
$cancel->send(CancelRequest($three[0]{pid}, $three[0]{key}));
is(fields(($three[0]->read_ready)[-2])->{C}, '57014',
	'a full proxy still forwards a CancelRequest');
$three[1]->close;
wait_until('a free slot', sub { eval { $few->safe_psql('select 1') } });
pass('a client that leaves frees its slot');
$few->destroy;

# --- unix sockets and IPv6 ---

my $dir = new_dir('sock');
my $six = IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) ? 1 : 0;
my $local = PGW::Proxy->new($c, conf => { proxy => {
	unix_socket_directory => $dir,
	listen_addresses => $six ? '127.0.0.1, ::1' : '127.0.0.1' } });
my $path = "$dir/.s.PGSQL." . $local->port;
ok(-S $path, 'a unix socket');
my $uw = $local->wire(host => $dir);
@m = $uw->ask(Query("update t set v = 'unix' where id = 4 returning v"));
is((columns($m[1]))[0], 'unix', 'and a session in it');
$cancel = $local->wire(host => $dir, raw => 1);
$uw->send(Query('select pg_sleep(600)'));
wait_until('the sleep', sub { $c->safe_psql($asleep) == 1 });
$cancel->send(CancelRequest($uw->{pid}, $uw->{key}));
is(fields(($uw->read_ready)[-2])->{C}, '57014', 'a CancelRequest in it');
SKIP: {
	skip 'no IPv6 here', 1 unless $six;
	my ($rc, $out) = $local->psql('select 6', host => '::1');
	is($out, 6, 'IPv6');
}
$uw->close;
is($local->stop, 0, 'pgwitness ends');
ok(!-e $path, 'and takes its socket away');

# --- keepalive ---

# /proc/net/tcp: addresses in hex, state 01 is established, timer 02 keepalive.
my $open = $p->wire;
my $port = sprintf '%04X', $p->port;
my @timers;
ok(eval { wait_until('a timer', sub {
	@timers = map { /^\s*\d+: [0-9A-F]+:$port [0-9A-F:]+ 01 \S+ (\d\d):/
		? $1 : () } split /\n/, slurp('/proc/net/tcp');
	grep { $_ eq '02' } @timers }) },
	'connections of clients are kept alive') or diag("@timers");
$open->close;

# --- many connections ---

my $children = @{[$p->processes]};
my $fds = () = glob '/proc/' . $p->pid . '/fd/*';
my ($rc, $out, $err) = $p->pgbench(qw(-n -C -c 8 -j 2 -t 50 -f),
	do { my $f = "$dir/one.sql"; spew($f, "select 1;\n"); $f });
is($rc, 0, '400 connections, one after the other') or diag($err);
wait_until('their children to go', sub { @{[$p->processes]} <= $children + 2 });
my $now;
eval { wait_until('the descriptors', sub {
	$now = () = glob '/proc/' . $p->pid . '/fd/*';
	$now <= $fds + 8 }) };
cmp_ok($now, '<=', $fds + 8, 'no descriptor is lost');
ok(eval { wait_until('all to be reaped', sub { !zombies($p->pid) }) },
	'no zombie is left');

my @aborted = grep { ($_->{query} // '') =~ /never/ && $_->{outcome}
	&& $_->{outcome}{outcome} eq 'committed' } ($p->settled, $p->transactions);
is(@aborted, 0, 'nothing that was undone is claimed');
no_mismatches($p);
one_outcome_and_verdict($p);
($rc, $out, $err) = $p->verify;
is($rc, 0, 'the evidence log verifies') or diag($out, $err);
done_testing;
