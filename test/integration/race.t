# Other sessions change the same rows while the proxy is between its captures:
# the verdict is race, or the change is serialised; never a false story.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Liar;
use PGW::Proxy;
use PGW::Util qw(wait_until);

my $c = PGW::Cluster->new(sql => q{
	create table acct (id int primary key, grp int, v text);
	create table nokey (grp int, v text);
	create table fk (id int primary key, a int references acct);
	create table hidden (id int primary key, grp int, v text);
});
my $liar = PGW::Liar->new($c);
my $p = PGW::Proxy->new($liar, conf => { log => { row_data => 'on' } });

sub reset_rows
{
	# Not all at once: replayd's pg_dump may hold one and want another.
	$c->safe_psql('delete from fk; delete from nokey; delete from acct');
	$c->safe_psql('insert into acct select i, i % 2,'
		. " 'old' || i from generate_series(1, 10) i; insert into nokey "
		. "select i % 2, 'old' || i from generate_series(1, 4) i");
}

# Holds the client's statement between the captures, lets another session,
# directly on the server, run $other, then goes on.  What is then claimed must
# be so: `verified` only if the images are the rows' real states.
sub race
{
	my ($name, $sql, $other, %o) = @_;
	reset_rows();
	$p->mark;
	my $client = $p->session;
	my $rival = $c->session;
	$rival->backend_pid;
	$client->safe($_) for @{ $o{before} // [] };
	$liar->pause('statements', $o{at} // $sql, skip => $o{skip} // 0);
	$client->send($sql);
	$liar->wait_paused;
	$rival->send($other);
	# It is through, or it waits for a lock that the capture holds.
	my $waited = wait_until('the rival to finish or to wait', sub {
		my $state = $c->safe_psql('select case when wait_event_type = '
			. "'Lock' then 'waited' when state like 'idle%' then 'first' "
			. 'end from pg_stat_activity where pid = ' . $rival->backend_pid
			. ' and query like $q$' . $other . '%$q$');
		$state ne '' && $state });
	$liar->clear;
	$client->finish_query;
	my $err = $client->err;
	$client->safe($_) for @{ $o{after} // [] };
	$rival->finish_query;
	my $rival_err = $rival->err;
	is($rival_err, '', "$name: the other session is not harmed")
		unless $o{rival_may_fail};
	is($err, '', "$name: the client is not harmed") unless $o{may_fail};
	$_->close for $client, $rival;

	my @tx = $p->settled;
	note("$name: rival $waited");
	is($waited, 'first', "$name: at once") if $o{not_blocked};
	for (@tx) {
		note(describe_tx($_));
		my $v = $_->{verdict}{verdict} // '';
		next if ($_->{outcome}{outcome} // '') ne 'committed';
		is_verified($_, $name) if $o{verified};
		if ($v eq 'verified') {
			is($_->{record}{capture}, 'exact', "$name: verified and exact");
			story($name, $_, $o{story}) if $o{story};
		} elsif ($v eq 'mismatch') {
			pass("$name: mismatch");
			ok($_->{record}{capture} ne 'exact' || $o{mismatch_ok},
				"$name: a race is not called a lie")
				or diag(describe_tx($_));
		} else {
			isnt($_->{record}{capture}, 'exact',
				"$name: named as $_->{record}{capture}");
		}
	}
	is(@tx, $o{n} // 1, "$name: the expected records") unless $o{may_fail};
	return @tx;
}

# The rows of a verified record are the real ones: story gives, for the values
# before, what they may be, given the values after.
sub story
{
	my ($name, $t, $code) = @_;
	my %before = map { $_->{id}[1] => $_->{v}[1] }
		@{ $t->{record}{rows}[0]{before} };
	my %after = map { $_->{id}[1] => $_->{v}[1] }
		@{ $t->{record}{rows}[0]{after} };
	my $ok = $code->(\%before, \%after);
	ok($ok, "$name: the images are one true story") or diag(join ', ',
		(map { "$_: $before{$_}" } sort keys %before), '->',
		map { "$_: $after{$_}" } sort keys %after);
}
my $appended = sub {
	my ($b, $a) = @_;
	return !grep { ($b->{$_} // '?') . '+' ne $a->{$_} } keys %$a;
};

race('key equality', "update acct set v = v || '+' where id = 1",
	"update acct set v = 'rival' where id = 1", story => $appended,
	at => 'WITH pgwitness', verified => 1);
is($c->safe_psql('select v from acct where id = 1'), 'rival+',
	'neither update is lost');

race('set predicate, a row changed', "update acct set v = v || '+' where grp = 1",
	"update acct set v = 'rival' where id = 3", story => $appended,
	verified => 1);
race('set predicate, a row comes', "update acct set v = v || '+' where grp = 1",
	"insert into acct values (99, 1, 'phantom')", story => $appended,
	verified => 1);
race('set predicate, a row leaves', "update acct set v = v || '+' where grp = 1",
	'update acct set grp = 7 where id = 5', story => $appended,
	verified => 1);
race('set predicate, a row is deleted', 'delete from acct where grp = 1',
	'delete from acct where id = 7', verified => 1);
race('no key', "update nokey set v = v || '+' where grp = 1",
	"update nokey set v = 'rival' where grp = 1");
race('in the client\'s transaction', "update acct set v = v || '+' where grp = 1",
	"insert into acct values (98, 1, 'phantom')", before => ['begin'],
	after => ['commit'], story => $appended);
race('in the client\'s transaction, by key',
	"update acct set v = v || '+' where id = 2",
	"update acct set v = 'rival' where id = 2", before => ['begin'],
	after => ['commit'], story => $appended);
race('all of a table, in the client\'s transaction',
	"update nokey set v = v || '+' where grp = 1",
	"update nokey set v = 'rival' where grp = 1", before => ['begin'],
	after => ['commit']);
race('the same, and another table', "update nokey set v = v || '+' where grp = 1",
	"update acct set v = 'rival' where id = 2", before => ['begin'],
	after => ['commit']);
race('repeatable read', "update acct set v = v || '+' where grp = 0",
	"update acct set v = 'rival' where id = 2", may_fail => 1,
	before => ['begin isolation level repeatable read', 'select 1 from acct'],
	after => ['commit'], story => $appended);
race('a foreign-key insert of another client is not blocked',
	"update acct set v = v || '+' where id = 4",
	'insert into fk values (1, 4)', story => $appended, not_blocked => 1,
	at => 'pgwitness_quick_facts', verified => 1);
race('ALTER TABLE that rewrites', "update acct set v = v || '+' where grp = 0",
	'alter table acct alter column grp type bigint');
is($c->safe_psql('select count(*) from acct where v like $$%+$$'), 5,
	'no row was silently left out');

# --- by key, and another session holds the row: what is directly, is so here,
# and the images are those of the row that was waited for ---

# What $sql gives when the row is let go, which $rival has changed; its tag or
# error, and its row in the end.
sub held_row
{
	my ($endpoint, $sql, $rival, $how) = @_;
	my ($client, $other) = ($endpoint->session, $c->session);
	reset_rows();
	my $pid = $client->backend_pid;
	$client->safe($_) for @{ $how->{before} // [] };
	$client->safe($how->{warm}) for 1 .. $how->{times} // 0;
	$p->settled if $endpoint == $p && !$how->{before};
	$other->safe("begin; $rival");
	$client->send($sql);
	wait_until('the client to wait', sub { $c->safe_psql('select count(*) '
		. "from pg_stat_activity where wait_event_type = 'Lock' "
		. "and pid = $pid") });
	$other->safe($how->{end} // 'commit');
	$client->finish_query;
	my $said = join '|', $client->out, $client->err;
	$client->safe('commit') if $how->{before};
	$_->close for $client, $other;
	return "$said / " . $c->safe_psql("select string_agg(a::text, ' ' order by "
		. "id) from acct a where v !~ '^old' or id in (3, 33)");
}

my $by_key = "update acct set v = v || '+' where id = 3 returning *";
for (['changed', "update acct set v = 'rival' where id = 3", 1],
	['changed twice', "update acct set v = 'r' where id = 3; "
		. 'update acct set v = v || 2 where id = 3', 1],
	['its key moved away', 'update acct set id = 33 where id = 3', 0],
	['deleted', 'delete from acct where id = 3', 0],
	['deleted and made again', 'delete from acct where id = 3; '
		. "insert into acct values (3, 1, 'anew')", 0],
	['rolled back', "update acct set v = 'rival' where id = 3", 1, 'rollback']) {
	my ($name, $rival, $n, $end) = @$_;
	for my $sql ($by_key, 'delete from acct where id = 3 returning v') {
		my $kind = substr $sql, 0, 6;
		for my $times (0, 3) {
			my $label = "$kind by key, $name, $times before";
			my %how = (times => $times, end => $end,
				warm => $sql =~ s/= 3/= 5/r);
			is(held_row($p, $sql, $rival, \%how),
				held_row($c, $sql, $rival, \%how), $label);
			my @t = $p->settled;
			# Of no row, too, where a lock took a transaction id.
			is(@t, 1, "$label: one record") if $n || @t;
			is_verified($_, $label) for @t;
			is(table_of($_, 'acct')->{pre_rows}, $n, "$label: rows")
				for @t;
			next if !$times || $name =~ /again/;
			my $plain = $sql =~ s/ returning.*| \|\| '\+'//gr
				=~ s/v = v/grp = grp + 7/r;
			%how = (%how, before => ['begin'],
				warm => $plain =~ s/= 3/= 5/r);
			is(held_row($p, $plain, $rival, \%how),
				held_row($c, $plain, $rival, \%how),
				"$label, in a block");
			@t = $p->settled;
			is(@t, 1, "$label, in a block: one record");
			is_verified($_, "$label, in a block") for @t;
			is(table_of($_, 'acct')->{pre_rows}, $n + 1,
				"$label, in a block: rows") for @t;
		}
	}
}
for my $level ('repeatable read', 'serializable') {
	my $how = { before => ["begin isolation level $level",
		'select count(*) from fk'] };
	my $rival = "update acct set v = 'rival' where id = 3";
	my $said = held_row($p, $by_key, $rival, $how);
	is($said, held_row($c, $by_key, $rival, $how), "by key in $level");
	like($said, qr/could not serialize/, "$level: refused as directly");
	my $alone = { warm => "set default_transaction_isolation = '$level'",
		times => 1 };
	is(held_row($p, $by_key, $rival, $alone),
		held_row($c, $by_key, $rival, { %$alone, times => 0 }),
		"by key, $level by default: tried again");
}
$p->settled;

# --- definitions change under a statement that is kept ---

for my $ddl ('alter table acct add extra int default 3',
	'alter table acct alter v type varchar(40)',
	"alter table acct alter v set default 'other'",
	'alter table acct add check (grp >= 0)',
	'alter table acct add unique (grp, id)',
	'create index on acct (v)', 'analyze acct', 'truncate nokey',
	'grant select on acct to public',
	'alter table acct drop extra') {
	reset_rows();
	$p->settled;
	my $client = $p->session;
	my @sql = ("update acct set v = v || '+' where id = 3",
		'insert into acct (id, grp) values (11, 1)',
		'delete from acct where id = 11');
	$client->safe($_) for @sql, @sql;
	# With the definitions of before.
	my @t = $p->settled;
	$c->safe_psql($ddl);
	$client->safe($_) for @sql;
	push @t, $p->settled;
	is(@t, 9, "$ddl: a record for each");
	for (@t) {
		is_verified($_, $ddl) and next
			if $_->{record}{capture} eq 'exact';
		like($_->{record}{capture_reason},
			qr/^(?:schema_changed|undecodable_row|row_count)$/, "$ddl: named");
	}
	is_verified($_, "$ddl: before") for @t[0 .. 5];
	is_verified($t[8], "$ddl: known again");
	$client->close;
}

# In a client's block the catalogs are not asked while nothing has changed.
for my $ddl ('alter table acct add extra int default 3',
	'alter table acct alter v type varchar(40)',
	'alter table acct add check (grp >= 0)', 'analyze acct',
	'alter table acct rename to old; create table acct (like old including all)',
	'drop table acct; alter table old rename to acct',
	'alter table acct drop extra',
	'create schema postgres create table hidden (id int primary key, grp int,'
		. ' v text)') {
	my $t = $ddl =~ /hidden/ ? 'hidden' : 'acct';
	reset_rows() unless $ddl =~ /^drop table/;
	$p->settled;
	my $client = $p->session;
	my @sql = ('begin', "update $t set v = v || '+' where id = 3",
		"insert into $t (id, grp) values (11, 1)",
		"delete from $t where id = 11", 'commit');
	$client->safe($_) for (@sql) x 3;
	my @t = $p->settled;
	$c->safe_psql($ddl);
	$client->safe($_) for (@sql) x 3;
	push @t, $p->settled;
	is(@t, 6, "$ddl, in blocks: a record for each");
	for (@t) {
		is_verified($_, "$ddl, in blocks") and next
			if $_->{record}{capture} eq 'exact';
		like($_->{record}{capture_reason},
			qr/^(?:schema_changed|undecodable_row|row_count)$/,
			"$ddl, in blocks: named");
	}
	is_verified($_, "$ddl, in blocks: before") for @t[0 .. 2];
	is_verified($_, "$ddl, in blocks: known again") for @t[4 .. 5];
	isnt($t[3]{record}{capture}, 'exact', "$ddl is seen")
		unless $ddl =~ /^analyze/;
	# What the session itself does behind it is seen at the end.
	$client->safe($_) for @sql[0 .. 3], "alter table $t alter v set default 1";
	$client->safe($_) for 'commit';
	my ($own) = $p->settled;
	isnt($own->{record}{capture}, 'exact', "$ddl, in blocks: own DDL");
	$client->close;
}

# --- the block that a set of rows is captured in ---

sub iso
{
	my ($name, $want, $before) = @_;
	my $client = $p->session;
	$client->safe($before) if $before;
	is($client->safe("update acct set v = v || '+' where grp = 1 and id < 3 "
		. "returning current_setting('transaction_isolation')"), $want, $name);
	is($client->safe('show transaction_isolation'), $want, "$name, and after")
		if $want eq 'serializable';
	$client->close;
}
reset_rows();
iso('a set of rows is found in REPEATABLE READ', 'repeatable read');
iso('never less than the session asks for', 'serializable',
	'set default_transaction_isolation = serializable');
$p->settled;

# Another holds a row, then lets it go changed, and a third holds it: what is
# left of statement_timeout ends the second try, and a cancel any.  False if the
# limit of so many seconds was over before the second try.
sub second_try_ends
{
	my ($how, $limit) = @_;
	reset_rows();
	my ($client, $one, $two) = ($p->session, $c->session, $c->session);
	my $pid = $client->backend_pid;
	my $waits = sub { $c->safe_psql('select count(*) from pg_locks where not '
		. "granted and pid = $pid") };
	my $ended = sub { $client->read_now =~ /ERROR/ };
	$client->safe("set statement_timeout = '${limit}s'") if $how eq 'timeout';
	$one->safe("begin; update acct set v = 'one' where id = 1");
	$two->backend_pid;
	$client->send("update acct set v = v || '+' where grp = 1");
	wait_until('the client to wait', sub { $waits->() || $ended->() });
	$two->safe('begin');
	$two->send("update acct set v = 'two' where id = 5; select 1");
	$two->finish_query;
	$one->safe('commit') unless $ended->();
	wait_until('it to wait again', sub { $waits->() || $ended->() });
	my $in_time = !$ended->();
	$c->safe_psql("select pg_cancel_backend($pid)") if $how eq 'cancel';
	$client->finish_query;
	like($client->err, $how eq 'timeout' ? qr/due to statement timeout/
		: qr/due to user request/, "$how ends it, with the server\'s words");
	is($client->safe('select count(*) from acct'), 10, "$how: it goes on");
	$two->safe('commit');
	is($c->safe_psql('select count(*) from acct where v like $$%+$$'), 0,
		"$how: nothing was changed");
	is_deeply([$p->settled], [], "$how: nothing is claimed");
	$_->close for $client, $one, $two;
	return $in_time;
}
ok(second_try_ends('cancel'), 'a cancel of the second try');
my $in_time;
for (4, 16, 64) { last if $in_time = second_try_ends('timeout', $_) }
ok($in_time, 'a time limit that the second try meets');

# --- two transactions on one row: the log's order is the commit order ---

reset_rows();
$p->settled;
my ($one, $two) = ($p->session, $p->session);
$one->safe('begin');
$one->safe("update acct set v = v || 'a' where id = 1");
$two->send("update acct set v = v || 'b' where id = 1");
wait_until('the second to wait', sub { $c->safe_psql('select count(*) from '
	. "pg_stat_activity where wait_event_type = 'Lock'") });
$one->safe('commit');
$two->finish_query;
is($two->err, '', 'the second goes on');
my @tx = $p->settled;
is(@tx, 2, 'two records');
for (0, 1) {
	my $v = $tx[$_]{record}{rows}[0]{after}[0]{v}[1];
	is($v, ('old1a', 'old1ab')[$_], 'in the order of commits');
	is_verified($tx[$_], 'waited for a lock');
}
$_->close for $one, $two;
no_mismatches($p);
one_outcome_and_verdict($p);
is($p->stop('TERM'), 0, 'stops');
done_testing;
