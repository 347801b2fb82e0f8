# Settings that code of users changes where no text shows it: what is claimed of
# rows that were printed, and of statements that ran, under others than at the end.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create function sets(name text, value text) returns bool language plpgsql
		stable as $f$begin return set_config(name, value, false) is not null;
		end$f$;
	create function hex() returns bool language sql stable as
		$f$select sets('bytea_output', 'hex')$f$;
	create function escape() returns bool language sql stable as
		$f$select sets('bytea_output', 'escape')$f$;
	create function hexes() returns trigger language plpgsql as
		$f$begin perform hex(); return new; end$f$;
	create table t (id int primary key, b bytea, n int, a text[], d date,
		i interval, f float8, z timestamptz, m money);
	insert into t select i, '\x0102', i, '{a}', '2020-12-31', '1 day', 1.0 / 3,
		'2020-01-01 00:00+00', 1 from generate_series(1, 20) i;
	create table other (id int primary key, n int);
	insert into other select generate_series(1, 9);
	create view v as select id from other where hex();
	create table fired (id int primary key, b bytea, n int);
	insert into fired select id, b, n from t;
	create trigger behind after insert or update or delete on fired
		for each row execute function hexes();
	create table by_default (id int primary key, ok bool default hex());
	create table checked (id int primary key, n int check (hex()));
	create domain odd as int check (hex());
	create table of_domain (id int primary key, n odd);
});
my $p = PGW::Proxy->new($c);

# A statement by itself, or more in one message.
my %ways = (
	simple => sub { map { Query($_) } @_ },
	extended => sub { map { Parse($_) . Bind([]) . Describe('P') . Execute()
		. Sync() } @_ },
	several => sub { Query(join '; ', grep { !/^(?:begin|commit)$/ } @_) },
	pipeline => sub { join('', map { Parse($_) . Bind([]) . Execute() }
		grep { !/^(?:begin|commit)$/ } @_) . Sync() });

my %canonical = (startup => { options => '-c timezone=UTC -c lc_monetary=C' });
my $next = 100;
my @row = map { "update t set n = n + 1 where id = $_" } 1 .. 3;
my $set = 'update t set n = n + 1 where id between 5 and 7';
my $new = "insert into t (id, b) values (NEW, '\\x0102')";
my $null = "update t set a = '{NULL}' where id = 3";
for (
	# What they are called, how it begins, and what runs.
	['a row', 'escape', $row[0], 'select hex()'],
	['a set', 'escape', $set, 'select hex()'],
	['a new row', 'escape', $new, 'select hex()'],
	['a view', 'escape', $row[0], 'select * from v'],
	['a cursor', 'escape', $row[0], 'declare c cursor for select hex()', 'fetch c'],
	['a trigger behind', 'escape', $row[0], 'update fired set n = 2 where id = 2'],
	['its own trigger', 'escape', 'update fired set n = 2 where id = 2'],
	['its own RETURNING', 'hex', "$set returning escape()", 'select hex()'],
	['a default', 'escape', $row[0], 'insert into by_default values (NEW)'],
	['a check', 'escape', $row[0], 'insert into checked values (NEW, 1)'],
	['a domain', 'escape', $row[0], 'insert into of_domain values (NEW, 1)'],
	['between', 'hex', $row[0], 'select escape()', $row[1], 'select hex()'],
	['between, and the last', 'hex', $row[0], 'select escape()', $row[1], 'select hex()',
		$row[2]],
	(map { ["$$_[0] $$_[1]", 'hex', $row[0], "select sets('$$_[0]', '$$_[1]')",
		$row[1], "select sets('$$_[0]', '$$_[2]')"] }
		['DateStyle', 'German', 'ISO'], ['IntervalStyle', 'iso_8601', 'postgres'],
		['extra_float_digits', '-5', '1'], ['TimeZone', 'Asia/Tokyo', 'UTC'],
		['lc_monetary', 'C.UTF-8', 'C']),
	# No text depends on it, but what a literal means.
	['array_nulls', 'hex', $null, "select sets('array_nulls', 'off')"],
	['array_nulls between', 'hex', $null, "select sets('array_nulls', 'off')",
		"update t set a = '{NULL,b}' where id = 4",
		"select sets('array_nulls', 'on')"]) {
	my ($name, $begin, @sql) = @$_;
	for my $way (sort keys %ways) {
		my $w = $p->wire(%canonical);
		# Statements of ours that are kept, and that are not yet.
		for my $warm (0, 2) {
			$w->ask(Query($_)) for (map { ('begin', @row, 'commit') } 1 .. $warm),
				'set array_nulls = on', "set bytea_output = $begin";
			$p->settled;
			$w->ask($_) for $ways{$way}->('begin', (map { s{NEW}{$next++}er } @sql),
				'commit');
			my @wrong = grep { $_->{record} && $_->{record}{capture} eq 'exact' }
				$p->settled;
			is(join("\n", map { describe_tx($_) } @wrong), '',
				"$name, $way, $warm before");
		}
		$w->close;
	}
}

# What is undone ran under whatever it was, and what is changed before does not
# matter, nor is it any of these, or to the same.
for my $way (qw(simple extended)) {
	my $w = $p->wire(%canonical);
	for (['undone', 'savepoint a', 'select escape()', $row[0], 'rollback to a',
			'set local bytea_output = hex', $row[0]],
		['undone behind others', $row[0], 'select escape()', 'savepoint a', $row[1],
			'rollback to a', 'select hex()', 'release a', $row[2]],
		['as it was', 'select escape()', 'select hex()', $row[0],
			"select sets('a.b', 'c')", $row[1], 'select * from v', $set]) {
		my ($name, @sql) = @$_;
		$w->ask($_) for $ways{$way}->('begin', @sql, 'commit');
		is_verified(($p->settled)[0], "$name, $way");
	}
	$w->close;
}

# A function of the row looks like a column; what stays prepared of it would be
# believed to change nothing.
$c->safe_psql(q{create table wanted (v text); insert into wanted values ('on');
	create function of_row(t) returns int language plpgsql stable as $f$begin
		perform sets('array_nulls', (select v from wanted)); return 1; end$f$});
for my $sql ('update t set n = t.of_row where id = 7', 'update t set n = 1 where id = 7 and t.of_row = 1',
	'update t set n = 1 where id = 7 returning t.of_row',
	'insert into t (id) values (NEW) returning t.of_row') {
	my $w = $p->wire(%canonical);
	for my $v (('on') x 4, 'off') {
		$c->safe_psql("update wanted set v = '$v'");
		$p->settled;
		$w->ask(Query($_)) for $sql =~ s/NEW/$next++/er, $null;
	}
	is_verified(($p->settled)[-1], "behind $sql");
	$w->close;
}

no_mismatches($p);
is($p->stop, 0, 'stops');
done_testing;
