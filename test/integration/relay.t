# What a client sees through the proxy is what it sees from the server.
use strict;
use warnings;
use Test::More;
use IO::Socket::INET;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until zombies);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text, n numeric);
	create table log (line text);
	create function noisy() returns int language plpgsql as
		$$ begin raise notice 'a notice' using hint = 'h'; return 1; end $$;
});
my $p = PGW::Proxy->new($c);
my $reset = "truncate t, log; insert into t select i, 'row ' || i, i / 3.0 "
	. 'from generate_series(1, 5) i';

# --- psql ---

is($p->safe_psql('select 1'), '1', 'SELECT');
is($p->safe_psql('show server_version'), $c->safe_psql('show server_version'),
	'the server\'s own parameters');

my @same = (
	['results', 'values (1, null, $$$$), (2, $$a|b$$, $$' . "\n" . '$$)'],
	['several statements in one message',
		'select 1; insert into log values (1); select 2; select 3 where false'],
	['empty query', ';'],
	['comment only', '-- nothing'],
	['error in the middle', 'insert into log values (1); select 1/0; select 2'],
	['syntax error with position', "select 1,\n 2 frm t"],
	['unknown column with position and hint', 'select idd from t'],
	['position behind two-byte characters', "select 'äöü', bad from t"],
	['constraint fields', "insert into t values (1, 'dup')"],
	['tags of DML', "insert into log values (1), (2); update log set line = 3;"
		. ' delete from log where line = $$3$$'],
	['notice', 'select noisy()'],
	['DML and RETURNING', 'update t set v = v || 1 where id < 3 returning *'],
	['DML that fails', 'update t set n = 1 / (id - 3)'],
	['utility', 'create temp table x (a int); drop table x; analyze t'],
	['explain', 'explain (costs off) update t set v = 1 where id = 1'],
	['settings', "set datestyle = 'german'; select date '2020-02-01'; "
		. "reset all; select date '2020-02-01'"],
	['transaction block', 'begin; update t set v = 1 where id = 1; rollback'],
	['current_query()', 'select current_query()'],
	['vacuum', 'vacuum t'],
	['prepared statements', 'prepare q as select $1::int + 1; execute q(1);'
		. ' select name, statement from pg_prepared_statements'],
);
for my $psql (qw(psql psql_c)) {
	for (@same) {
		my ($name, $sql) = @$_;
		my @got;
		for my $to ($c, $p) {
			$c->safe_psql($reset);
			push @got, [$to->$psql($sql, verbose => 'verbose',
				tags => 1)];
			$got[-1][2] =~ s/^psql:<stdin>:\d+: //gm;
		}
		is_deeply($got[1], $got[0], "$psql: $name");
	}
}

# --- COPY, NOTIFY ---

$c->safe_psql($reset);
is($p->safe_psql("copy log from stdin;\na\nb\\tc\n\\.\nselect count(*) from log;"),
	'2', 'COPY FROM STDIN');
is($p->safe_psql('copy (select id from t order by id) to stdout'),
	join("\n", 1 .. 5), 'COPY TO STDOUT');
is($p->safe_psql('copy (select repeat($$x$$, 1000) from '
	. 'generate_series(1, 20000)) to stdout') =~ tr/x//, 2e7,
	'COPY of 20 MB');

my $listener = $p->wire;
$listener->ask(Query('listen ears'));
$c->safe_psql("notify ears, 'hello'");
my $n = $listener->read_message;
is($n->[0], 'A', 'a notification reaches an idle client');
like($n->[1], qr/ears\0hello\0$/, 'with its payload');
$listener->close;

# --- startup ---

my $w = $p->wire(raw => 1);
$w->send(SSLRequest);
is($w->read_byte, 'N', 'SSLRequest is answered N');
$w->send(GSSENCRequest);
is($w->read_byte, 'N', 'GSSENCRequest is answered N');
$w->startup(user => 'postgres');
is((columns(($w->ask(Query('select 5')))[1]))[0], 5,
	'a plain startup follows on the same socket');

