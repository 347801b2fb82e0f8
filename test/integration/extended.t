# The extended query protocol: the client sees what the server would send, byte
# by byte, and what changes rows is captured with its bind values.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text, n int default 0);
	insert into t select i, 'v' || i, i from generate_series(1, 40) i;
	create table uniq (id int primary key, u int unique
		deferrable initially deferred);
	insert into uniq values (1, 1), (2, 2);
	create table b (id int primary key, d bytea, f float8, a int[], j jsonb,
		ts timestamptz, m numeric(10,2));
	create table trig (id int primary key, v text);
	create function shout() returns trigger language plpgsql as $$ begin
		raise notice 'row %', new.id; return new; end $$;
	create trigger shout before insert on trig for each row
		execute function shout();
});
# A copy has the same OIDs, so that answers can be compared.
$c->safe_psql('create database direct template postgres');
my $p = PGW::Proxy->new($c);

sub answers
{
	my ($endpoint, $database, @groups) = @_;
	my $w = $endpoint->wire(startup => { database => $database });
	my @m;
	for my $bytes (@groups) {
		if (ref $bytes) {	# [bytes, type that ends the answer]
			$w->send($bytes->[0]);
			push @m, $w->read_to($bytes->[1], $bytes->[2] // 1);
		} else {
			my $n = () = $bytes =~ /S\0\0\0\x04/g;
			$n += () = $bytes =~ /^Q/g;
			$w->send($bytes);
			push @m, $w->read_ready($n || 1);
		}
	}
	$w->send(Terminate);
	return join "\n", map { my ($t, $b) = @$_;
		# Where in the server's source an error was raised is not its text.
		$b =~ s/([FLR])[^\0]+\0//g if $t =~ /[EN]/;
		"$t " . $b =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger } @m;
}

# exact: captured and verified; none: no record; else the reason.
sub check
{
	my ($name, $want, @groups) = @_;
	my $direct = answers($c, 'direct', @groups);
	my $through = answers($p, 'postgres', @groups);
	is($through, $direct, "$name: the server's answers");
	my @tx = $p->settled;
	my @got = map { my $r = $_->{record}; $_->{outcome}{outcome} eq 'committed'
		? $r->{capture} eq 'exact' && $_->{verdict}{verdict} eq 'verified'
			? 'exact' : ($r->{capture_reason} || $_->{verdict}{reason})
		: $_->{outcome}{outcome} } @tx;
	is("@got", $want, "$name: recorded")
		or diag(map { describe_tx($_) . "\n" } @tx);
	is($p->safe_psql('select * from t order by 1'),
		$c->safe_psql('select * from t order by 1', dbname => 'direct'),
		"$name: the same rows");
	return @tx;
}

my @tx;
my $upd = 'update t set v = $1 where id = $2';

# --- one statement and its Sync ---

@tx = check('UPDATE', 'exact', Parse($upd) . Bind(['a', 1])
	. Describe('P') . Execute . Sync);
is($tx[0]{record}{query_sequence}[0]{params}, 2, 'the parameters are counted');
check('INSERT', 'exact', Parse('insert into t values ($1, $2, $3)')
	. Bind([101, 'x', undef]) . Describe('P') . Execute . Sync);
check('DELETE', 'exact', Parse('delete from t where id = $1')
	. Bind([101]) . Describe('P') . Execute . Sync);
check('a set', 'exact', Parse('update t set n = n + $2 where id between $1 and 9')
	. Bind([5, 3]) . Describe('P') . Execute . Sync);
check('no rows', '', Parse($upd) . Bind(['a', 999]) . Describe('P')
	. Execute . Sync);
check('binary parameters', 'exact', Parse($upd, types => [25, 23])
	. Bind(['bin', pack 'N', 2], formats => [1, 1]) . Execute . Sync);
check('one format for all', 'exact', Parse($upd, types => [25, 23])
	. Bind(['bin', pack 'N', 3], formats => [1]) . Execute . Sync);
check('types left open', 'exact', Parse('update t set n = $3, v = $1 '
	. 'where id = $2 and n < $4') . Bind(['o', 4, 7, 100]) . Execute . Sync);
check('parameters in any order', 'exact', Parse('update t set v = $1 '
	. 'where id = $3 and n >= $2') . Bind(['p', 0, 5]) . Execute . Sync);
check('a type for a part', 'exact', Parse($upd, types => [25])
	. Bind(['q', 6]) . Execute . Sync);
check('a limit without RETURNING', 'exact', Parse('update t set n = 1 '
	. 'where id < 5') . Bind([]) . Execute(1) . Sync);
check('a cast', 'exact', Parse('update t set v = $1::text where id = $2::int')
	. Bind(['cast', 7]) . Execute . Sync);

# --- RETURNING ---

for my $results ([], [0], [1], [0, 1], [1, 0, 0], [1, 1, 1]) {
	my $cols = @$results == 2 ? 'id, v' : '*';
	check("RETURNING $cols, formats @$results", 'exact',
		Parse("update t set n = n + 1 where id = \$1 returning $cols")
		. Bind([8], results => $results) . Describe('P') . Execute . Sync);
}
check('RETURNING a set, described as a statement', 'exact',
	Parse('delete from t where id > $1 returning id, n * 2 as twice')
	. Describe('S') . Bind([38], results => [1]) . Execute . Sync);
check('RETURNING in parts', 'portal_suspended',
	Parse('update t set n = n + 1 where id < 10 returning id') . Bind([])
	. Execute(4) . Execute(3) . Execute(0) . Execute(5) . Sync);
check('one row fetched, of one', 'exact exact exact',
	Parse('insert into t values ($1, $2) returning id') . Bind([103, 'f'])
	. Execute(1) . Sync, Parse("$upd returning v") . Bind(['f', 9])
	. Execute(1) . Execute(1) . Sync,
	Parse('delete from t where id = $1 returning id') . Bind([103])
	. Execute(1) . Sync);
check('one row fetched, of two', 'portal_suspended',
	Parse('insert into t values (103), (104) returning id') . Bind([])
	. Execute(1) . Sync);
check('described after it ran', 'exact exact',
	Parse('update t set n = n + 1 where id = 3 returning id, v') . Bind([])
	. Execute . Describe('P') . Sync,
	Parse('update t set n = n + 1 where id = 3') . Bind([])
	. Execute . Describe('P') . Sync);

# --- statements and portals with names ---

check('a named statement again and again', 'exact exact exact',
	Parse($upd, name => 's') . Describe('S', 's') . Sync,
	map { Bind(["n$_", $_], name => 's') . Describe('P') . Execute . Sync }
	10 .. 12);
check('named portals', 'exact', Parse($upd, name => 's')
	. Bind(['pa', 13], name => 's', portal => 'pa')
	. Bind(['pb', 14], name => 's', portal => 'pb')
	. Execute(0, 'pb') . Execute(0, 'pa') . Close('P', 'pa') . Sync);
check('a portal that outlives a Sync', 'exact',
	Query('begin'), Parse($upd) . Bind(['x', 15], portal => 'p') . Sync,
	Query('select 1'), Execute(0, 'p') . Sync, Query('commit'));
check('a portal that is run again', '', Parse($upd) . Bind(['y', 16])
	. Execute . Execute . Sync);
check('a portal with RETURNING that is run again', 'exact',
	Parse("$upd returning id") . Bind(['y', 16]) . Execute . Execute . Sync);
check('a portal that is gone', '', Query('begin'), Query('savepoint a'),
	Parse($upd) . Bind(['x', 15], portal => 'p') . Sync,
	Query('rollback to a'), Execute(0, 'p') . Sync, Query('rollback'));
check('the statement closed before its portal runs', 'exact',
	Parse($upd, name => 's') . Bind(['cl', 17], name => 's')
	. Close('S', 's') . Execute . Sync);
check('a name given again', 'exact', Parse('select 1', name => 's') . Sync,
	Close('S', 's') . Parse($upd, name => 's')
	. Bind(['again', 18], name => 's') . Execute . Sync);
check('a Parse that the server skips', 'exact',
	Parse($upd, name => 's') . Sync,
	Parse('select 1 from nowhere') . Close('S', 's')
	. Parse('select 2', name => 's') . Sync,
	Bind(['kept', 19], name => 's') . Execute . Sync);
check('replaced by SQL', 'execute', Parse('select 1', name => 's') . Sync,
	Query('deallocate s'), Query('prepare s as delete from t where id = 20'),
	Bind([], name => 's') . Execute . Sync);
check('replaced by SQL and kept', 'exact', Parse($upd, name => 's') . Sync,
	Query('prepare other as select 1'),
	Bind(['kept', 21], name => 's') . Execute . Sync);
check('replaced in a function', 'do execute',
	Parse('select 1', name => 's') . Sync,
	Query(q{do $$ begin execute 'deallocate s';
		execute 'prepare s as delete from t where id = 22'; end $$}),
	Bind([], name => 's') . Execute . Sync);
check('parsed after the doubt', 'do exact', Query(q{do $$ begin end $$}),
	Parse($upd, name => 's') . Bind(['after', 12], name => 's') . Execute
	. Sync, Parse('select 1') . Bind([]) . Execute . Sync);
check('DISCARD ALL', '', Parse($upd, name => 's') . Sync, Query('discard all'),
	Bind(['x', 1], name => 's') . Execute . Sync);
check('a cursor under the name of a portal', 'execute', Query('begin'),
	Parse("$upd returning id") . Bind(['x', 23], portal => 'p') . Sync,
	Query('close p'), Query('declare p cursor for select id from t order by 1'),
	Execute(2, 'p') . Sync, Query('commit'));

# --- pipelines ---

check('several in one implicit transaction', 'exact',
	join('', map { Parse($upd) . Bind(["m$_", $_]) . Execute } 24 .. 26) . Sync);
check('several transactions in one write', 'exact exact exact',
	join '', map { Parse($upd) . Bind(["w$_", $_]) . Describe('P') . Execute
		. Sync } 24 .. 26);
check('blocks in one write, one Sync', 'exact exact', join('', map {
	Parse('begin') . Bind([]) . Execute . Parse($upd) . Bind(["k$_", $_])
	. Execute . Parse('commit') . Bind([]) . Execute } 27, 28) . Sync);
check('a block over several Syncs', 'exact',
	Parse('begin') . Bind([]) . Execute . Sync,
	Parse($upd) . Bind(['l', 27]) . Describe('P') . Execute . Sync,
	Parse('insert into t values (102)') . Bind([]) . Execute . Sync,
	Parse('commit') . Bind([]) . Execute . Sync);
check('rolled back', '', Parse('begin') . Bind([]) . Execute . Sync,
	Parse($upd) . Bind(['l', 27]) . Execute . Sync,
	Parse('rollback') . Bind([]) . Execute . Sync);
check('COMMIT AND CHAIN', 'exact exact',
	Parse('begin') . Bind([]) . Execute . Parse($upd) . Bind(['c1', 29])
	. Execute . Parse('commit and chain') . Bind([]) . Execute . Parse($upd)
	. Bind(['c2', 29]) . Execute . Sync, Query('commit'));
check('COMMIT without a block', 'exact', Parse($upd) . Bind(['nb', 29]) . Execute
	. Parse('commit') . Bind([]) . Execute . Sync);
check('BEGIN behind a statement', 'exact', Parse($upd) . Bind(['bb', 30])
	. Execute . Parse('begin') . Bind([]) . Execute . Parse($upd)
	. Bind(['bc', 31]) . Execute . Sync, Query('commit'));
check('a set behind another statement', 'pipeline', Parse($upd)
	. Bind(['ps', 31]) . Execute . Parse('update t set n = 5 where n < $1')
	. Bind([3]) . Execute . Sync);
check('a set in a block', 'exact', Parse('begin') . Bind([]) . Execute
	. Parse('update t set n = 6 where id < $1') . Bind([4]) . Execute
	. Parse('commit') . Bind([]) . Execute . Sync);
check('SELECT and DML', 'exact', Parse('select count(*) from t') . Bind([])
	. Execute . Parse($upd) . Bind(['sd', 32]) . Execute
	. Parse('select v from t where id = 32') . Bind([]) . Execute . Sync);
check('Flush without Sync', 'exact', [Parse($upd) . Bind(['fl', 33])
	. Describe('P') . Flush, 'n'], [Execute . Flush, 'C'], Sync);
check('the Sync comes later', 'exact', [Parse($upd) . Bind(['fl', 33])
	. Execute . Flush, 'C'], Parse('select 1') . Bind([]) . Execute . Sync);
check('a Query behind a batch', 'mixed_protocols', [Parse($upd)
	. Bind(['mq', 34]) . Execute . Flush, 'C'], Query('select 1'));

check('a Query behind a Parse', 'exact', [Parse('select 1') . Describe('S')
	. Flush, 'T'], Query("update t set v = 'qp' where id = 34"));
check('a Query in a block behind a Parse', 'exact', Query('begin'),
	Query("update t set v = 'qb' where id = 34"),
	[Parse('select 1') . Bind([], portal => 'p') . Flush, '2'],
	Query("update t set v = 'qc' where id = 35"), Execute(0, 'p') . Sync,
	Query('commit'));

# --- errors ---

check('an error in Parse', '', Parse('update t set nothing = 1') . Bind([])
	. Execute . Sync);
check('an error in Bind', '', Parse($upd) . Bind(['x']) . Execute . Sync);
check('a wrong value', '', Parse('update t set n = $1 where id = 1')
	. Bind(['seven']) . Describe('P') . Execute . Sync);
check('an error in Execute', '', Parse('insert into t values (1, $1)')
	. Bind(['dup']) . Describe('P') . Execute . Sync);
check('division by zero in a predicate', 'aborted', Parse('update t set n = 0 where '
	. 'n / $1::int > 0') . Bind([0]) . Execute . Sync);
check('an error takes the whole implicit transaction', '',
	Parse($upd) . Bind(['no', 35]) . Execute . Parse('insert into t values (1)')
	. Bind([]) . Execute . Parse($upd) . Bind(['no', 36]) . Execute . Sync);
check('the next batch after an error', 'exact',
	Parse('select 1/0') . Bind([]) . Execute . Parse($upd) . Bind(['no', 35])
	. Execute . Sync . Parse($upd) . Bind(['yes', 35]) . Execute . Sync);
check('an error in a block', '', Parse('begin') . Bind([]) . Execute . Sync,
	Parse($upd) . Bind(['no', 35]) . Execute . Sync,
	Parse('insert into t values (1)') . Bind([]) . Execute . Sync,
	Parse($upd) . Bind(['no', 36]) . Execute . Sync,
	Parse('commit') . Bind([]) . Execute . Sync);
check('a deferred constraint', 'aborted', Parse('update uniq set u = 1 where id = $1')
	. Bind([2]) . Execute . Sync);
check('a deferred constraint, Sync later', 'aborted',
	[Parse('update uniq set u = 1 where id = $1') . Bind([2]) . Execute . Flush,
	'C'], Sync);
check('read-only', '', Query('begin read only'), Parse($upd) . Bind(['r', 1])
	. Execute . Sync, Query('rollback'));
check('the statement of an unknown portal', '', Execute(0, 'nothing') . Sync);
check('an unknown statement', '', Bind([], name => 'nothing') . Sync);
check('a notice', 'exact', Parse('insert into trig values ($1, $2)')
	. Bind([1, 'x']) . Execute . Sync);
check('nothing stays behind', 'exact', Parse('insert into t values (1, $1)')
	. Bind(['dup']) . Execute . Sync, Parse($upd) . Bind(['ok', 37]) . Execute
	. Sync, Query('select name, statement from pg_prepared_statements'),
	Query('begin'), Query('select name, statement from pg_cursors'),
	Query('commit'));

# --- COPY, utility, transactions ---

check('COPY in the extended protocol', 'exact',
	[Parse('copy t from stdin') . Bind([]) . Execute . Sync, 'G'],
	CopyData("201\tc\t1\n") . CopyDone . Sync);
check('COPY that fails, and DML after it', 'exact',
	[Parse('copy t from stdin') . Bind([]) . Execute . Sync, 'G'],
	CopyFail('no') . Sync, Parse($upd) . Bind(['cf', 36]) . Execute . Sync);
check('VACUUM', '', Parse('vacuum t') . Bind([]) . Execute . Sync);
check('the empty query', '', Parse('') . Bind([]) . Describe('P') . Execute
	. Sync);

# --- types ---

check('many types', 'exact exact', Parse('insert into b values ($1, $2, $3, $4, '
	. '$5, $6, $7)', types => [23, 17, 701, 0, 0, 0, 0])
	. Bind([pack('N', 1), "\0\1\xff", pack('d>', 1.5), '{1,2,NULL}',
	'{"a": [1]}', '2026-01-02 03:04:05+02', '12.345'],
	formats => [1, 1, 1, 0, 0, 0, 0]) . Execute . Sync,
	Parse('update b set a = $1, m = $2 where id = $3 returning *',
	types => [1007, 1700, 23]) . Bind([pack('N7', 1, 0, 23, 1, 1, 4, 9),
	pack('n4 n2', 2, 0, 0, 2, 7, 5000), pack('N', 1)], formats => [1],
	results => [1]) . Describe('P') . Execute . Sync);
my $big = 'x' x 3_000_000;
check('three megabytes', 'exact', Parse($upd) . Bind([$big, 1]) . Execute
	. Sync);
check('a long list', 'exact', Parse('update t set n = 8 where id in ('
	. join(',', map { "\$$_" } 1 .. 60000) . ')')
	. Bind([map { 5 + $_ } 1 .. 60000]) . Execute . Sync);

# An error that meets a look-up of ours is the client's: it is told, and its
# block has failed.
{
	my $rival = $c->session;
	$rival->safe('begin');
	$rival->safe('lock table pg_catalog.pg_inherits in access exclusive mode');
	for (['Query', Query("update t set v = 'lt' where id = 1")],
		['Parse', Parse($upd) . Bind(['lt', 1]) . Execute . Sync],
		['Execute', Parse('select 1') . Bind([]) . Execute . Parse($upd)
			. Bind(['lt', 1]) . Execute . Sync]) {
		my ($name, $bytes) = @$_;
		for my $block (0, 1) {
			my $w = $p->wire;
			# Names may mean something else now: it looks up itself.
			$w->ask(Query('set search_path = public'));
			$w->ask(Query('set statement_timeout = 200'));
			$w->ask(Query('begin')) if $block;
			my @m = $w->ask($bytes);
			my @e = grep { $_->[0] eq 'E' } @m;
			is(@e == 1 && fields($e[0])->{C}, '57014',
				"$name, block $block: the time limit is told");
			is($m[-1][1], $block ? 'E' : 'I', "$name, block $block: status");
			my @after = $w->ask(Query('rollback; select 7'));
			is((columns(grep { $_->[0] eq 'D' } @after))[0], 7,
				"$name, block $block: and the session goes on");
			$w->send(Terminate);
		}
	}
	$rival->safe('rollback');
	$rival->close;
	is($p->safe_psql('select v from t where id = 1') =~ /lt/, '',
		'nothing was changed');
	$p->settled;
}

# Two-phase commit: the record is durable before it is prepared.
{
	my $w = $p->wire;
	my @m = $w->ask(Parse('begin') . Bind([]) . Execute . Parse($upd)
		. Bind(['2p', 36]) . Execute . Parse("prepare transaction 'x'")
		. Bind([]) . Execute . Sync);
	is(join(' ', tags(@m)), 'BEGIN UPDATE 1 PREPARE TRANSACTION', 'prepared');
	$w->ask(Parse("commit prepared 'x'") . Bind([]) . Execute . Sync);
	is_verified(($p->settled)[0], 'PREPARE TRANSACTION');
}

no_mismatches($p);
one_outcome_and_verdict($p);
is($p->stop('TERM'), 0, 'stops');
done_testing;
