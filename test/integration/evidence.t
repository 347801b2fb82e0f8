# The evidence log is checked offline, and every edit of it is found.
use strict;
use warnings;
use Test::More;
use JSON::PP qw(decode_json);
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(run slurp spew new_dir program);

my $c = PGW::Cluster->new(sql => 'create table t (id int primary key, v text)');
my $p = PGW::Proxy->new($c);
my $dir = $p->dir;

is((stat "$dir/evidence.key")[2] & 0777, 0600, 'the key is 0600');
like(slurp("$dir/evidence.pub"), qr/^[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+\/=]+\n?$/,
	'evidence.pub is a C2SP verifier key');

$p->safe_psql(join ';', map { "insert into t values ($_, 'row $_')" } 1 .. 60);
$p->safe_psql(join ';', map { "update t set v = v || '!' where id = $_" } 1 .. 30);
my @tx = $p->settled;
is(@tx, 90, 'a record for each statement');
is((grep { $_->{verdict}{verdict} eq 'verified' } @tx), 90, 'all verified')
	or diag(map { describe_tx($_) . "\n" } grep { $_->{verdict}{verdict} ne
	'verified' } @tx[0 .. 9]);

# --- the lines ---

my @lines = $p->evidence;
is($lines[0]{type}, 'Start', 'the first line is Start');
is($lines[0]{format}, 1, 'format 1');
is($lines[0]{prev}, '0' x 64, 'prev is zeros');
is((grep { $lines[$_]{seq} != $_ + 1 } 0 .. $#lines), 0, 'seq counts from 1');
like($lines[-1]{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, 'time');
use Digest::SHA qw(sha256_hex);
my @raw = $p->evidence_lines;
is((grep { $lines[$_]{prev} ne sha256_hex("\0" . $raw[$_ - 1]) } 1 .. $#lines),
	0, 'each line has the leaf hash of the one before');
my @ids = map { $_->{tx_id} } $p->transactions;
is(@ids, keys %{{ map { $_ => 1 } @ids }}, 'no tx_id twice');
one_outcome_and_verdict($p);

# --- witnessctl ---

my ($rc, $out, $err) = $p->witnessctl('status');
is($rc, 0, 'status') or diag($err);
like($out, qr/verified/, 'with coverage');
($rc, $out) = $p->witnessctl('--json', 'status');
($rc, $out) = $p->witnessctl('status', '--json') if $rc;
ok(eval { decode_json($out) }, 'status --json is JSON') or diag($out);
($rc, $out) = $p->witnessctl('tail');
is($rc, 0, 'tail');
like($out, qr/\S/, 'shows lines');
$p->safe_psql('create table made (id int)');
$p->safe_psql('do $$ begin end $$');
$p->settled;
($rc, $out) = $p->witnessctl('tail');
like($out, qr/ definitions postgres\@postgres witnessed \| create table made \(id int\)$/m,
	'DDL in words');
like($out, qr/ record tx \d+ postgres\@postgres unsupported:do \| do /,
	'with the reason of a capture');
($rc, $out, $err) = $p->witnessctl('tail', '--verdict', 'wrong');
is($rc, 2, 'tail --verdict of what is none: exit 2');
like($err, qr/"wrong" is no verdict; known: verified, /, 'and which there are');
($rc, $out) = $p->witnessctl('tail', '--table', 'public.t');
like($out, qr/\S/, 'tail --table');
($rc, $out) = $p->witnessctl('show', $tx[5]{tx_id});
is($rc, 0, 'show');
like($out, qr/insert into t values \(6, 'row 6'\)/, 'has the statement');
like($out, qr/committed/, 'the outcome');
like($out, qr/verified/, 'the verdict');
my $insert = { before => [], after => [{ id => ['integer', '6'],
	v => ['text', 'row 6'] }] };
($rc, $out) = $p->witnessctl('--json', 'show', $tx[5]{tx_id});
my ($shown) = map { decode_json($_) } split /\n/, $out;
is($shown->{rows_from}, 'spool', 'the rows come from the spool');
is_deeply($shown->{rows}, [$insert], 'before and after');
# The same log seen without a spool.
my $bare = new_dir('bare');
symlink "$dir/$_", "$bare/$_" or die $! for qw(pgwitness.conf log);
($rc, $out) = run([program('witnessctl'), '-D', $bare, 'show', $tx[5]{tx_id}]);
like($out, qr/^  rows are not kept any more$/m, 'or are not kept');
($rc) = $p->witnessctl('show', 999999);
isnt($rc, 0, 'show of what is not there');
($rc) = $p->witnessctl('no-such-command');
is($rc, 2, 'an unknown command: exit 2');
($rc, $out) = $p->witnessctl('show', 'x');
is($rc, 2, 'show without a number: exit 2');

# --- verify ---

($rc, $out, $err) = $p->verify;
is($rc, 0, 'verify while it runs') or diag("$out$err");
like($out, qr/\bOK\b/, 'says OK');
my $old = "$dir/old-checkpoint";
spew($old, slurp("$dir/log/checkpoint"));
$p->witness("insert into t values (1000, 'after the old checkpoint')");
is($p->stop('TERM'), 0, 'stops');
($rc, $out, $err) = $p->verify('--final');
is($rc, 0, 'verify --final after a clean stop') or diag("$out$err");
like($out, qr/pending: 0/, 'nothing pending');
($rc, $out, $err) = $p->verify('--final', '--checkpoint', $old);
is($rc, 0, 'consistent with an older checkpoint') or diag("$out$err");
is(($p->evidence)[-1]{type}, 'Stop', 'the last line is Stop');

# --- every edit is found ---

my $copy = "$dir/../copy";

# Written from replayd/README alone, without code of ours.
sub second_opinion
{
	my ($log, @args) = @_;
	return run(['perl', "$ENV{PGW_SRC}/test/support/second_verifier.pl", $log,
		"$dir/evidence.pub", @args]);
}
($rc, $out, $err) = second_opinion("$dir/log", '--final', '--checkpoint', $old);
is($rc, 0, 'the second verifier agrees: OK') or diag("$out$err");
like($out, qr/^lines: (\d+)\npending: 0\nOK$/m, 'and has seen the lines');

sub tampered
{
	my ($name, $edit, @args) = @_;
	run(['rm', '-rf', $copy]);
	run(['cp', '-a', "$dir/log", $copy]);
	my ($file) = sort glob "$copy/evidence-*.jsonl";
	my $text = slurp($file);
	my $new = $edit->($text);
	isnt($new, $text, "$name: edited") if defined $new;
	spew($file, $new) if defined $new;
	my ($status, $o, $e) = run([program('witnessctl'), 'verify', '--log',
		$copy, '--key', "$dir/evidence.pub", @args]);
	is($status, 1, "$name: found") or diag("$o$e");
	unlike($o, qr/^OK\b/m, "$name: not OK");
	($status, $o, $e) = second_opinion($copy, @args);
	is($status, 1, "$name: the second verifier agrees") or diag("$o$e");
}
my @l = split /^/, slurp(($p->evidence_files)[0]);
tampered('a changed byte', sub { $_[0] =~ s/row 7/row 8/r });
tampered('a changed verdict', sub { $_[0] =~ s/"verified"/"mismatch"/r });
tampered('a removed line', sub { join '', @l[0 .. 9, 11 .. $#l] });
tampered('two lines swapped', sub { join '', @l[0 .. 9, 11, 10, 12 .. $#l] });
tampered('a line twice', sub { join '', @l[0 .. 10, 10 .. $#l] });
tampered('an added line', sub { join '', @l, $l[5] }, '--final');
tampered('the end cut off', sub { join '', @l[0 .. $#l - 20] });
tampered('cut within a line', sub { substr $_[0], 0, length($_[0]) - 30 });
tampered('the first line removed', sub { join '', @l[1 .. $#l] });
tampered('a changed checkpoint', sub {
	spew("$copy/checkpoint", slurp("$copy/checkpoint") =~ s/\n(\d+)\n/
		"\n" . ($1 - 1) . "\n"/er); undef });
tampered('a changed signature', sub {
	spew("$copy/checkpoint", slurp("$copy/checkpoint")
		=~ s/(.{9})(.)(.{4})\n\z/$1 . ($2 eq 'A' ? 'B' : 'A') . "$3\n"/er);
	undef });
tampered('the log rolled back to an older signed state', sub {
	spew("$copy/checkpoint", slurp($old));
	my ($size) = slurp($old) =~ /\n(\d+)\n/;
	join '', @l[0 .. $size - 1] }, '--checkpoint', "$dir/log/checkpoint");

tampered('a missing tile', sub { run(['rm', '-r', "$copy/tile/0"]); undef });
tampered('a changed tile away from the end', sub {
	my $tile = slurp("$copy/tile/0/000");
	substr($tile, 32 * 100, 1) ^= "\1";
	spew("$copy/tile/0/000", $tile);
	undef });
tampered('an extra tile', sub { spew("$copy/tile/0/500", 'x' x 8192); undef });

# --- proofs, export ---

my $proofs = "$dir/../proofs";
mkdir $proofs or die;
my $id = $tx[5]{tx_id};
($rc, $out, $err) = $p->witnessctl('prove', $id, '--out', $proofs);
is($rc, 0, 'prove') or diag($err);
my @proofs = map { "$proofs/$id-$_.tlog-proof" } qw(record outcome verdict);
is((grep { -s } @proofs), 3, 'a proof of record, outcome and verdict');
my @check = (program('witnessctl'), 'check', '--key', "$dir/evidence.pub");
($rc, $out, $err) = run([@check, @proofs]);
is($rc, 0, 'check') or diag("$out$err");
like($out, qr/^tx_id $id: .*VerificationResult verified/m, 'says what is proven');
($rc, $out) = $p->witnessctl('prove', $tx[6]{tx_id}, '--out', $proofs);
($rc, $out, $err) = run([@check, @proofs, glob "$proofs/$tx[6]{tx_id}-*"]);
is($rc, 1, 'proofs of two transactions');
like($err, qr/the proof before has $id/, 'are told apart');
my $tile = "$dir/log/tile/0/000";
my $whole = slurp($tile);
spew($tile, substr($whole, 0, 32 * 100) . ~substr($whole, 32 * 100));
($rc, $out, $err) = $p->witnessctl('prove', $id, '--out', $proofs);
spew($tile, $whole);
is($rc, 1, 'no proof from a changed tile');
like($err, qr/the tiles do not prove seq \d+/, 'and it says why');
spew($proofs[0], slurp($proofs[0]) =~ s/^index (\d+)/'index ' . ($1 + 1)/emr);
($rc) = run([@check, $proofs[0]]);
is($rc, 1, 'a changed proof');
($rc, $out, $err) = $p->witnessctl('export', '--tlog', "$dir/../tlog");
is($rc, 0, 'export') or diag($err);
is(slurp("$dir/../tlog/checkpoint"), slurp("$dir/log/checkpoint"),
	'the checkpoint');
my ($bundle) = glob "$dir/../tlog/tile/entries/000";
is(join('', map { "$_\n" } unpack '(n/a*)*', slurp($bundle)),
	join('', @l[0 .. 255]), '256 lines in a bundle');
is(slurp("$dir/../tlog/tile/0/000"), slurp("$dir/log/tile/0/000"), 'the tile');

# A whole log under another key.
my $other = PGW::Proxy->new($c, no_start => 1);
($rc) = run([program('witnessctl'), 'verify', '--log', "$dir/log", '--key',
	$other->dir . '/evidence.pub']);
is($rc, 1, 'another key: found');
($rc) = run([program('witnessctl'), 'verify', '--log', "$dir/nothing", '--key',
	"$dir/evidence.pub"]);
isnt($rc, 0, 'no log: not OK');

# --- it goes on after a restart, as one chain ---

$p->start;
$p->witness("insert into t values (2000, 'next run')");
is($p->stop('TERM'), 0, 'stops again');
($rc, $out, $err) = $p->verify('--final', '--checkpoint', $old);
is($rc, 0, 'one chain over a restart') or diag("$out$err");
@lines = $p->evidence;
is((grep { $lines[$_]{seq} != $_ + 1 } 0 .. $#lines), 0, 'seq goes on');
@ids = map { $_->{tx_id} } $p->transactions;
is(@ids, keys %{{ map { $_ => 1 } @ids }}, 'no tx_id twice');
my ($start) = grep { $_->{type} eq 'Start' && $_->{seq} > 1 } @lines;
ok($start->{continued}{size}, 'Start says what it continues');

# --- another key, the first file moved away ---

$p->start;
($rc, $out, $err) = $p->witnessctl('rotate-key');
is($rc, 0, 'rotate-key') or diag("$out$err");
$p->witness("insert into t values (3000, 'under the new key')");
is($p->stop('TERM'), 0, 'stops under the new key');
my @former = glob "$dir/evidence-*.pub";
is(@former, 1, 'the former verifier key is kept');
($rc, $out, $err) = $p->verify('--final', '--key', $former[0], '--checkpoint', $old);
is($rc, 0, 'verify over a key change') or diag("$out$err");
like($out, qr/^key change at seq \d+/m, 'names it');
($rc, $out, $err) = second_opinion("$dir/log", '--final', '--checkpoint', $old);
is($rc, 0, 'the second verifier agrees') or diag("$out$err");
($rc) = $p->verify('--final', '--checkpoint', $old);
is($rc, 1, 'the old checkpoint needs the former key');
done_testing;