my @starts;
for my $to ($c, $p) {
	my $v = $to->wire(raw => 1);
	$v->startup(user => 'postgres', protocol => 0x30002, '_pq_.x' => 1);
	push @starts, [map { $_->[0] eq 'K' ? 'K' : "@$_" } @{ $v->{start} }];
}
is_deeply($starts[1], $starts[0], 'protocol 3.2 and _pq_ options: '
	. 'NegotiateProtocolVersion and all parameters as the server sends them');
ok((grep { /^v / } @{ $starts[1] }), 'NegotiateProtocolVersion is there');

is($w->{pid}, (columns(($w->ask(Query('select pg_backend_pid()')))[1]))[0],
	'BackendKeyData has the real process id');

my $opt = $p->wire(startup => { options => '-c work_mem=5MB',
	application_name => 'relay test', DateStyle => 'German' });
$opt->ask(Query('set work_mem = 64; set datestyle = iso; reset all'));
is_deeply([map { (columns($_))[0] } grep { $_->[0] eq 'D' }
	$opt->ask(Query('show work_mem; show application_name; show datestyle'))],
	['5MB', 'relay test', 'German, DMY'],
	'RESET ALL returns to the startup parameters');

# --- cancel ---

my $sleeper = $p->wire;
$sleeper->send(Query('select pg_sleep(600)'));
wait_until('the sleep to start', sub { $c->safe_psql('select count(*) from '
	. "pg_stat_activity where wait_event = 'PgSleep'") == 1 });
my $cancel = $p->wire(raw => 1);
$cancel->send(CancelRequest($sleeper->{pid}, "\1\2\3\4"));
ok($cancel->closed, 'a CancelRequest is answered by closing');
is($c->safe_psql("select count(*) from pg_stat_activity where wait_event = "
	. "'PgSleep'"), 1, 'one with a wrong key does nothing');
$cancel = $p->wire(raw => 1);
$cancel->send(CancelRequest($sleeper->{pid}, $sleeper->{key}));
ok($cancel->closed, 'the right one is forwarded');
my @m = $sleeper->read_ready;
is(fields($m[-2])->{C}, '57014', 'and cancels the statement');
is((columns(($sleeper->ask(Query('select 6')))[1]))[0], 6,
	'the session goes on');

# --- ends ---

sub server_sessions
{
	return $c->safe_psql('select count(*) from pg_stat_activity where '
		. "application_name = '$_[0]'");
}

my $polite = $p->wire(startup => { application_name => 'polite' });
is(server_sessions('polite'), 1, 'a client has a server session');
$polite->send(Terminate);
ok($polite->closed, 'Terminate closes');
wait_until('the session to go', sub { server_sessions('polite') == 0 });
pass('Terminate ends the server session');

my $rude = $p->wire(startup => { application_name => 'rude' });
$rude->ask(Query("begin; update t set v = 'never' where id = 1"));
$rude->close;
wait_until('the session to go', sub { server_sessions('rude') == 0 });
isnt($c->safe_psql('select v from t where id = 1'), 'never',
	'a client that vanishes is rolled back and its session freed');

my $half = $p->wire(startup => { application_name => 'half' });
shutdown $half->{sock}, 1;
wait_until('the session to go', sub { server_sessions('half') == 0 });
pass('a half-closed client is freed, too');

my $victim = $p->wire;
my @busy = $p->processes;
$c->safe_psql("select pg_terminate_backend($victim->{pid})");
@m = $victim->read_all;
is(fields($m[0])->{C}, '57P01', 'a terminated server session: its own FATAL');
ok($victim->{eof}, 'then the connection is closed');

my $crashed = $p->wire;
my $recovered = qr/all server processes terminated; reinitializing/;
kill KILL => $crashed->{pid};
ok($crashed->closed, 'a server process that dies closes the connection');
wait_until('the server to recover', sub { $c->log =~ $recovered
	&& eval { $c->safe_psql('select 1') } });
