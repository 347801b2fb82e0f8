# COPY FROM STDIN through the proxy is recorded, decided, verified; the client
# sees what it would see from the server.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Liar;
use PGW::Proxy;
use PGW::Util qw(new_dir wait_until);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v varchar(8), n numeric(6,2) default 1,
		at timestamptz default now(), twice numeric generated always as
		(n * 2) stored, check (n >= 0));
	create table pair (a int, b text, v text, primary key (b, a));
	create table keyless (v text);
	create table big (id int primary key, v text);
	create table loose (id int primary key, v text) with (fillfactor = 10);
	create table holes (id int primary key, v text);
	create table serials (id serial primary key, v text);
	create table ident (id int generated always as identity primary key,
		v text);
	create table trig (id int primary key, v text);
	create function f() returns trigger language plpgsql as
		'begin new.v = upper(new.v); return new; end';
	create trigger tr before insert on trig for each row execute function f();
	create table part (id int primary key, v text) partition by range (id);
	create table part1 partition of part for values from (0) to (100);
	create view vw as select * from t;
	create table checked (id int, n int check (n >= 0));
	create table parent (id int primary key);
	create table child (id int primary key, p int references parent
		deferrable initially deferred);
	create table kinds (id uuid primary key, i8 int8, f8 float8, d date,
		tz timestamptz, by bytea, j jsonb, ta text[], c char(5), e text);
	insert into parent values (1);
	insert into t values (1, 'one'), (2, 'two');
	insert into holes select i, repeat('x', 200) from generate_series(1, 2000) i;
	delete from holes where id % 2 = 0;
	vacuum holes;
});
my $p = PGW::Proxy->new($c, conf => { log => { row_data => 'on' } });

sub Q { PGW::Wire::Query($_[0]) }
sub D { PGW::Wire::CopyData($_[0]) }
sub Done { PGW::Wire::CopyDone() }

# All messages of a COPY with this data, as "type:what" in one string.
sub said
{
	return join ' ', map { my $m = $_;
		$m->[0] eq 'C' ? 'C:' . $m->[1] =~ s/\0//r
		: $m->[0] eq 'E' ? 'E:' . PGW::Wire::fields($m)->{C}
		: $m->[0] eq 'Z' ? "Z:$m->[1]"
		: $m->[0] eq 'N' ? 'N:' . PGW::Wire::fields($m)->{M}
		: $m->[0] } @_;
}

# The whole conversation, on an endpoint of its own.
sub copy
{
	my ($e, $sql, @data) = @_;
	my $w = $e->wire;
	my @m = $w->send(Q($sql))->read_to('GEZ');
	if ($m[-1][0] eq 'G') {
		$w->send((map { D($_) } @data), Done());
		push @m, $w->read_ready;
	} elsif ($m[-1][0] eq 'E') {
		push @m, $w->read_ready;
	}
	$w->send(PGW::Wire::Terminate());
	$w->close;
	return @m;
}

# Runs it and wants one verified transaction; returns that.
sub verified
{
	my ($name, $sql, @data) = @_;
	my $said = said(copy($p, $sql, @data));
	like($said, qr/^G C:COPY \d+ Z:I$/, "$name: answers");
	my @tx = $p->settled;
	is(@tx, 1, "$name: one record") or diag(map { describe_tx($_) . "\n" } @tx);
	is_verified($tx[0], $name);
	return $tx[0];
}

# --- what is copied ---

my $tx = verified('text', 'copy t (id, v, n) from stdin',
	"10\tten\t1.005\n11\t\\N\t0\n", "12\ta\\tb\\x41", "\t3\n\\.\n");
my $r = $tx->{record};
is($r->{query_sequence}[0]{sql}, 'copy t (id, v, n) from stdin', 'its text');
is($r->{query_sequence}[0]{type}, 'COPY', 'its type');
is($r->{query_sequence}[0]{params}, 1, 'its data');
is(table_of($tx, 't')->{pre_rows}, 0, 'no row before');
is(table_of($tx, 't')->{post_rows}, 3, 'three after');
is($r->{rows}[0]{after}[0]{twice}[1], '2.02', 'generated');
is($c->safe_psql('select string_agg(v, \'|\' order by id) from t where id >= 10'),
	"ten|a\tbA", 'they are there');

verified('all columns', 'copy t from stdin',
	"20\tx\t1\t2020-01-01 00:00:00+00\n21\ty   \t2\tinfinity\n");
