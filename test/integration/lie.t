# A server that lies is found, by table, row and column; one that does not is
# never accused.
use strict;
use warnings;
use Test::More;
use JSON::PP qw(decode_json);
use PGW::Check;
use PGW::Cluster;
use PGW::Liar;
use PGW::Proxy;
use PGW::Util qw(slurp spew);

my $c = PGW::Cluster->new(sql => q{
	create table acct (id int primary key, owner text, balance int);
	create table pair (a int, b text, v text, primary key (a, b));
	create table dept (id int primary key);
	create table emp (id int primary key, d int references dept
		on delete cascade);
	insert into dept select i from generate_series(1, 9) i;
	insert into emp select i, 1 + i % 9 from generate_series(1, 30) i;
	insert into acct select i, 'owner' || i, 1000 + i
		from generate_series(1, 30) i;
});
my $liar = PGW::Liar->new($c);
my $p = PGW::Proxy->new($liar, conf => { log => { row_data => 'on' } });

# --- passive: no false alarm ---

my @tx = $p->witness(join ';', map { (
	"update acct set balance = balance - $_ where id = $_",
	"insert into pair values ($_, 'b$_', 'v')",
	"update pair set v = v || '!' where a = $_") } 1 .. 10);
is(@tx, 30, 'a record for each statement');
is_verified($_, "honest: $_->{query}") for @tx;
no_mismatches($p, 'a relay that changes nothing: no mismatch');