is($p->safe_psql('select 7'), '7', 'and the proxy serves new clients');
wait_until('the dead clients\' children to go', sub {
	@{[ $p->processes ]} <= @busy });
pass('their children went away');
ok(eval { wait_until('them to be reaped', sub { !zombies($p->pid) }) },
	'no zombies');

# --- garbage instead of a startup packet ---

my %garbage = (
	'HTTP' => "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	'length 0' => pack('N2', 0, 0x30000),
	'length 3' => pack('N2', 3, 0x30000),
	'length 7' => pack('N2', 7, 0x30000),
	'length 2^31-1' => pack('N2', 0x7fffffff, 0x30000),
	'length 2^32-1' => pack('N2', 0xffffffff, 0x30000),
	'length 10001' => pack('N2', 10001, 0x30000) . ('x' x 9993),
	'protocol 2.0' => pack('N2 Z64', 72, 0x20000, 'postgres'),
	'no final NUL' => pack('N2 a4', 12, 0x30000, 'user'),
	'TLS without a request' => "\x16\x03\x01\x02\x00\x01" . ("\0" x 300),
	'two SSLRequests' => SSLRequest . SSLRequest . SSLRequest,
);
for (sort keys %garbage) {
	my $g = $p->wire(raw => 1);
	$g->send($garbage{$_});
	my $end = time + $PGW::Util::patience;
	until ($g->{eof} || time > $end) {
		$g->_wait($end) and $g->_read;
	}
	ok($g->{eof}, "$_ at startup: closed");
}
my $split = $p->wire(raw => 1);
for (split //, Startup(0x30000, user => 'postgres', database => 'postgres',
	options => '-c search_path=' . join(',', map { "s$_" } 1 .. 600))) {
	$split->send($_);
}
@m = $split->read_ready;
is($m[-1][0], 'Z', 'a long startup packet, byte by byte');
is($p->safe_psql('select 8'), '8', 'the proxy still serves');

# --- the same messages, to the server and through the proxy ---

