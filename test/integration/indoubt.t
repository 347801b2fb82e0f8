# Nobody saw how a transaction ended: the child or the server was killed
# between its record and its commit, or it was prepared.  The server is asked,
# for as long as it takes.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Liar;
use PGW::Proxy;
use PGW::Wire;
use PGW::Util qw(wait_until children comm new_dir pg_bin run spew);

my $c = PGW::Cluster->new(conf => "max_prepared_transactions = 5\n",
	sql => q{
	create table acct (id int primary key, v text);
	insert into acct select i, 'old' from generate_series(1, 100) i;
});
my $liar = PGW::Liar->new($c);
my $p = PGW::Proxy->new($liar);
my $id = 0;
# The verifier has all of its children from then on.
$p->settled;

sub outcomes
{
	my ($tx) = @_;
	return grep { $_->{type} eq 'TransactionOutcome'
			&& $_->{tx_id} == $tx } $p->evidence;
}

sub final
{
	my ($tx) = @_;
	my ($o) = grep { $_->{outcome} ne 'prepared' } outcomes($tx);
	return $o;
}

sub backends
{
	return grep { comm($_) !~ /^replayd/ } children($p->pid);
}

# A transaction whose record is durable and whose COMMIT waits at the liar.
sub hold_commit
{
	my $client = $p->session;
	my $row = ++$id;
	my $lines = scalar $p->evidence;
	$client->safe('begin');
	$client->safe("update acct set v = 'new' where id = $row");
	$liar->pause('statements', 'commit /* held */');
	$client->send('commit /* held */');
	$liar->wait_paused;
	my $record;
	$p->wait_for_lines('the record', sub {
		my @l = @_;
		($record) = grep { $_->{type} eq 'StateCommitmentRecord' }
			@l[$lines .. $#l];
		return $record });
	is(scalar outcomes($record->{tx_id}), 0, 'it has no outcome yet');
	return ($client, $record->{tx_id}, $row);
}

sub is_final
{
	my ($tx, $outcome, $row, $value, $name) = @_;
	my $o = wait_until("an outcome: $name", sub { final($tx) });
	like($o->{outcome}, qr/^$outcome$/, "$name: outcome");
	is($o->{resolved_by}, 'pg_xact_status', "$name: the server was asked");
	is($c->safe_psql("select v from acct where id = $row"), $value,
		"$name: and it is true");
}

# --- the child dies before the commit ---
my ($client, $tx, $row) = hold_commit();
kill KILL => backends();
$client->kill;
# The liar still holds the COMMIT.
$c->safe_psql(q{select pg_terminate_backend(pid, 180000) from pg_stat_activity
	where state = 'idle in transaction'});
$liar->clear;
is_final($tx, 'aborted', $row, 'old', 'a child killed before the commit');

# --- the child dies after the commit, before it hears of it ---
($client, $tx, $row) = hold_commit();
my @children = backends();
kill STOP => @children;
$liar->clear;
wait_until('the server to commit', sub {
	$c->safe_psql("select v from acct where id = $row") eq 'new' });
is(scalar outcomes($tx), 0, 'nobody has said so yet');
kill KILL => @children;
$client->kill;
is_final($tx, 'committed', $row, 'new', 'a child killed after the commit');

# --- the process that asks dies with the question ---
# The recorder's only child; the verifier has workers and a PostgreSQL.
sub resolver
{
	my ($only) = grep { @$_ == 1 } map { [children($_)] }
		children($p->replayd // return);
	return $only ? $only->[0] : undef;
}
my $resolver = wait_until('the resolver', \&resolver);
kill STOP => $resolver;
($client, $tx, $row) = hold_commit();
@children = backends();
kill STOP => @children;
$liar->clear;
wait_until('the server to commit', sub {
	$c->safe_psql("select v from acct where id = $row") eq 'new' });
kill KILL => @children;
$client->kill;
# Asked or not yet: the one that is stopped answers nothing.
is(final($tx), undef, 'no outcome while nobody asks');
kill KILL => $resolver;
is_final($tx, 'committed', $row, 'new', 'a resolver killed with the question');
isnt(resolver(), $resolver, 'it was another resolver');
ok($p->operator_log(event => 'resolver_lost'), 'the operator log says so');

# --- a session that ends in a look-up: nothing was sent, nothing is said ---
for (['the server\'s session', sub {
		$c->safe_psql("select pg_terminate_backend($_[0])") }],
	['the proxy\'s', sub { kill TERM => backends() }]) {
	my ($whose, $end) = @$_;
	$p->mark;
	my $wire = $p->wire;
	$liar->pause('statements', 'to_regclass');
	$wire->send(Query("update acct set v = 'new' where id = " . ++$id));
	$liar->wait_paused;
	$end->($wire->{pid});
	$liar->clear;
	my @m = $wire->read_all;
	is(scalar @m, 1, "$whose end in a look-up: one message");
	is(fields($m[-1])->{C}, '57P01', "$whose end in a look-up: which says so");
	is(scalar $p->settled, 0, "$whose end in a look-up: no record");
	is($c->safe_psql("select v from acct where id = $id"), 'old',
		"$whose end in a look-up: nothing ran");
}

# --- the server dies, and is away for a while ---
($client, $tx, $row) = hold_commit();
$c->kill9;
$liar->clear;
$client->kill;
wait_until('the operator log to say that the server is away', sub {
	$p->operator_log(event => 'server_unreachable') });
is(final($tx), undef, 'nothing is claimed while the server is away');
like(($p->witnessctl('status'))[1], qr/^SERVER UNREACHABLE/m, 'status says so');
$c->start;
# Not in the log on disk: the xid may be given again, nobody can be asked.
is_final($tx, qr/^(aborted|unknown)$/, $row, 'old',
	'a server killed before the commit');
unlike(($p->witnessctl('status'))[1], qr/UNREACHABLE/, 'and not for ever');

# --- prepared ---
$client = $p->session;
$row = ++$id;
my $before = scalar $p->evidence;
$client->safe('begin');
$client->safe("update acct set v = 'new' where id = $row");
$client->safe("prepare transaction 'later'");
my $record;
$p->wait_for_lines('the prepared transaction', sub {
	my @l = @_;
	($record) = grep { $_->{type} eq 'StateCommitmentRecord' }
		@l[$before .. $#l];
	return $record && outcomes($record->{tx_id}) });
is((outcomes($record->{tx_id}))[0]{outcome}, 'prepared', 'it is prepared');
$client->close;
is(final($record->{tx_id}), undef, 'and that is not final');
$c->safe_psql("commit prepared 'later'");
my $o = wait_until('the end of the prepared transaction', sub {
	final($record->{tx_id}) });
is($o->{outcome}, 'committed', 'COMMIT PREPARED ends it');

$p->settled;
is(scalar $p->operator_log(event => 'server_changed'), 0,
	'no other server so far');

# --- the server is restored from a backup: another timeline ---
my $backup = new_dir('bk') . '/data';
my ($rc, $out, $err) = run([pg_bin('pg_basebackup'), '-D', $backup, '-c', 'fast',
	'-h', $c->host, '-p', $c->port, '-U', 'postgres']);
is($rc, 0, 'a backup') or diag($err);
($client, $tx, $row) = hold_commit();
$c->kill9;
$liar->clear;
$client->kill;
# The same address, other data.
$c->{dir} = $backup;
$c->append_conf("restore_command = 'false'");
spew("$backup/recovery.signal", '');
$c->start;
$o = wait_until('an outcome after the restore', sub { final($tx) });
is($o->{outcome}, 'unknown', 'restored: nobody can know');
is($o->{reason}, 'other_timeline', 'and why');
is(scalar $p->operator_log(event => 'server_changed', level => 'error'), 1,
	'the operator log says once that the server is another');
my @gaps = grep { $_->{type} eq 'Gap' } $p->evidence;
is_deeply([map { $_->{reason} } @gaps], ['server_changed'],
	'and the evidence log that there is a gap');
my ($again) = grep { $_->{query} =~ /again/ }
	$p->witness("update acct set v = 'again' where id = 90");
is_verified($again, 'it goes on with that server');
is(($p->verify)[0], 0, 'the log is right');

done_testing;