# Runs SQL while a rule lies; gives the one transaction's mismatches.
sub lied
{
	my ($name, $rule, $sql) = @_;
	$p->mark;
	my ($rc, undef, $err) = $p->psql($sql);
	is($rc, 0, "$name: the client sees no error") or diag($err);
	cmp_ok($liar->count($rule), '>', 0, "$name: the server lied");
	$liar->clear;
	my @t = $p->settled;
	is(@t, 1, "$name: one record");
	my $v = $t[0]{verdict} // {};
	is($v->{verdict}, 'mismatch', "$name: mismatch") or diag(describe_tx($t[0]));
	ok(!$v->{success}, "$name: success is false");
	return ($t[0], @{ $v->{mismatches} // [] });
}

sub row
{
	my $r = $_[0]{row} // {};
	return join ' ', map { "$_=$r->{$_}" } sort keys %$r;
}

# --- another statement reaches the server ---

my ($t, @m) = lied('changed statement',
	$liar->replace('statements', 'honest', 'stolen'),
	"update acct set owner = 'honest' where id = 11");
is($m[0]{table}, 'public.acct', 'names the table');
is(row($m[0]), 'id=11', 'the row by its key');
is($m[0]{column}, 'owner', 'the column');
is($m[0]{claimed}, 'stolen', 'what the server claimed');
is($m[0]{calculated}, 'honest', 'what the statement gives');
is(@m, 1, 'and nothing else');
isnt($t->{verdict}{post_root_calculated}, $t->{verdict}{post_root_claimed},
	'roots differ');

($t, @m) = lied('changed number',
	$liar->replace('statements', '- 50 ', '- 90 '),
	'update acct set balance = balance - 50 where id = 12');
is($m[0]{column}, 'balance', 'names the column');
is($m[0]{claimed} - $m[0]{calculated}, -40, 'both values');

($t, @m) = lied('changed predicate',
	$liar->replace('statements', 'id = 13', 'id = 14'),
	"update acct set owner = 'whose' where id = 13");
cmp_ok(scalar @m, '>', 0, 'a row that the statement does not touch');

($t, @m) = lied('a cascade from another row',
	$liar->replace('statements', 'id = 3', 'id = 4'),
	'delete from dept where id = 3');
is_deeply([sort map { $_->{table} } @m], [('public.dept') x 2,
	('public.emp') x 8], 'both rows, and what hangs on them');

($t, @m) = lied('another conflict', $liar->replace('statements', "(25, 'a'",
	"(26, 'a'"), "insert into acct values (25, 'a', 1) on conflict (id) do "
	. 'update set owner = excluded.owner');
is_deeply([sort map { row($_) } @m], ['id=25', 'id=26'], 'both rows');

($t, @m) = lied('changed INSERT',
	$liar->replace('statements', 'fair play', 'foul play'),
	"insert into pair values (77, 'two', 'fair play')");
is($m[0]{table}, 'public.pair', 'names the table');
is($m[0]{column}, 'v', 'the column');
is(row($m[0]), 'a=77 b=two', 'both columns of the key');

# --- another row comes back ---

($t, @m) = lied('changed post-image', $liar->replace('rows', 'after it', 'AFTER IT'),
	"update acct set owner = 'after it' where id = 15");
is($m[0]{claimed}, 'AFTER IT', 'names what the server claimed');
is($m[0]{column}, 'owner', 'and the column');

($t, @m) = lied('changed pre-image', $liar->replace('rows', 'owner16',
	'owner61', max => 1), "update acct set owner = owner || '.' where id = 16");
is($m[0]{claimed}, 'owner16.', 'claimed from the real row');
is($m[0]{calculated}, 'owner61.', 'calculated from the false one');

($t, @m) = lied('lie in a transaction', $liar->replace('statements', 'third',
	'THIRD'), "begin; update acct set balance = 1 where id = 17; "
	. "update acct set balance = 2 where id = 18; "
	. "update acct set owner = 'third' where id = 19; commit");
is_deeply([map { $_->{row}{id} } @m], [19], 'only that row');
is($t->{verdict}{statement}, 2, 'and the statement that wrote it');

$p->write_conf({ log => { row_data => undef } });
$p->restart;
($t, @m) = lied('lie without row_data', $liar->replace('rows', 'fourth',
	'FOURTH'), "update acct set owner = 'fourth' where id = 21");
is($m[0]{claimed}, 'FOURTH', 'names what the server claimed');

# --- and after all of that ---

@tx = $p->witness("update acct set owner = 'again' where id = 20");
is_verified($tx[0], 'honest again');
my @bad = grep { ($_->{verdict}{verdict} // '') eq 'mismatch' } $p->transactions;
is(@bad, 10, 'as many mismatches as lies');
ok((grep { ($_->{level} // '') =~ /warning|error/
	&& ($_->{event} // '') =~ /mismatch/ } $p->operator_log),
	'the operator log says so');
my ($rc, $out) = $p->witnessctl('show', $bad[0]{tx_id});
like($out, qr/stolen/, 'witnessctl show has what was claimed');
like($out, qr/mismatch/, 'and the verdict');
($rc, $out) = $p->witnessctl('--json', 'show', $bad[-1]{tx_id});
my ($shown) = map { decode_json($_) } split /\n/, $out;
is($shown->{rows_from}, 'bundle', 'its rows come from the bundle');
is($shown->{rows}[0]{before}[0]{owner}[1], 'owner21', 'before');
is($shown->{rows}[0]{after}[0]{owner}[1], 'FOURTH', 'and as claimed after');
($rc, $out) = $p->witnessctl('tail', '--verdict', 'mismatch');
is(() = $out =~ /mismatch/g, 10, 'witnessctl tail --verdict mismatch has them')
	or diag($out);
one_outcome_and_verdict($p);
my $honest = record_bytes($tx[0]{tx_id});
is($p->stop('TERM'), 0, 'stops');

# --- bundles alone, on servers that know nothing of the first ---

# A record's payload from the spool (replayd/spool.h).
sub record_bytes
{
	my ($tx_id) = @_;
	for my $file (glob "$p->{dir}/spool/0*") {
		my $frames = slurp($file);
		for (my $at = 0; $at < length $frames;) {
			my (undef, $len, $tx, undef, undef, undef, $kind) =
				unpack 'N N Q> Q> Q> N C', substr $frames, $at, 37;
			return substr $frames, $at + 44, $len
				if $kind == 1 && $tx == $tx_id;
			$at += 44 + $len;
		}
	}
	return;
}

$c->stop;
my ($third) = grep { ($_->{verdict}{statement} // 0) == 2 } @bad;
my $bundle = "$p->{dir}/$third->{verdict}{bundle}";
my $other = PGW::Cluster->new;
for my $where ([], ['-d', $other->conninfo]) {
	my $on = @$where ? 'another server' : 'one of its own';
	($rc, $out) = $p->witnessctl('replay', $bundle, @$where);
	is($rc, 1, "witnessctl replay on $on: bad news") or diag($out);
	like($out, qr/table public\.acct row id=19 column owner: claimed THIRD, calculated third/,
		'names row, column and values');
	like($out, qr/first at statement 2: update acct set owner = 'third'/,
		'and the statement');
}
is($other->safe_psql("select count(*) from pg_roles where rolname = 'pgwitness_replay'"), 0,
	'leaves no role behind');
is($other->safe_psql("select count(*) from pg_database where datname ~ 'pgwitness'"),
	0, 'nor a database');
spew("$bundle/record.bin", $honest);
($rc, $out) = $p->witnessctl('replay', $bundle);
is($rc, 0, 'an honest record in its place is verified') or diag($out);
like($out, qr/: verified/, 'and says so');
spew("$bundle/record.bin", substr $honest, 0, -1);
is(($p->witnessctl('replay', $bundle))[0], 3, 'no whole record: could not run');
unlink "$bundle/schema.dump";
spew("$bundle/record.bin", $honest);
is(($p->witnessctl('replay', $bundle))[0], 3, 'no definitions: could not run');
done_testing;