# Each script is a list of steps: bytes to send, or the number of
# ReadyForQuery to wait for, or a regular expression of types to wait for.
my $insert = 'insert into log values ($1) returning line';
my @scripts = (
	['unnamed statement', Parse('select $1::int + 1'), Bind([41]),
		Describe('P'), Execute, Sync, 1],
	['describe statement', Parse('select id, v from t where id = $1',
		name => 's'), Describe('S', 's'), Sync, 1],
	['named statement used twice', Parse($insert, name => 'i'), Sync, 1,
		Bind(['x'], name => 'i'), Execute, Sync, 1,
		Bind(['y'], name => 'i'), Execute, Sync, 1,
		Query('select * from log'), 1],
	['statement that exists', Parse('select 1', name => 'a'),
		Parse('select 2', name => 'a'), Sync, 1],
	['statement and portal that do not', Bind([], name => 'none'), Sync, 1,
		Execute(0, 'none'), Sync, 1, Close('S', 'none'),
		Close('P', 'none'), Sync, 1],
	['NoData and EmptyQueryResponse', Parse('set work_mem = 64'), Bind([]),
		Describe('P'), Execute, Parse(''), Bind([]), Execute, Sync, 1],
	['NULL and binary', Parse('select $1::int, $2::text', types => [23, 25]),
		Bind([pack('N', 7), undef], formats => [1, 0], results => [1, 0]),
		Describe('P'), Execute, Sync, 1],
	['pipeline of DML', (map { (Parse($insert), Bind(["p$_"]), Execute,
		Sync) } 1 .. 50), 50, Query('select count(*) from log'), 1],
	['pipeline of one transaction', (map { (Parse($insert), Bind(["p$_"]),
		Execute) } 1 .. 20), Sync, 1, Query('select count(*) from log'), 1],
	['error and skip to Sync', Parse($insert), Bind(['a']), Execute,
		Parse('select 1/0'), Bind([]), Execute, Parse($insert), Bind(['b']),
		Execute, Sync, 1, Query('select count(*) from log'), 1],
	['several Syncs', Sync, Sync, Parse('select bad'), Sync, Sync, 4],
	['Flush', Parse('select 1'), Flush, qr/1/, Bind([]), Flush, qr/2/,
		Execute, Flush, qr/C/, Sync, 1],
	['Flush with DML', Parse($insert), Flush, qr/1/, Bind(['f']), Flush,
		qr/2/, Execute, Flush, qr/C/, Sync, 1,
		Query('select * from log'), 1],
	['portal suspended', Parse('select * from generate_series(1, 7)'),
		Bind([]), Describe('P'), Execute(3), Execute(3), Execute(3),
		Execute(3), Sync, 1],
	['portal suspended, named, in a block', Query('begin'), 1,
		Parse('select * from generate_series(1, 5)'),
		Bind([], portal => 'c'), Execute(2, 'c'), Sync, 1,
		Parse($insert), Bind(['between']), Execute, Sync, 1,
		Execute(2, 'c'), Sync, 1, Execute(2, 'c'), Sync, 1,
		Query('commit'), 1, Query('select * from log'), 1],
	['suspended DML', Parse('update t set v = v returning id'), Bind([]),
		Execute(2), Execute(2), Execute(2), Sync, 1],
	['simple DML', Query("insert into log values ('q')"), 1,
		Query('update t set v = 1 where id = 2'), 1,
		Query('delete from t where id = 99'), 1],
	['simple several', Query("insert into log values ('q'); select * from "
		. 'log; update t set v = 1; select bad'), 1,
		Query('select count(*) from log'), 1],
	['empty', Query(''), 1, Query(';;'), 1, Query(' -- x'), 1],
	['failed block', Query('begin'), 1, Query('select 1/0'), 1,
		Query('select 1'), 1, Query('update t set v = 2'), 1,
		Query('commit'), 1],
	['block with DML', Query('begin'), 1, Query('update t set v = 2'), 1,
		Query('savepoint a'), 1, Query('delete from t'), 1,
		Query('rollback to a'), 1, Query('commit'), 1,
		Query('select v from t order by id'), 1],
	['commit that fails', Query('create temp table d (a int unique deferrable'
		. ' initially deferred)'), 1, Query('begin'), 1,
		Query('insert into d values (1), (1)'), 1, Query('commit'), 1,
		Query('drop table d'), 1],
	['COPY in', Query('copy log from stdin'), qr/G/, CopyData("a\nb"),
		CopyData("c\n"), CopyDone, 1, Query('select * from log'), 1],
	['COPY in, burst', Query('copy log from stdin') . join('', map {
		CopyData("line $_\n") } 1 .. 500) . CopyDone . Query('select 1'), 2],
	['COPY in, CopyFail', Query('copy log from stdin'), qr/G/,
		CopyData("a\n"), CopyFail('no'), 1],
	['COPY in, server error', Query('copy t from stdin'), qr/G/,
		CopyData("not\tgood\n"), CopyData("more\n"), CopyDone, 1],
	['COPY in, extended', Parse('copy log from stdin'), Bind([]), Execute,
		Sync, qr/G/, CopyData("x\n"), CopyDone, Sync, 1],
	['COPY in, extended, fails behind an early Sync', Parse('copy t from '
		. 'stdin'), Bind([]), Execute, Sync, qr/G/, CopyData("bad\n"), qr/E/,
		CopyDone, Sync, 1, Query('select 1'), 1],
	['COPY in, extended, no COPY behind an early Sync', Parse('copy no from '
		. 'stdin'), Bind([]), Execute, Sync, 1, CopyData("a\n"), CopyDone,
		Sync, 1, Query('select 1'), 1],
	['COPY in, extended, burst', join('', (Parse('copy log from stdin'),
		Bind([]), Execute, Sync, CopyData("y\n"), CopyDone, Sync) x 3,
		Parse('copy log from stdin'), Bind([]), Execute, CopyData("z\n"),
		CopyFail('no'), Sync), 4, Query('select count(*) from log'), 1],
	['COPY out, then more', Query('copy (select id from t order by id) to '
		. 'stdout; select 1'), 1],
	['function call', FunctionCall(1317, 'abc'), 1],
	['SQL and protocol names', Parse('select 9', name => 'both'), Sync, 1,
		Query('execute both'), 1, Query('deallocate both'), 1,
		Bind([], name => 'both'), Sync, 1],
	['prepared statements seen', Query('update t set v = 3 where id = 1'), 1,
		Query('select name, statement from pg_prepared_statements'), 1,
		Query('select name from pg_cursors'), 1],
	['unnamed statement survives', Parse('select 11'), Sync, 1,
		Bind([]), Execute, Sync, 1],
	['notices', Query('select noisy()'), 1, Query('drop table if exists no'), 1],
	['settings', Query("set timezone = 'Asia/Tokyo'"), 1,
		Query("set client_encoding = 'latin1'"), 1, Query('discard all'), 1],
	['read only', Query('set default_transaction_read_only = on'), 1,
		Query('update t set v = 4'), 1],
	['serializable', Query('begin isolation level serializable'), 1,
		Query('update t set v = 4 where id = 3'), 1, Query('commit'), 1],
	['set transaction first', Query('begin'), 1, Query('set transaction '
		. 'isolation level repeatable read'), 1,
		Query('update t set v = 5 where id = 3'), 1, Query('commit'), 1],
	['currval is the client\'s own', Query('select lastval()'), 1],
	['unknown message', Message('?', 'x'), qr/E/],
);

