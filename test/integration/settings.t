# Settings that change what a statement does travel with the record, or say why
# there is no verdict.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text, n int, b bytea default '\x0102',
		a text[]);
	insert into t (id, v) select i, 'v' || i from generate_series(1, 99) i;
	create function up() returns trigger language plpgsql as
		$f$begin new.v := new.v || '!'; return new; end$f$;
	create table fired (id int primary key, v text, n int);
	insert into fired select id, v, n from t;
	create trigger up before update on fired for each row execute function up();
	create table parent (id int primary key);
	insert into parent select generate_series(1, 9);
	create table child (id int primary key,
		p int references parent on delete cascade);
	insert into child select id, id from parent;
	create table ruled (id int primary key, v text);
	insert into ruled select id, v from t;
	create rule r as on update to ruled do also
		insert into parent values (new.id + 100);
	create function ambiguous() returns trigger language plpgsql as $f$
		declare n int := 7; begin select max(n) into new.n from
		(values (9)) x(n); return new; end$f$;
	create table asked (id int primary key, n int);
	insert into asked select id from t;
	create trigger ask before update on asked for each row
		execute function ambiguous();
	create role limited;
	grant all on all tables in schema public to limited;
});
my $p = PGW::Proxy->new($c);

# The setting, a statement that depends on it, what becomes of it.
my $id = 0;
for (['search_path', 'public', "v = lower('ABC')", 'verified'],
	['DateStyle', 'German', "v = date '2020-12-31'", 'verified'],
	['IntervalStyle', 'iso_8601', "v = interval '1 day'", 'verified'],
	['TimeZone', 'Asia/Tokyo', "v = now()", 'verified'],
	['extra_float_digits', '-5', "v = (1.0 / 3)::float8", 'verified'],
	['bytea_output', 'escape', "v = b", 'incomplete:settings'],
	['default_text_search_config', 'german', "v = to_tsvector('Häuser')",
		'verified'],
	['xmlbinary', 'hex', "v = xmlforest(b as b)::text", 'verified'],
	['xmloption', 'document', "v = (('<a/>'::text)::xml is document)::text",
		'verified'],
	['transform_null_equals', 'on', "v = coalesce((n = null)::text, 'null')",
		'verified'],
	['array_nulls', 'off', "a = '{a,NULL}'", 'verified'],
	['array_nulls', 'off', "v = array_to_string('{a,NULL}'::text[], '-')",
		'verified'],
	['timezone_abbreviations', 'India',
		"v = '2020-01-01 00:00 IST'::timestamptz", 'verified'],
	['quote_all_identifiers', 'on', "v = quote_ident('a') || format('%I', 'b')",
		'verified'],
	['a.b', 'c', "v = current_setting('a.b')", 'environment']) {
	my ($setting, $value, $set, $want) = @$_;
	for my $in ('', ', in a transaction') {
		$id++;
		my $update = "update t set $set where id = $id";
		comes_out($p, "$setting = $value$in", $in
			? "begin; set local $setting = '$value'; $update; commit"
			: "set $setting = '$value'; $update", $want);
		comes_out($p, "$setting as it was$in", $in ? "begin; $update; commit"
			: $update, $want eq 'environment' ? $want : 'verified')
			unless $setting eq 'a.b';
	}
}
comes_out($p, 'set by a function', "select set_config('array_nulls', 'off', false); "
	. "update t set a = '{NULL}' where id = 90", 'verified');
$p->safe_psql("alter role postgres set transform_null_equals = on");
comes_out($p, 'set for the role', "update t set v = coalesce((n = null)::text, 'null') "
	. 'where id = 91', 'verified');
$p->safe_psql("alter role postgres reset transform_null_equals");
comes_out($p, 'set in between', "begin; update t set v = 'a' where id = 92; "
	. "set local array_nulls = off; update t set a = '{NULL}' where id = 92; "
	. 'commit', 'incomplete:settings');
comes_out($p, 'set in between by a function', "begin; update t set v = 'a' where id = "
	. "93; select set_config('array_nulls', 'off', true); update t set a = "
	. "'{NULL}' where id = 93; commit", 'incomplete:settings');

# What stays prepared is not what the setting would make of the text now.
for (['transform_null_equals', 'on', "v = coalesce((n = null)::text, 'null')"],
	['transform_null_equals', 'on', 'n = case when n = null then 1 else 2 end'],
	['array_nulls', 'off', "a = '{NULL,x}'"],
	['xmlbinary', 'hex', 'v = xmlforest(b as b)::text'],
	['timezone_abbreviations', 'India', "v = '2020-01-01 00:00 IST'::timestamptz"],
	['quote_all_identifiers', 'on', "v = quote_ident('a')"]) {
	my ($setting, $value, $set) = @$_;
	my $sql = "update t set $set where id = 97 returning v, n, a";
	my $all = join '; ', ($sql) x 3, "set $setting = '$value'", ($sql) x 2,
		"reset $setting", ($sql) x 2;
	is($p->safe_psql($all), $c->safe_psql($all), "$setting in one session");
}
is_verified($_, 'in one session') for $p->settled;