verified('csv', q{copy t (v, id) from stdin (format csv, header, delimiter ';',
	null 'nil', quote '''', escape '!', force_not_null (v))},
	"v;id\n'a!'b';30\n", "nil;31\n", "'x\ny';32");
verified('with options of old', q{copy public.t (id, v) from stdin with
	delimiter as '|' null as '' csv}, "33|\"a|b\"\n34|\n");
verified('binary', 'copy t (id, v) from stdin binary',
	"PGCOPY\n\377\r\n\0" . pack('N2', 0, 0)
	. pack('n N N N/a*', 2, 4, 40, 'bin') . pack('n N N N', 2, 4, 41, 0xffffffff)
	. pack('n', 65535));
verified('WHERE', 'copy t (id, v) from stdin where id > 1',
	"1\thidden\n2\tok\n" =~ s/^2/50/mr);
verified('two key columns', 'copy pair from stdin', "1\tb\\\\\"c\tv\n2\tb,c\t\\N\n");
verified('no key', 'copy keyless from stdin', "same\nsame\n\n");
verified('no key again', 'copy keyless from stdin', "same\n");
verified('many types', 'copy kinds from stdin', join("\t",
	'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '9007199254740993', '0.1',
	'2020-02-29', '2020-06-01 12:00+09', '\\\\xdead', '{"b": 1.10, "a": [null]}',
	'{"a,b",null}', 'ab', '\\\\N'), "\n");
verified('in another client\'s settings', "copy t (id, at) from stdin",
	"60\t2020-06-01 12:00+09\n");
{
	my $said = said(copy($p, 'copy t from stdin'));
	is($said, 'G C:COPY 0 Z:I', 'no rows: the answer');
	is(() = $p->settled, 0, 'no rows: no record');
}

# --- where the rows are found ---

my $rows = join '', map { "$_\tv$_\n" } 1 .. 100_000;
$tx = verified('100,000 rows', 'copy big from stdin', $rows =~ /(.{1,8000})/gs);
is(table_of($tx, 'big')->{post_rows}, 100_000, 'all of them');
verified('behind many others', 'copy big from stdin', "200001\tx\n200002\ty\n");
verified('a page for each', 'copy loose from stdin',
	map { "$_\t" . ('z' x 700) . "\n" } 1 .. 300);
verified('into free space, by key', 'copy holes (v, id) from stdin',
	"short\t2\nshort\t4\n");
verified('into free space, one statement of keys', 'copy holes from stdin csv',
	map { "$_,\"" . ('q' x 180) . "\"\n" } map { 2 * $_ } 3 .. 400);
verified('huge rows', 'copy big from stdin',
	map { ("30000$_\t", ('h' x 65536) x 40, "\n") } 1 .. 3);

# --- in a block ---

# A session's messages; each an SQL text, or [COPY, data ...].
sub session
{
	my ($e, @steps) = @_;
	my $w = $e->wire;
	my @m;
	for my $s (@steps) {
		my ($sql, @data) = ref $s ? @$s : $s;
		my @a = $w->send(Q($sql))->read_to('GZ');
		if ($a[-1][0] eq 'G') {
			$w->send((map { D($_) } @data), Done());
			push @a, $w->read_ready;
		}
		push @m, @a;
	}
	$w->send(PGW::Wire::Terminate());
	$w->close;
	return said(@m);
}

sub verified_session
{
	my ($name, @steps) = @_;
	my $want = session($c, @steps[0 .. $#steps - 1], 'rollback')
		=~ s/C:ROLLBACK/C:COMMIT/r;
	is(session($p, @steps), $want, "$name: the server's answers");
	my @tx = $p->settled;
	is(@tx, 1, "$name: one record");
	is_verified($tx[0], $name);
	return $tx[0];
}

$tx = verified_session('a block', 'begin', ["copy t (id, v) from stdin",
	"70\ta\n71\tb\n"], 'commit');
is(table_of($tx, 't')->{post_rows}, 2, 'two rows');
verified_session('COPY and DML', 'begin', "insert into t (id) values (80)",
	["copy t (id, v) from stdin", "81\ta\n82\tb\n"],
	"update t set v = 'up' where id in (1, 80, 81)",
	["copy t (id, v) from stdin", "83\tc\n"], 'delete from t where id = 82',
	["copy t (id, v) from stdin", "82\tagain\n"],
	["copy pair from stdin", "80\tx\ty\n"], 'commit');
verified_session('two COPYs without a key', 'begin',
	["copy keyless from stdin", "k1\nk1\n"],
	["copy keyless from stdin", "k1\nk2\n"], 'commit');
verified_session('a savepoint before', 'begin', 'savepoint a',
	["copy t (id) from stdin", "90\n"], 'savepoint b',
	["copy t (id) from stdin", "91\n"], 'release b',
	["copy t (id) from stdin", "92\n"], 'commit');
verified_session('a savepoint between', 'begin',
	"insert into big values (500000, 'x')", 'savepoint a',
	["copy big from stdin", "500001\tx\n"], 'commit');

for my $end ('rollback', '') {
	session($p, 'begin', ["copy t (id) from stdin", "100\n"], $end || ());
	is(() = $p->settled, 0, ($end || 'leaving') . ' claims nothing');
}
session($p, 'begin', ["copy t (id) from stdin", "100\n"], 'savepoint a',
	["copy t (id) from stdin", "101\n"], 'rollback to a', 'commit');
($tx) = $p->settled;
is_verified($tx, 'ROLLBACK TO');
is($c->safe_psql('select count(*) from t where id in (100, 101)'), 1,
	'ROLLBACK TO took back what it should');

# --- failure at every point: the client sees the server's own answers ---

# aborted: with a record, whose outcome is that.
sub same_answers
{
	my ($name, $talk, $aborted) = @_;
	my ($want, $got) = map { join "\n", $talk->($_) } $c, $p;
	is($got, $want, "$name: the server's answers");
	my @tx = $p->settled;
	is(@tx, $aborted ? 1 : 0, "$name: records");
	is_named($tx[0], $name, outcome => 'aborted') if $aborted;
}

sub bytes { return join '', map { "$_->[0]" . unpack('H*', $_->[1]) . "\n" } @_ }

for my $case (['first', "x\n5001\n5002\n"], ['middle', "5001\nx\n5002\n"],
	['last', "5001\n5002\nx\n"], ['missing column', "5001\n\n"],
	['duplicate', "5001\n1\n"], ['check', "5001\t-1\n"]) {
	my ($what, $data) = @$case;
	for my $block (0, 1) {
		same_answers("$what row is wrong" . ($block ? ' in a block' : ''),
			sub {
				my $w = $_[0]->wire;
				my @m = $block ? $w->ask(Q('begin')) : ();
				push @m, $w->send(Q($what eq 'check'
					? 'copy checked from stdin'
					: 'copy t (id) from stdin'))->read_to('G');
				$w->send((map { D($_) } split /(?<=\n)/, $data), Done());
				push @m, $w->read_ready;
				push @m, $w->ask(Q('select 1'));
				return bytes(@m);
			});
	}
}
same_answers('CopyFail', sub {
	my $w = $_[0]->wire;
	my @m = $w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("5001\n"), PGW::Wire::CopyFail('no more'));
	return bytes(@m, $w->read_ready, $w->ask(Q('select 1')));
});
same_answers('an error while the client goes on sending', sub {
	my $w = $_[0]->wire;
	my @m = $w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("x\n"));
	push @m, $w->read_ready;
	$w->send((map { D("5001\n") } 1 .. 5000), Done(), Q('select 2'));
	return bytes(@m, $w->read_ready);
});
same_answers('an error in the middle of a message', sub {
	my $w = $_[0]->wire;
	my @m = $w->send(Q('copy big from stdin'))->read_to('G');
	my $long = D("5001\t" . 'x' x 300_000 . "\n");
	$w->send(D("x\n") . substr $long, 0, 1000);
	push @m, $w->read_message;
	$w->send(substr($long, 1000), Done());
	return bytes(@m, $w->read_ready, $w->ask(Q('select 3')));
});
same_answers('no such table', sub {
	return bytes($_[0]->wire->ask(Q('copy nowhere from stdin'))) }, 1);
same_answers('no such column', sub {
	return bytes($_[0]->wire->ask(Q('copy t (id, nix) from stdin'))) });
same_answers('an unknown option', sub {
	return bytes($_[0]->wire->ask(Q('copy t from stdin (format parquet)'))) });
same_answers('a deferred constraint', sub {
	return bytes(copy($_[0], 'copy child from stdin', "1\t77\n")) }, 1);
same_answers('read only', sub {
	my $w = $_[0]->wire;
	$w->ask(Q('set default_transaction_read_only = on'));
	return bytes($w->ask(Q('copy t (id) from stdin')));
});
same_answers('another message in the middle', sub {
	my $w = $_[0]->wire;
	my @m = $w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("5001\n"), Q('select 1'));
	return said(@m, $w->read_all);
});
same_answers('Sync and Flush among the data', sub {
	my $w = $_[0]->wire;
	my @m = $w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("5001\n"), PGW::Wire::Sync(), D("x\n"), PGW::Wire::Flush(),
		Done());
	return bytes(@m, $w->read_ready, $w->ask(Q('select 1')));
});
is($c->safe_psql('select count(*) from t where id > 5000'), 0, 'nothing stayed');

for my $block (0, 1) {
	my $w = $p->wire;
	$w->ask(Q('begin')) if $block;
	$w->send(Q('copy t (id) from stdin'))->read_to('G');
	my $pid = $w->{pid};
	$w->send(D("6001\n"));
	$w->close;
	wait_until('the server session to end', sub { $c->safe_psql(
		"select count(*) from pg_stat_activity where pid = $pid") == 0 });
	is(() = $p->settled, 0, 'a client that leaves amid its data');
}
{
	# All was sent: the server commits whether the client waits or not.
	my $w = $p->wire;
	$w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("6002\n"), Done());
	$w->close;
	wait_until('the rows', sub { $c->safe_psql(
		'select count(*) from t where id = 6002') });
	($tx) = $p->settled;
	is_verified($tx, 'a client that leaves behind its data');
}
{
	my $w = $p->wire;
	$w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("6003\n"));
	my $k = $p->wire(raw => 1);
	$k->send(PGW::Wire::CancelRequest(@$w{qw(pid key)}));
	$k->closed;
	# The server looks for it between two rows.
	for (my $id = 6004; $id < 6100 && !$w->_wait(time + 1); $id++) {
		$w->send(D("$id\n"));
	}
	is(said($w->read_ready), 'E:57014 Z:I', 'a cancelled COPY');
	$w->send(D("6004\n"), PGW::Wire::CopyFail(''));
	is(said($w->ask(Q('select 1'))), 'T D C:SELECT 1 Z:I', 'and on it goes');
	is(() = $p->settled, 0, 'claims nothing');
}

# --- what is not captured exactly is named ---

for my $case (['serial', 'serials (v)', "a\n", 'exact'],
	['identity', 'ident (v)', "a\n", 'exact'],
	['partitions', 'part', "1\ta\n", 'partitioned_table']) {
	my ($name, $target, $data, $why) = @$case;
	is(said(copy($p, "copy $target from stdin", $data)),
		'G C:COPY 1 Z:I', "$name: answers");
	($tx) = $p->settled;
	is_named($tx, $name);
	$r = $tx->{record} // {};
	is($r->{capture_reason} || $r->{capture}, $why, "$name: why");
	isnt($tx->{verdict}{verdict}, 'verified', "$name: not verified");
}
verified('a trigger on the row', 'copy trig from stdin', "1\ta\n");
verified('serial, given', 'copy serials from stdin', "77\ta\n");
verified('identity, given', 'copy ident from stdin', "77\ta\n");
{
	my $w = $p->wire;
	$w->ask(Q('begin isolation level serializable'));
	$w->send(Q('copy t (id) from stdin'), D("7001\n"), Done())->read_ready;
	$w->ask(Q('commit'));
	($tx) = $p->settled;
	is_named($tx, 'serializable');
	is($tx->{record}{capture_reason}, 'copy_rows', 'serializable: why');
}
{
	# As asyncpg does it: what was prepared has no Sync yet.
	my $w = $p->wire;
	$w->send(PGW::Wire::Parse('select 1', name => 'a'),
		PGW::Wire::Describe('S', 'a'), PGW::Wire::Flush())->read_to('T');
	$w->send(Q('copy t (id) from stdin'))->read_to('G');
	$w->send(D("7004\n"), Done());
	is(said($w->read_ready), 'C:COPY 1 Z:I', 'behind a Parse: answers');
	($tx) = $p->settled;
	is_verified($tx, 'behind a Parse');
	is(said($w->ask(PGW::Wire::Bind([], name => 'a'), PGW::Wire::Execute(),
		PGW::Wire::Sync())), '2 D C:SELECT 1 Z:I', 'which is still there');
}

# --- the extended protocol ---

sub Begin { (PGW::Wire::Parse($_[0]), PGW::Wire::Bind([]), PGW::Wire::Execute()) }

# One verified transaction of a batch's messages.
sub verified_batch
{
	my ($name, $want, @messages) = @_;
	my $w = $p->wire;
	is(said($w->send(@messages)->read_ready), $want, "extended, $name: answers");
	my @tx = $p->settled;
	is(@tx, 1, "extended, $name: one record");
	is_verified($tx[0], "extended, $name");
	return $tx[0];
}

$tx = verified_batch('text', '1 2 G C:COPY 2 Z:I',
	Begin('copy t (id, v) from stdin'), D("7100\ta\n71"), D("01\tb\n"), Done(),
	Sync());
is(table_of($tx, 't')->{post_rows}, 2, 'its rows');
is($tx->{record}{query_sequence}[0]{params}, 1, 'its data');
verified_batch('an early Sync', '1 2 G C:COPY 1 Z:I',
	Begin('copy t (id) from stdin'), Sync(), D("7110\n"), Done(), Sync());
verified_batch('binary', '1 2 G C:COPY 1 Z:I',
	Begin('copy t (id, v) from stdin binary'),
	D("PGCOPY\n\377\r\n\0" . pack('N2', 0, 0) . pack('n N N N/a*', 2, 4,
	7120, 'bin') . pack('n', 65535)), Done(), Sync());
verified_batch('no key', '1 2 G C:COPY 3 Z:I', Begin('copy keyless from stdin'),
	D("e\ne\n\n"), Done(), Sync());
$tx = verified_batch('among others',
	'1 2 C:INSERT 0 1 1 2 G C:COPY 2 1 2 C:UPDATE 1 1 2 G C:COPY 1 Z:I',
	Begin("insert into t (id) values (7130)"),
	Begin('copy t (id) from stdin'), D("7131\n7132\n"), Done(),
	Begin("update t set v = 'up' where id = 7131"),
	Begin('copy pair from stdin'), D("71\tx\ty\n"), Done(), Sync());
is(table_of($tx, 't')->{post_rows}, 3, 'rows of all of them');
is(table_of($tx, 'pair')->{post_rows}, 1, 'in both tables');
verified_batch('a trigger on the row', '1 2 G C:COPY 1 Z:I',
	Begin('copy trig from stdin'), D("71\ta\n"), Done(), Sync());
verified_batch("into free space, by $_->[0]", '1 2 G C:COPY 2 Z:I',
	Begin('copy holes (v, id) from stdin'), D($_->[1]), Done(), Sync())
	for ['key', "s\t1002\ns\t1004\n"], ['key, or all of it', "s\t+1006\ns\t1008\n"];
{
	my $w = $p->wire;
	$w->ask(Q('begin'));
	$w->ask(Q('insert into t (id) values (7140)'));
	is(said($w->send(Begin('copy t (id) from stdin'), D("7141\n"), Done(),
		Sync())->read_ready), '1 2 G C:COPY 1 Z:T', 'extended, a block: answers');
	$w->ask(Q('commit'));
	($tx) = $p->settled;
	is_verified($tx, 'extended, a block');
	is(table_of($tx, 't')->{post_rows}, 2, 'extended, a block: rows');
	$w->ask(Q('begin isolation level serializable'));
	$w->send(Begin('copy t (id) from stdin'), D("7142\n"), Done(),
		Sync())->read_ready;
	$w->ask(Q('commit'));
	($tx) = $p->settled;
	is_named($tx, 'extended, serializable');
	is($tx->{record}{capture_reason}, 'copy_rows', 'extended, serializable: why');
}
for (['a row is wrong', D("7150\n") . D("x\n") . Done()],
	['CopyFail', D("7150\n") . PGW::Wire::CopyFail('no')],
	['an error behind it', D("7150\n") . Done() . join '', Begin('select 1 / 0')]) {
	my ($name, $data) = @$_;
	same_answers("extended, $name", sub {
		my $w = $_[0]->wire;
		return bytes($w->send(Begin('copy t (id) from stdin'), $data,
			Begin('insert into t (id) values (7151)'), Sync())->read_ready,
			$w->ask(Q('select count(*) from t where id between 7150 and 7159')));
	});
}
{
	my $w = $p->wire;
	$w->send(Begin('copy t (id) from stdin'), PGW::Wire::Flush())->read_to('G');
	my $pid = $w->{pid};
	$w->send(D("7160\n"));
	$w->close;
	wait_until('the server session to end', sub { $c->safe_psql(
		"select count(*) from pg_stat_activity where pid = $pid") == 0 });
	is(() = $p->settled, 0, 'extended, a client that leaves amid its data');
}

# --- what is no copy data does not slip through behind an error of the COPY ---

# What is sent behind bad data without waiting either ends the session, or runs
# with a record.
my $update = "update t set v = 'blind' where id = 10";
sub blind
{
	my ($name, $wait, @messages) = @_;
	my $w = $p->wire;
	$c->safe_psql("update t set v = 'seen' where id = 10");
	if ($wait) {
		$w->send(shift @messages)->read_to('G');
	}
	my $said = said($w->send(@messages, PGW::Wire::Terminate())->read_all);
	like($said, qr/E:22P02/, "$name: the error");
	# What the server has of it may still run.
	wait_until('the server session to end', sub { $c->safe_psql(
		"select count(*) from pg_stat_activity where pid = $w->{pid}") == 0 });
	my $ran = $c->safe_psql('select v from t where id = 10') eq 'blind';
	my @tx = grep { $_->{record}{query_sequence}[-1]{sql} eq $update
		&& $_->{outcome}{outcome} eq 'committed' } $p->settled;
	is(@tx, $ran ? 1 : 0, "$name: " . ($ran ? 'recorded' : 'it did not run'));
	$w->close;
}

for (['simple', Q('copy t (id) from stdin')],
	['one of several', Q('copy t (id) from stdin; select 1')],
	['extended', Begin('copy t (id) from stdin')],
	['extended, not captured', Begin('copy part from stdin')]) {
	my ($kind, @begin) = @$_;
	my $begin = join '', @begin;
	for (['a Query', Q($update)], ['a batch', Begin($update), Sync()],
		['a batch behind a Sync', Sync(), Begin($update), Sync()],
		['a batch behind Syncs and the end', Sync(), Done(), Begin($update),
			Sync()]) {
		my ($what, @messages) = @$_;
		blind("$kind, $what behind bad data", 1, "$begin" .
			($kind =~ /ext/ ? PGW::Wire::Flush() : ''), D("x\n"), @messages);
		blind("$kind, $what, all in one write", 0, $begin, D("x\n"),
			@messages);
	}
}
{
	my $out = new_dir('cp') . '/data';
	my ($rc) = $p->psql("copy (select 7003) to '$out'; copy t (id) from '$out'");
	is($rc, 0, 'from a file');
	($tx) = $p->settled;
	is_named($tx, 'from a file');
	is($tx->{record}{capture_reason}, 'copy_from', 'from a file: why');
}

# --- a lying server is found ---

my $liar = PGW::Liar->new($c);
my $lied = PGW::Proxy->new($liar, conf => { log => { row_data => 'on' } });
my $rule = $liar->replace('rows', 'honest', 'h0nest', max => 1);
copy($lied, 'copy t (id, v) from stdin', "8001\thonest\n8002\thonest\n");
is($liar->count($rule), 1, 'one lie was told');
$liar->clear;
($tx) = $lied->settled;
is($tx->{verdict}{verdict}, 'mismatch', 'a lie about a copied row is found')
	or diag(describe_tx($tx));
my ($m) = @{ $tx->{verdict}{mismatches} };
is_deeply([@$m{qw(column claimed calculated)}], ['v', 'h0nest', 'honest'],
	'and named');

# --- limits ---

my $small = PGW::Proxy->new($c, conf => { features => {
	max_capture_bytes => '64kB' } });
is(said(copy($small, 'copy big from stdin', map { "9$_\t" . ('w' x 500) . "\n" }
	10_000 .. 10_999)), 'G C:COPY 1000 Z:I', 'more than max_capture_bytes passes');
($tx) = $small->settled;
is_named($tx, 'max_capture_bytes');
is($tx->{record}{capture_reason}, 'max_capture_bytes', 'and says so');
my $strict = PGW::Proxy->new($c, conf => { features => {
	on_capture_failure => 'reject', max_capture_bytes => '64kB' } });
is(said(copy($strict, 'copy big from stdin', map { "8$_\t" . ('w' x 500) . "\n" }
	10_000 .. 10_999)), 'G E:0A000 Z:I', 'or is taken back');
is($c->safe_psql('select count(*) from big where id between 810000 and 810999'),
	0, 'all of it');

no_mismatches($p);
one_outcome_and_verdict($p);
done_testing;