sub play
{
	my ($to, @steps) = @_;
	$c->safe_psql($reset);
	my $wire = $to->wire;
	my @seen;
	for (@steps) {
		if (ref) {
			push @seen, $wire->read_to(($_ =~ /:(.*)\)/)[0]);
		} elsif (/^\d+$/) {
			push @seen, $wire->read_ready($_);
		} else {
			$wire->send($_);
		}
	}
	$wire->close;
	return [map { "$_->[0] " . ($_->[1] =~ s/[^ -~]/./gr) } @seen];
}

for (@scripts) {
	my ($name, @steps) = @$_;
	is_deeply(eval { play($p, @steps) } // [$@], play($c, @steps),
		"same answers: $name");
}

# --- quantity ---

my $big = $p->wire;
@m = $big->ask((map { (Parse("select repeat('y', 20000)"), Bind([]), Execute,
	Sync) } 1 .. 299), Query('select 1'));
push @m, $big->read_ready(299);
is((grep { $_->[0] eq 'D' } @m), 300,
	'300 pipelined statements with both directions full');
is(length((columns(($big->ask(Query('select length($$' . ('z' x 5_000_000)
	. '$$)')))[1]))[0]), 7, 'a statement of 5 MB');
@m = $big->ask(Parse('select ' . join('+', map { "\$$_\:\:int" } 1 .. 2000)),
	Bind([(1) x 2000]), Execute, Sync);
is((columns($m[2]))[0], 2000, '2000 parameters');

# --- a client that has said all that it will say ---

for my $to ($c, $p) {
	my $whom = $to == $c ? 'the server' : 'pgwitness';
	my $half = $to->wire;
	$half->send(Query('select pg_sleep(0.2), 7'),
		Query("update t set v = 'last words' where id = 1 returning v"),
		Parse('select 8'), Bind([]), Execute, Sync);
	shutdown $half->{sock}, 1;
	@m = $half->read_ready(3);
	is(join(' ', map { (columns($_))[-1] } grep { $_->[0] eq 'D' } @m),
		'7 last words 8', "$whom answers a half-closed connection");
	ok($half->closed, "... and ends it then");
}

# Clients are still there: a fast shutdown.
is($p->stop('INT'), 0, 'pgwitness ends with status 0');
done_testing;
