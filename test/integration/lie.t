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
	create table card (id int primary key, owner text, balance int);
	create table book (id int primary key, v text);
	create table audit (id bigserial primary key, became jsonb);
	create function audit() returns trigger language plpgsql as $f$begin
		insert into audit (became) values (to_jsonb(new)); return null; end$f$;
	create trigger audit after insert or update on book for each row
		execute function audit();
	insert into book select i, 'book' || i from generate_series(1, 9) i;
	create table money (id int primary key, v numeric(9,2));
	create table part (id serial primary key, grade text default 'gold',
		note text, u uuid default gen_random_uuid());
	select setval('part_id_seq', 100);
	create table fired (id int primary key, v text, n int, m int);
	insert into fired values (1, 'x', 1, 1), (2, 'x', 1, 1);
	create function counting() returns trigger language plpgsql as
		$f$begin new.m := new.n + 1; return new; end$f$;
	create trigger count before update on fired for each row
		execute function counting();
	insert into money select i, 1.00 from generate_series(1, 3) i;
	insert into card select i, 'card' || i, 7 from generate_series(1, 30) i;
	insert into acct select i, 'owner' || i, 1000 + i
		from generate_series(1, 30) i;
});
my $liar = PGW::Liar->new($c);
my $p = PGW::Proxy->new($liar, conf => { log => { row_data => 'on' } });

# replayd is behind the liar, too: what is changed below, it has read by then.
$p->warm;

# --- passive: no false alarm ---

my @tx = $p->witness(join ';', map { (
	"update acct set balance = balance - $_ where id = $_",
	"insert into pair values ($_, 'b$_', 'v')",
	"update pair set v = v || '!' where a = $_") } 1 .. 10);
is(@tx, 30, 'a record for each statement');
is_verified($_, "honest: $_->{query}") for @tx;
no_mismatches($p, 'a relay that changes nothing: no mismatch');