# Neither triggers nor foreign keys nor rules act: not as replay has them.
for (['a trigger', 'update fired set n = 1 where id = 1'],
	['a cascade', 'delete from parent where id = 1'],
	['a rule', "update ruled set v = 'z' where id = 1"],
	['nothing else', "update t set v = 'r' where id = 94"]) {
	my ($name, $sql) = @$_;
	comes_out($p, "replica: $name", "set session_replication_role = replica; $sql",
		'environment');
}
comes_out($p, 'local is as origin', 'set session_replication_role = local; '
	. 'update fired set n = 2 where id = 2', 'verified');
comes_out($p, 'plpgsql.variable_conflict', 'set plpgsql.variable_conflict = '
	. 'use_column; update asked set n = 1 where id = 1', 'replay_error');

# Who one is, where it is a column by itself.
comes_out($p, 'SET ROLE', "set role limited; update t set v = current_user where id = 95",
	'verified');
comes_out($p, 'SESSION AUTHORIZATION', 'set session authorization limited; update t set '
	. 'v = session_user where id = 96', 'verified');

# Kept statements ask only if something may have changed the settings: what does
# is seen by the next one, and by the ones behind it.
$c->safe_psql(q{create function quiet() returns int language plpgsql as $f$
	begin perform set_config('bytea_output', 'escape', false); return 1; end$f$});
for (["set bytea_output = 'escape'", 'reset bytea_output'],
	["select set_config('bytea_output', 'escape', false)", 'reset all'],
	['select quiet()', 'discard all'],
	["set bytea_output = 'escape'; select 1", 'set bytea_output to default'],
	["begin; set local bytea_output = 'escape'; commit; "
		. "set bytea_output = 'escape'", "select set_config('bytea_output', "
		. "'hex', false)"]) {
	my ($client, @how) = ($p->session, @$_);
	$p->settled;
	for my $step (undef, @how) {
		$client->safe($step) if $step;
		$client->safe("update t set n = $_ where id = 7") for 1 .. 3;
	}
	is(join(' ', map { $_->{record}{capture} }
			grep { describe_tx($_) =~ /update t / } $p->settled),
		join(' ', ('exact') x 3, ('incomplete') x 3, ('exact') x 3),
		"$how[0]: seen at once, and what takes it back");
	$client->close;
}

# In a client's block they come with its last statement, if COMMIT came behind it
# the time before.
my @block = ('begin', 'update t set n = 5 where id = 7',
	'insert into t (id, n) values (700, 1)', 'delete from t where id = 700');
$c->safe_psql(q{create function silent() returns text language plpgsql stable as $f$
	begin return set_config('bytea_output', 'escape', false); end$f$;
	create function of_row(t) returns int language sql stable as
		$f$select 1 where silent() is not null$f$});
my $escape = "set bytea_output = 'escape'";
for (['as they are', 'exact', @block, 'commit'],
	['changed in it', 'incomplete', @block[0 .. 2], 'select silent()', $block[3],
		'commit', 'reset bytea_output'],
	['changed behind the last', 'incomplete', @block, 'select silent()', 'commit',
		'reset bytea_output'],
	['by one message with it', 'incomplete', @block[0 .. 2],
		"$block[3]; select silent()", 'commit', 'reset bytea_output'],
	['by one message with COMMIT', 'incomplete', @block, "$escape; commit",
		'reset bytea_output'],
	['before it', 'incomplete', $escape, @block, 'commit',
		'reset bytea_output'],
	['more changed than ever', 'exact', @block,
		'update t set n = 6 where id = 7', 'commit'],
	['it does not end', 'exact', @block, 'savepoint a',
		'update t set n = 7 where id = 7', 'rollback to a', 'commit']) {
	my ($name, $want, @sql) = @$_;
	my $client = $p->session;
	$p->settled;
	$client->safe($_) for ((@block, 'commit') x 3, @sql, @block, 'commit');
	is(join(' ', map { $_->{record}{capture} } $p->settled),
		join(' ', ('exact') x 3, $want, 'exact'),
		"facts of a block: $name");
	$client->close;
}

