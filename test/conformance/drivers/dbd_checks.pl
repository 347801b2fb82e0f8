# DBD::Pg: libpq, named statements of the extended protocol, values as text.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::Bin;
use DBI;
use DBD::Pg qw(:pg_types :async);
use JSON::PP;
use Tap;

sub connect_as
{
	my ($name, %options) = @_;
	return DBI->connect("dbi:Pg:application_name='dbd $name'", undef, undef,
		{ RaiseError => 1, PrintError => 0, AutoCommit => 1, %options });
}

sub rows
{
	my ($c, $sql, @v) = @_;
	return $c->selectall_arrayref($sql, undef, @v);
}

sub changed { my ($c, $sql, @v) = @_; return 0 + $c->do($sql, undef, @v) }

# What code dies of has that SQLSTATE.
sub raises
{
	my ($c, $want, $code) = @_;
	die "no error was raised\n" if eval { $code->(); 1 };
	equal($c->state, $want);
	return $c->errstr;
}

# Stores v in a row of its own and reads it again.
sub value
{
	my ($column, $v, $type) = @_;
	my $c = connect_as($column);
	my $put = $c->prepare("insert into item (id, $column) values (300, ?)");
	$put->bind_param(1, $v, $type);
	equal($put->execute, 1);
	my $got = rows($c, "select $column from item where id = ?", 300);
	equal(changed($c, "update item set $column = ? where id = 300", undef), 1);
	equal(rows($c, "select $column from item where id = 300"), [[undef]]);
	changed($c, 'delete from item where id = ?', 300);
	return $got->[0][0];
}