# Runs SQL while a rule lies; gives the one transaction's mismatches.
my $lies = 0;
sub lied
{
	my ($name, $rule, $sql) = @_;
	$lies++;
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

# A literal may be a parameter: its length and its text.
sub value { return pack 'N/a*', $_[0] }
($t, @m) = lied('changed number',
	$liar->replace('statements', value(50), value(90)),
	'update acct set balance = balance - 50 where id = 12');
is($m[0]{column}, 'balance', 'names the column');
is($m[0]{claimed} - $m[0]{calculated}, -40, 'both values');

($t, @m) = lied('changed predicate',
	$liar->replace('statements', value(13), value(14)),
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

# --- the statement that runs is another one, but of the same kind ---

# Of the same length: what is left over is blank.  params: the server gets
# parameters for the literals, with blanks around.
sub runs_instead
{
	my ($name, $honest, $false, %o) = @_;
	my $i = 0;
	my $sent = $o{params} ? $honest =~ s/('[^']*'|\b\d+)/" \$" . ++$i . ' '/ger
		: $honest;
	my $n = length($sent) > length($false) ? length $sent : length $false;
	my @text = map { my $blank = ' ' x ($n - length); s/ / $blank/r }
		$sent, $false;
	my $blank = ' ' x ($n - length $sent);
	$honest =~ s/ / $blank/;
	my $before = $o{before} // '';
	my $after = $o{after} // '';
	return lied($name, $liar->replace('statements', @text,
		skip => $o{skip} // 0), $before . $honest . $after);
}

sub only_row
{
	my ($name, $table, $row, $column, @m) = @_;
	is(join(', ', map { "$_->{table} " . row($_) . ' ' . ($_->{column} // '-') }
		@m), "public.$table $row $column", "$name: the place");
}

($t, @m) = runs_instead('a row silently not updated',
	'update acct set balance = balance + 5 where id between 22 and 23',
	'update acct set balance = balance + 5*(id-22) where id between 22 and 23');
only_row('a row silently not updated', acct => 'id=22', 'balance', @m);
($t, @m) = runs_instead('one row too few',
	q{insert into pair values (81, 'x', 'a'), (82, 'x', 'b'), (83, 'x', 'c')},
	q{insert into pair values (81, 'x', 'a'), (82, 'x', 'b')});
only_row('one row too few', pair => 'a=83 b=x', '-', @m);
is($m[0]{claimed}, undef, 'the server does not have it');
($t, @m) = runs_instead('one row too many',
	q{insert into pair values (84, 'x', 'a')},
	q{insert into pair values ($1, $2, $3), (85, 'x', 'b')}, params => 1);
only_row('one row too many', pair => 'a=85 b=x', '-', @m);
is($m[0]{calculated}, undef, 'the statement does not give it');
($t, @m) = lied('one row too many is changed',
	$liar->replace('statements', "(id =       \$2 \n)", '(id in ($2, 25) )'),
	q{update acct set owner = 'her' where id =      24});
is(scalar(grep { $_->{row}{id} == 25 } @m), 1, 'the one more');
($t, @m) = runs_instead('another table', 'update acct as x',
	'update card as x', after => ' set balance = 1 + balance where id = 26');
is(join(' ', map { "$_->{row}{id}:$_->{column}" } @m), '26:owner 26:balance',
	'another table: the row that it should have been');
($t, @m) = runs_instead('another rounding',
	'update money set v = round(v * 1.005, 2) where id = 1',
	'update money set v = trunc(v * 1.005, 2) where id = 1');
only_row('another rounding', money => 'id=1', 'v', @m);
is($m[0]{claimed} - $m[0]{calculated}, '-0.01', 'by one cent');
($t, @m) = lied('another rounding of a column',
	$liar->replace('statements', value('2.345'), value('2.344')),
	'update money set v = 2.345 where id = 2');
only_row('another rounding of a column', money => 'id=2', 'v', @m);
for (['one', 'where id = 27'], ['of a set', 'where id between 27 and 27']) {
	my ($name, $where) = @$_;
	$name = "a deleted row still there, $name";
	($t, @m) = runs_instead($name, 'delete from acct',
		'update acct set id = id', after => " $where");
	only_row($name, acct => 'id=27', '-', @m);
	is($m[0]{calculated}, undef, "$name: the statement does not leave it");
}
($t, @m) = runs_instead('an insert without its default',
	'insert into part (id) values (1)',
	q{insert into part (id, grade) values ($1, 'lead')}, params => 1);
only_row('an insert without its default', part => 'id=1', 'grade', @m);
($t, @m) = runs_instead('in a transaction, behind another statement',
	'update acct set balance = balance - 1 where id = 28',
	'update acct set balance = balance - 9 where id = 28',
	before => 'begin; update acct set balance = balance + 1 where id = 29; ',
	after => '; commit');
only_row('in a transaction', acct => 'id=28', 'balance', @m);
($t, @m) = lied('among recorded inputs',
	$liar->replace('statements', value('fine'), value('base')),
	q{insert into part (grade) values ('fine')});
is($m[0]{column}, 'grade', 'not what was recorded, but what was not');
($t, @m) = runs_instead('one recorded input too few',
	q{insert into part (note) values ('1'), ('2')},
	q{insert into part (note) values ('1')});
is($m[0]{calculated}, 'present', 'the row is missed');
($t, @m) = runs_instead('one recorded input too many',
	q{insert into part (note) values ('1')},
	q{insert into part (note) values ($1), ('2')}, params => 1);
is($m[0]{claimed}, 'present', 'the row is named');

for (['one', 'where id =      5', "(id =       \$1 \n)", '(id in ($1,  6) )'],
	['of a set', 'where id between 5 and 5', 'between 5 and 5',
		'between 5 and 6']) {
	my ($name, $where, @text) = @$_;
	$name = "one row too many deleted, $name";
	($t, @m) = lied($name, $liar->replace('statements', @text, skip =>
		$name =~ /set/ ? 1 : 0), "delete from card $where");
	only_row($name, card => 'id=6', '-', @m);
	is($m[0]{calculated}, 'present', "$name: the statement leaves it");
	$c->safe_psql("insert into card values (5, 'card5', 7), (6, 'card6', 7)");
}
($t, @m) = runs_instead('what a trigger should have done',
	"update fired set v = 'a' where id = 1",
	"update fired set v = 'a', n = 9 where id = 1");
is(join(' ', map { "$_->{column}:$_->{claimed}:$_->{calculated}" } @m),
	'n:9:1 m:10:2', 'both columns are named');

($t, @m) = runs_instead('a row with an audit trigger',
	"update book set v = 'true' where id = 3",
	"update book set v = 'lies' where id = 3");
is(join(' ', sort map { "$_->{table} $_->{column}" } @m),
	'public.audit became public.book v', 'both are named');
($t, @m) = lied('what an audit trigger wrote',
	$liar->replace('rows', '""v"": ""fine""', '""v"": ""base""'),
	"update book set v = 'fine' where id = 4");
is($m[0]{table}, 'public.audit', 'the audit is named');

# --- rows come back changed ---

($t, @m) = lied('two rows swapped', $liar->swap('rows', 'left one', 'right on'),
	q{insert into pair values (91, 'x', 'left one'), (92, 'x', 'right on')});
is(join(' ', map { "$_->{row}{a}:$_->{claimed}" } @m),
	'91:right on 92:left one', 'both are named');
($t, @m) = lied('a default replaced', $liar->replace('rows', 'gold', 'lead'),
	'insert into part (id) values (2)');
only_row('a default replaced', part => 'id=2', 'grade', @m);
is("$m[0]{claimed} $m[0]{calculated}", 'lead gold', 'both are named');
($t, @m) = lied('a pre-image of a set',
	$liar->replace('rows', 'owner30', 'owner33', max => 1),
	"update acct set owner = owner || '+' where id between 30 and 30");
only_row('a pre-image of a set', acct => 'id=30', 'owner', @m);
($t, @m) = lied('a copied row', $liar->replace('rows', 'copied 2', 'copied 7'),
	"copy pair from stdin;\n95\tx\tcopied 1\n96\tx\tcopied 2\n\\.\n");
only_row('a copied row', pair => 'a=96 b=x', 'v', @m);

$p->write_conf({ log => { row_data => undef } });
$p->restart;
($t, @m) = lied('lie without row_data', $liar->replace('rows', 'fourth',
	'FOURTH'), "update acct set owner = 'fourth' where id = 21");
is($m[0]{claimed}, 'FOURTH', 'names what the server claimed');

# --- and after all of that ---

@tx = $p->witness("update acct set owner = 'again' where id = 20");
is_verified($tx[0], 'honest again');
my @bad = grep { ($_->{verdict}{verdict} // '') eq 'mismatch' } $p->transactions;
is(@bad, $lies, 'as many mismatches as lies');
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
is(() = $out =~ /mismatch/g, 20, 'witnessctl tail --verdict mismatch has the last')
	or diag($out);

# --- a trigger or a rule added behind the proxy's back ---

# What it does is done in replay, too; that it came is what is named.
for (['trigger', 'pair', "update pair set v = 'w' where a = 1", q{
		create function slip() returns trigger language plpgsql as
			$f$begin new.v := 'slipped'; return new; end$f$;
		create trigger slip before update on pair for each row
			execute function slip()}, qr/^trigger CREATE TRIGGER slip /],
	['rule', 'money', 'update money set v = 2 where id = 2', q{
		create rule slip as on update to money do instead nothing},
		qr/^rule .*CREATE RULE slip /]) {
	my ($kind, $table, $sql, $ddl, $line) = @$_;
	my $of = sub { grep { $_->{type} eq 'SchemaChange' && !$_->{witnessed}
		&& $_->{difference}{table} eq $table } @_ };
	$p->witness("insert into pair values (77, '$kind', 'v')");
	$c->safe_psql($ddl);
	my @t = $p->witness("$sql; insert into pair values (78, '$kind', 'v')");
	is_named($_, "$kind: never verified wrongly") for @t;
	$p->wait_for_lines("the $kind to be named", sub { $of->(@_) });
	my @found = $of->($p->evidence);
	is(@found, 1, "$kind: one SchemaChange");
	ok((grep { $_ =~ $line } @{ $found[0]{difference}{added} }),
		"$kind: it is named") or diag(explain($found[0]));
	is($found[0]{reason}, undef, "$kind: nothing explains it");
}

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