# Nor do they come there if nothing since the last time can have changed them: a
# SELECT of a table that the transaction holds cannot, if its name means that.
$c->safe_psql(q{create schema hiding;
	create function hiding.equal(int, int) returns bool language plpgsql stable as
		$f$begin return silent() is not null and $1 operator(pg_catalog.=) $2; end$f$;
	create table other (id int primary key, b bytea);
	insert into other values (1, '\x0102'), (2, '\x0102')});
my @quiet = ('begin', 'update t set n = 5 where id = 7',
	'select n, b from t where id = 7', 'update other set b = b where id = 1', 'commit');
for (['it reads', 'exact', @quiet],
	['all its columns', 'exact', @quiet[0, 1], 'select * from t where id = 7',
		@quiet[3, 4]],
	['by another name', 'exact', @quiet[0, 1], 'select x.n from t x where x.id = 7',
		@quiet[3, 4]],
	['a function behind that', 'incomplete', @quiet[0 .. 2], 'select silent()',
		@quiet[3, 4], 'reset bytea_output'],
	['a function in it', 'incomplete', @quiet[0, 1],
		'select n, silent() from t where id = 7', @quiet[3, 4],
		'reset bytea_output'],
	['a function of its row', 'incomplete', @quiet[0, 1],
		'select n, t.of_row from t where id = 7', @quiet[3, 4],
		'reset bytea_output'],
	['that finds the row', 'incomplete', @quiet[0, 1],
		'select n from t where t.of_row = 1', @quiet[3, 4],
		'reset bytea_output'],
	['a view that hides it', 'incomplete', @quiet[0, 1],
		# A new schema makes the server parse what is prepared again.
		sub { $c->safe_psql('create view hiding.t as select id, n, b from '
			. 'public.t where silent() is not null; create schema s; '
			. 'drop schema s') },
		@quiet[2 .. 4], 'reset bytea_output',
		sub { $c->safe_psql('drop view hiding.t') }],
	['savepoints', 'exact', @quiet[0, 1], 'savepoint a', @quiet[2, 3],
		'release a', @quiet[3, 4]],
	['SET LOCAL behind a savepoint', 'incomplete', @quiet[0, 1], 'savepoint a',
		'set local bytea_output = escape', 'release a', @quiet[3, 4]],
	['SET LOCAL that a savepoint takes back', 'exact', $quiet[0], 'savepoint a',
		'set local bytea_output = escape', 'rollback to a', @quiet[1 .. 4]],
	['SET LOCAL', 'incomplete', $quiet[0], 'set local bytea_output = escape',
		@quiet[1 .. 4]],
	['SET that is taken back', 'incomplete exact', $quiet[0], $escape,
		@quiet[1 .. 3], 'rollback', $escape, @quiet, 'begin', 'reset bytea_output',
		'commit', @quiet],
	['an operator that hides another', 'exact ' x 4 . 'incomplete',
		'set search_path = hiding, pg_catalog, public', (@quiet) x 4, @quiet[0, 3],
		sub { $c->safe_psql('create operator hiding.= (leftarg = int, '
			. 'rightarg = int, function = hiding.equal)') },
		'select b from other where id = 1',
		'update other set b = b where id = 2', 'commit',
		sub { $c->safe_psql('drop operator hiding.= (int, int)') },
		'reset bytea_output'],
	['another isolation', 'exact', 'begin isolation level repeatable read',
		@quiet[1 .. 4]]) {
	my ($name, $want, @sql) = @$_;
	for my $mode ('simple', 'extended', 'prepared') {
		my $client = $p->wire;
		$client->run($mode, 'set search_path = hiding, public');
		# Both forms of the last statement are known, with settings and
		# without.
		$client->run($mode, $_)
			for (@quiet) x 4, ('select 1', @quiet) x 3, @quiet;
		$p->settled;
		ref ? $_->() : $client->run($mode, $_) for @quiet, @sql, @quiet;
		my @seen = grep { describe_tx($_) =~ /update / } $p->settled;
		is(join(' ', map { $_->{record}{capture} } @seen), "exact $want exact",
			"settings told before a block: $name, $mode");
		is(join(',', map { $_->{record}{isolation} } @seen[0, -1]),
			'read committed,read committed', '... and its isolation');
		$client->send(Terminate);
	}
}

# What a Bind runs it runs without an Execute: before a BEGIN of the same batch,
# whose transaction it is in, and between another one's Bind and Execute.
$c->safe_psql(q{create function folded(text, bool) returns text language plpgsql
	immutable as
	$f$begin return set_config('bytea_output', $1, $2); end$f$;
	create function odd(int) returns bool language plpgsql stable as
	$f$begin return $1 <> 13 or silent() is not null; end$f$;
	create domain odd as int check (odd(value))});