my %checks = (
	connect => sub {
		my $c = connect_as('connect');
		equal(rows($c, 'show application_name'), [['dbd connect']]);
		equal(rows($c, 'show client_encoding'), [['UTF8']]);
		equal(rows($c, 'select pg_backend_pid()')->[0][0] == $c->{pg_pid}
			? 1 : 0, 1);
		equal($c->ping, 1);
		equal(int($c->{pg_server_version} / 10000), 15);
	},
	crud => sub {
		my $c = connect_as('crud');
		my $odd = "O'Neil \\ é €";
		equal(changed($c, 'insert into item (id, name, qty) values (?, ?, ?)',
			100, $odd, 1), 1);
		equal(changed($c, 'insert into item (id, name) values (101, ?), '
			. '(102, ?)', 'b', 'c'), 2);
		equal(changed($c, 'update item set qty = qty + ? where id = ?', 5,
			100), 1);
		equal(changed($c, 'update item set qty = 0 where id = 199'), 0);
		equal(changed($c, 'delete from item where id = 102'), 1);
		equal(rows($c, 'select id, name, qty from item where id between ? and '
			. '? order by id', 100, 199), [[100, $odd, 6], [101, 'b', undef]]);
	},
	returning => sub {
		my $c = connect_as('returning');
		equal(rows($c, 'insert into item (id, qty) values (200, ?) returning '
			. 'id, qty * 2', 7), [[200, 14]]);
		equal(rows($c, 'update item set qty = ? where id = 200 returning qty',
			8), [[8]]);
		equal([@{ rows($c, 'delete from item where id = ? returning *',
			200)->[0] }[0 .. 2]], [200, undef, 8]);
	},
	null => sub {
		my $c = connect_as('null');
		changed($c, 'insert into item (id, name, qty, tags) values (310, ?, '
			. '?, ?)', undef, undef, undef);
		changed($c, 'insert into item (id, name) values (311, ?)', '');
		equal(rows($c, 'select name, qty, tags from item where id in (310, '
			. '311) order by id'), [[undef, undef, undef], ['', undef, undef]]);
	},
	numeric => sub {
		equal(value('price', $_), $_)
			for '12345678901234567890.123456789', '-0.00001', 'NaN';
	},
	timestamptz => sub {
		equal(value('made', '2024-02-29 23:59:59.123456+00'),
			'2024-02-29 23:59:59.123456+00');
	},
	bytea => sub {
		my $b = join '', map { chr } 0 .. 255;
		equal(value('data', $b, { pg_type => PG_BYTEA }), $b);
	},
	jsonb => sub {
		my $json = JSON::PP->new->canonical;
		my $d = { a => [1, undef, "ü\"\\"], b => { c => 1.5 } };
		equal($json->decode(value('doc', $json->encode($d))), $d);
	},
	array => sub {
		my $tags = ['a', undef, 'x,y', '"q"', ''];
		equal(value('tags', $tags), $tags);
		equal(value('nums', [1, undef, -3]), [1, undef, -3]);
	},
	binary => sub {
		# Only bytea is sent so; results are text.
		my $c = connect_as('binary');
		my $put = $c->prepare('insert into item (id, data) values (?, ?)');
		$put->bind_param(2, undef, { pg_type => PG_BYTEA });
		equal($put->execute(320, "\0\1\xff"), 1);
		equal(rows($c, 'select data from item where id = ?', 320),
			[["\0\1\xff"]]);
	},
	prepared => sub {
		my $c = connect_as('prepared', pg_switch_prepared => 1);
		my $put = $c->prepare('insert into item (id, name) values (?, ?)',
			{ pg_prepare_now => 1 });
		my $seek = $c->prepare('select name from item where id = $1');
		for (400 .. 406) {
			equal($put->execute($_, "p$_"), 1);
			equal($c->selectall_arrayref($seek, undef, $_), [["p$_"]]);
		}
		equal(rows($c, 'select count(*) from pg_prepared_statements'), [[2]]);
		equal($put->{pg_prepare_name} =~ /^dbdpg/ ? 1 : 0, 1);
		undef $put;
		equal(rows($c, 'select count(*) from pg_prepared_statements'), [[1]]);
	},
	batch => sub {
		my $c = connect_as('batch');
		my $put = $c->prepare('insert into item (id, qty) values (?, ?)');
		equal($put->execute_array({}, [500 .. 599], [500 .. 599]), 100);
		equal(changed($c, 'update item set qty = 1 where id = 500; update '
			. 'item set qty = 2 where id = 501'), 1);
		equal(rows($c, 'select count(*), sum(qty) from item where id between '
			. '500 and 599'), [[100, 54950 - 998]]);
	},
	transaction => sub {
		my $c = connect_as('transaction', AutoCommit => 0);
		changed($c, 'insert into account values (1, ?), (2, ?)', 100, 50);
		$c->commit;
		changed($c, 'update account set balance = balance - ? where id = 1',
			30);
		changed($c, 'update account set balance = balance + ? where id = 2',
			30);
		$c->commit;
		changed($c, 'update account set balance = ?', 0);
		changed($c, 'delete from account where id = 2');
		$c->rollback;
		raises($c, '23514', sub { changed($c, 'update account set balance '
			. '= ?', -1) });
		raises($c, '25P02', sub { rows($c, 'select 1') });
		$c->rollback;
		equal(rows($c, 'select * from account order by id'),
			[[1, '70.00'], [2, '80.00']]);
		$c->rollback;
		$c->do('set transaction isolation level serializable, read only');
		raises($c, '25006', sub { changed($c, 'delete from account') });
		$c->rollback;
	},
	savepoint => sub {
		my $c = connect_as('savepoint', AutoCommit => 0);
		changed($c, 'insert into item (id, qty) values (620, ?)', 1);
		$c->pg_savepoint('a');
		changed($c, 'update item set qty = ? where id = 620', 2);
		$c->pg_savepoint('b');
		changed($c, 'insert into item (id) values (621)');
		raises($c, '23505', sub { changed($c, 'insert into item (id) values '
			. '(?)', 621) });
		$c->pg_rollback_to('b');
		changed($c, 'insert into item (id) values (?)', 622);
		$c->pg_release('a');
		$c->pg_savepoint('a');
		changed($c, 'delete from item where id = ?', 620);
		$c->pg_rollback_to('a');
		$c->commit;
		equal(rows($c, 'select id, qty from item where id between 620 and 699 '
			. 'order by id'), [[620, 2], [622, undef]]);
		$c->rollback;
	},
	cursor => sub {
		my $c = connect_as('cursor', AutoCommit => 0);
		$c->do('declare cur scroll cursor with hold for select i from '
			. 'generate_series(1, 1000) i');
		my ($sum, $part) = (0);
		while (@{ $part = rows($c, 'fetch 100 from cur') }) {
			$sum += $_->[0] for @$part;
		}
		equal($sum, 500500);
		$c->commit;
		equal(rows($c, 'fetch absolute 7 from cur'), [[7]]);
		$c->do('close cur');
		$c->commit;
	},
	copy_in => sub {
		my $c = connect_as('copy_in');
		$c->do('copy line from stdin');
		$c->pg_putcopydata("$_\tv$_\t\\N\n") for 1 .. 5000;
		equal($c->pg_putcopyend, 1);
		equal(rows($c, 'select count(*), max(v) from line where id < 6000'),
			[[5000, 'v999']]);
	},
	copy_out => sub {
		my $c = connect_as('copy_out');
		$c->do("copy (select i, null, repeat('x', 3) from "
			. 'generate_series(1, 100000) i) to stdout csv');
		my $bytes = 0;
		for (;;) {
			my $line;	# in a used one length() would be an old one
			last if $c->pg_getcopydata($line) < 0;
			$bytes += length $line;
		}
		equal($bytes, 1088895);
	},
	copy_fail => sub {
		my $c = connect_as('copy_fail');
		my $copy = sub {
			$c->do('copy line from stdin');
			$c->pg_putcopydata($_) for @_;
			$c->pg_putcopyend;
		};
		show(raises($c, '22P02', sub { $copy->("7001\ta\t1\n",
			"seven\tb\t2\n") }));
		raises($c, '23505', sub { $copy->(("7001\ta\t1\n") x 3000) });
		equal(rows($c, 'select count(*) from line where id between 7000 and '
			. '7999'), [[0]]);
	},
	notify => sub {
		my ($c, $d) = (connect_as('notify'), connect_as('notify other'));
		my $got;
		$c->do('listen tidings');
		$d->do("notify tidings, 'while idle'");
		wait_until('a notification', sub { $got = $c->pg_notifies });
		equal([@$got[0, 2]], ['tidings', 'while idle']);
		$c->do("notify tidings, 'to self'");
		equal([@{ $c->pg_notifies }[0, 2]], ['tidings', 'to self']);
	},
	notice => sub {
		my @got;
		my $c = connect_as('notice');
		local $SIG{__WARN__} = sub { push @got, $_[0] };
		rows($c, 'select give_notice(?), give_notice(?)', 'one', 'two');
		equal(\@got, ["NOTICE:  notice: one\n", "NOTICE:  notice: two\n"]);
	},
	cancel => sub {
		my ($c, $d) = (connect_as('cancel'), connect_as('cancel watcher'));
		changed($c, 'insert into item (id, qty) values (800, 0)');
		for ('select pg_sleep(60)', 'update item set qty = 1 where id = 800 '
			. 'and pg_sleep(60) is not null') {
			my $s = $c->prepare($_, { pg_async => PG_ASYNC });
			$s->execute;
			wait_until('the statement to run', sub {
				rows($d, sleeper('dbd cancel'))->[0][0] });
			equal($c->pg_cancel ? 1 : 0, 1);
			equal($c->state, '57014');
		}
		equal(rows($c, 'select qty from item where id = 800'), [[0]]);
	},
	error => sub {
		my $c = connect_as('error');
		$c->{pg_errorlevel} = 2;
		show(raises($c, '42601', sub { rows($c, 'select id form item '
			. 'wehre') }));
		show(raises($c, '42703', sub { changed($c, 'update item set nane = '
			. '?', 1) }));
		show(raises($c, '42883', sub { changed($c, 'insert into item (id, '
			. 'qty) values (810, nosuch(?))', 5) }));
		changed($c, 'insert into item (id) values (?)', 810);
		show(raises($c, '23505', sub { changed($c, 'insert into item values '
			. '(?)', 810) }));
		equal($c->pg_error_field('constraint'), 'item_pkey');
		equal($c->pg_error_field('detail'), 'Key (id)=(810) already exists.');
		raises($c, '22012', sub { changed($c, 'update item set qty = 1 / '
			. '(id - 810) where id = ?', 810) });
		raises($c, '22P02', sub { changed($c, 'update item set qty = ? where '
			. 'id = 810', 'many') });
		raises($c, '42P01', sub { changed($c, 'delete from absent where id = '
			. '?', 1) });
		equal(rows($c, 'select count(*) from item where id = 810'), [[1]]);
	},
	large => sub {
		my $c = connect_as('large');
		my ($t, $b) = ('é' x (6 << 20), join('', map { chr } 0 .. 255)
			x (40 << 10));
		my $put = $c->prepare('insert into blob values (1, ?, ?)');
		$put->bind_param(2, undef, { pg_type => PG_BYTEA });
		equal($put->execute($t, $b), 1);
		my $got = rows($c, 'select t, b from blob where id = 1')->[0];
		equal(join(' ', map { $_ ? 'same' : 'other' } $got->[0] eq $t,
			$got->[1] eq $b), 'same same');
		equal(changed($c, 'update blob set t = t || ? where id = 1', 'x'), 1);
		equal(rows($c, 'select length(t), length(b) from blob where id = 1'),
			[[(6 << 20) + 1, 10 << 20]]);
	},
	pipeline => sub { skip('it waits for each answer') },
);
Tap::main("DBD::Pg $DBD::Pg::VERSION", %checks);