my $odd = $c->safe_psql("select 'odd'::regtype::oid");
my $alone = 'update other set b = b where id = 1';
for (['before a BEGIN', 'exact incomplete', sub {
		my ($w) = @_;
		$w->run('simple', $escape);
		$w->ask(Parse("select folded('hex', true)"), Bind([], portal => 'x'),
			Parse('begin'), Bind([]), Execute, Sync);
		$w->run('extended', $_) for @quiet[1 .. 4], @quiet }],
	['before a BEGIN of the other protocol', 'exact incomplete', sub {
		my ($w) = @_;
		$w->run('simple', $escape);
		$w->send(Parse("select folded('hex', true)"), Bind([]), Query('begin'));
		$w->read_ready;
		$w->run('extended', $_) for @quiet[1 .. 4], @quiet }],
	['before a statement alone', 'exact incomplete', sub {
		my ($w) = @_;
		$w->run('simple', $escape);
		$w->send(Parse("select folded('hex', true)"), Bind([]), Close('P'),
			Flush);
		$w->read_to('3');
		$w->ask($w->statement('extended', $alone), Sync);
		$w->run('extended', $alone) }],
	['of its parameter', 'incomplete', sub {
		my ($w) = @_;
		$w->run('extended', $_) for @quiet[0, 1];
		$w->ask(Parse('select n from t where id = $1', types => [$odd]),
			Bind([13]), Describe('P'), Execute, Sync);
		$w->run('extended', $_) for @quiet[3, 4] }],
	['before an Execute', 'incomplete', sub {
		my ($w) = @_;
		$w->run('extended', $_) for @quiet[0 .. 2];
		$w->ask(Parse('update other set b = b where id = $1'),
			Bind([1], portal => 'k'),
			Parse("select folded('escape', false)"),
			Bind([], portal => 'x'), Execute(0, 'k'), Sync);
		$w->run('extended', 'commit') }]) {
	my ($name, $want, $do) = @$_;
	my $client = $p->wire;
	$client->run('extended', $_)
		for ($alone) x 4, (@quiet) x 4, ('select 1', @quiet) x 3, @quiet;
	$p->settled;
	$do->($client);
	is(join(' ', map { $_->{record}{capture} }
			grep { describe_tx($_) =~ /update / } $p->settled),
		$want, "a Bind that changes settings: $name");
	$client->send(Terminate);
}

# A parameter's own type runs code when its value is read: a domain's checks.
my $bound = $p->wire;
$bound->send(Parse('update t set n = $1 where id = $2', name => 'odd',
	types => [$odd, 23]), Sync);
$bound->read_ready;
for (1, 2, 3, 13) {
	$bound->send(Bind([$_, 7], name => 'odd'), Execute(), Sync);
	$bound->read_ready;
}
is(join(' ', map { $_->{record}{capture} } $p->settled),
	'exact exact exact incomplete', 'a check of a parameter that changes settings');
$bound->send(Terminate);

# The server's configuration is read when no message says so.
my $kept = $p->session;
for (['escape', 'incomplete'], ['hex', 'exact']) {
	my ($value, $want) = @$_;
	$c->safe_psql("alter system set bytea_output = $value");
	$c->safe_psql('select pg_reload_conf()');
	ok(wait_until('the configuration to be read', sub {
		$kept->safe('update t set n = 1 where id = 8');
		($p->settled)[-1]{record}{capture} eq $want }),
		"a reload is seen: $value");
	$kept->safe('update t set n = 1 where id = 8') for 1 .. 3;
	is(join(' ', map { $_->{record}{capture} } $p->settled),
		join(' ', ($want) x 3), "and holds: $value");
}

# In a block: its first row was printed under another one than its last.
for (['escape', 'incomplete'], ['hex', 'exact']) {
	my ($value, $want) = @$_;
	$c->safe_psql("alter system set bytea_output = $value");
	$c->safe_psql('select pg_reload_conf()');
	ok(wait_until('the configuration to be read', sub {
		$kept->safe('show bytea_output') =~ /$value/ }),
		"outside of the block: $value");
	$kept->safe('begin');
	$kept->safe('update t set n = 2 where id = 8');
	$c->safe_psql('alter system set bytea_output = hex');
	if ($value ne 'hex') {
		$c->safe_psql('select pg_reload_conf()');
		ok(wait_until('the configuration to be read', sub {
			$kept->safe('show bytea_output') =~ /hex/ }),
			"a reload inside of the block: $value");
	}
	$kept->safe('commit');
	is(join(' ', map { $_->{record}{capture} } $p->settled),
		$want, "what is claimed then: $value");
}
$kept->close;

no_mismatches($p);
is($p->stop, 0, 'stops');
done_testing;
