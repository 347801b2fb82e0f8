# Starting, stopping, and every process of it killed: as PostgreSQL's users
# know it, with nothing lost and nobody left behind.
use strict;
use warnings;
use Test::More;
use IO::Socket::INET;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(run slurp spew program wait_until alive born cmdline free_port
	reap);
use PGW::Wire;

my $c = PGW::Cluster->new(sql => 'create table t (id int primary key, v text);'
	. " insert into t select i, 'v' from generate_series(1, 100) i");
# So that /proc shows which process serves whom (include/procsig.h).
my $p = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 });
my $dir = $p->dir;
my %ever;			# every pid that we saw, and when it was born
sub look { $ever{$_} = born($_) // 0 for $p->processes }

# --- what cannot start says why in one line, and exits 2 ---

sub refused
{
	my ($name, $re, @args) = @_;
	my ($rc, $out, $err) = run([program('pgwitness'), @args]);
	is($rc, 2, "$name: exit status 2") or diag("$out$err");
	like($err, $re, "$name: says what is wrong");
	my @l = $err =~ /^.+$/mg;
	is(@l, 1, "$name: in one line") or diag($err);
}
my $second = PGW::Proxy->new($c, no_start => 1,
	conf => { proxy => { port => $p->port } });
refused('port in use', qr/\b\Q@{[ $p->port ]}\E\b.*in use/i, '-D', $second->dir);
refused('data directory in use', qr/\Q$dir\E.*\b\Q$p->{pid}\E\b|\b\Q$p->{pid}\E\b.*\Q$dir\E/,
	'-D', $dir, '-p', free_port());
$second->write_conf({ proxy => { prot => 5432 } });
refused('unknown key', qr/pgwitness\.conf.*:\d+.*prot.*port/, '-D', $second->dir);
refused('unknown key with -n', qr/prot/, '-n', '-D', $second->dir);
$second->write_conf({ proxy => { prot => undef, port => 'many' } });
refused('bad value', qr/:\d+.*port/, '-D', $second->dir);
chmod 0, $second->conf_path;
refused('unreadable configuration', qr/pgwitness\.conf.*(?:denied|read)/i,
	'-D', $second->dir) if $> != 0;
chmod 0600, $second->conf_path;
refused('no data directory', qr/nowhere/, '-D', "$dir/nowhere");
refused('no arguments', qr/-D/);
my ($rc, $out, $err) = run([program('pgwitness'), '--init', '-D', $dir]);
isnt($rc, 0, '--init does not overwrite a data directory');
$second->write_conf({ proxy => { port => free_port() },
	backend => { password => 'topsecret' } });
($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $second->dir]);
is($rc, 0, '-n: exit status 0') or diag($err);
like($out, qr/^\[proxy\]/m, '-n shows the effective values');
like($out, qr/max_connections\s*=\s*100/, 'and defaults');
unlike("$out$err", qr/topsecret/, 'but no password');

# --- what is allowed, but seldom meant: said by -n, at start and at reload ---

my $passfile = "$dir/passfile";
sub advised
{
	my ($what, $re) = @_;
	my $seen = () = $p->operator_log;
	$p->reload;
	ok(eval { wait_until('advice in the log', sub {
		my @l = $p->operator_log;
		grep { $_->{level} eq 'warning' && $_->{message} =~ $re }
			splice @l, $seen }); 1 }, "$what: the log says so");
	my ($rc, $out, $err) = run([program('pgwitness'), '-n', '-D', $dir]);
	is($rc, 0, "$what: no error");
	like($err, $re, "$what: -n says so");
}
$p->write_conf({ backend => { passfile => $passfile } });
advised('no passfile', qr/cannot read \[backend\] passfile "\Q$passfile\E"/);
spew($passfile, '*:*:*:*:x');
chmod 0644, $passfile or die $!;
advised('passfile of all', qr/others may read \[backend\] passfile.*ignored/);
$p->write_conf({ backend => { passfile => undef, user => '' } });
is($p->restart, 0, 'it starts again');
ok(eval { wait_until('advice in the log', sub { grep { $_->{event} eq
	'no_witness_role' } $p->operator_log }); 1 },
	'no witness role: the log says so');
$p->write_conf({ backend => { user => 'pgwitness' } });
is($p->restart, 0, 'and again');

# --- reload ---

my $events = () = $p->operator_log;
$p->write_conf({ log => { level => 'debug' } });
$p->reload;
wait_until('the reload to be logged', sub {
	my @l = $p->operator_log;
	grep { "$_->{event} $_->{message}" =~ /reload|config/i }
		splice @l, $events;
});
pass('SIGHUP reloads');
is($p->safe_psql('select 1'), '1', 'and it still serves');
$p->write_conf({ log => { level => 'nonsense' } });
$p->reload;
wait_until('the error to be logged', sub { grep { ($_->{level} // '')
	=~ /warning|error/ && $_->{message} =~ /level/ } $p->operator_log });
is($p->safe_psql('select 2'), '2', 'a bad file is refused, it goes on');
$p->write_conf({ log => { level => 'info' } });

# --- a killed child harms nobody else ---

my ($one, $two) = ($p->wire, $p->session);
$one->ask(Query($_)) for 'begin', "update t set v = 'lost' where id = 1";
$two->safe("update t set v = 'kept' where id = 2");
my $child = $p->child_of($one->{sock}->sockport);
look();
kill KILL => $child;
is($two->query("update t set v = 'kept' where id = 3"), '',
	'kill -9 of a child: others go on');
is($two->err, '', 'undisturbed');
wait_until('the server to roll back', sub { $c->safe_psql('select count(*) '
	. "from pg_stat_activity where state = 'idle in transaction'") == 0 });
is($c->safe_psql('select v from t where id = 1'), 'v', 'its transaction is gone');
my @tx = $p->settled;
is((grep { $_->{outcome}{outcome} eq 'committed' } @tx), 2,
	'only what committed is claimed');
$one->close;
$two->close;

# --- replayd killed: writers wait, then go on; nothing is lost ---

my $writer = $p->session;
$writer->safe("update t set v = 'before' where id = 10");
for my $round (1 .. 3) {
	my $replayd = $p->replayd;
	ok($replayd, "replayd runs (round $round)");
	look();
	kill KILL => $replayd;
	$writer->safe("update t set v = 'round $round' where id = $_")
		for 11 .. 15;
	wait_until('replayd to be restarted', sub {
		($p->replayd // $replayd) != $replayd });
}
@tx = $p->settled;
is((grep { $_->{query} =~ /round|before/ } @tx), 16, 'nothing lost');
is((grep { $_->{query} =~ /round/ && $_->{outcome}{outcome} eq 'committed' }
	@tx), 15, 'all decided');
no_mismatches($p);
one_outcome_and_verdict($p);
$writer->close;

# --- the server is killed while a commit is on its way ---

my $doubt = $p->session;
$doubt->safe('begin');
$doubt->safe("update t set v = 'doubt' where id = 20");
$c->kill9;
$doubt->send('commit');
eval { $doubt->finish_query };
like($doubt->err, qr/closed|terminat|FATAL/i, 'the client is told');
$doubt->kill;
$c->start;
wait_until('the proxy to reach the server', sub {
	eval { $p->safe_psql('select 1') } });
@tx = $p->settled;
ok(!(grep { $_->{query} =~ /doubt/ && $_->{outcome}{outcome} eq 'committed' }
	@tx), 'what the server lost is not claimed');

# --- SIGTERM: no new clients, those that are there may finish ---

my $client = $p->session;
look();
$p->signal('TERM');
wait_until('new clients to be refused', sub {
	($p->psql('select 1'))[0] != 0 });
pass('smart shutdown: new clients are refused');
is($client->query("update t set v = 'during' where id = 30 returning id"), '30',
	'an old one works on');
is($client->close, 0, 'until it leaves');
is($p->stop('none'), 0, 'then it ends with status 0');
$p->start;

# --- SIGINT: clients are told 57P01 ---

my $w = $p->wire;
$w->ask(PGW::Wire::Query("begin; update t set v = 'no' where id = 31"));
look();
is($p->stop('INT'), 0, 'fast shutdown ends with status 0');
my @m = $w->read_all;
is(PGW::Wire::fields($m[0] // [E => ''])->{C}, '57P01',
	'a client is told 57P01');
is($c->safe_psql('select v from t where id = 31'), 'v', 'and rolled back');
$p->start;

# --- SIGQUIT: at once ---

$w = $p->wire;
look();
my $status = $p->stop('QUIT');
ok(defined $status, 'immediate shutdown ends');
ok($w->closed, 'clients are cut off');
ended('after SIGQUIT');
$p->start;

# --- the postmaster killed: all go; a new one starts over the stale pid file ---

$writer = $p->session;
$writer->safe("update t set v = 'acknowledged' where id = 40");
look();
my @all = $p->processes;
kill KILL => $p->pid;
is(reap($p->pid, $PGW::Util::patience), 137, 'the postmaster is killed');
delete $p->{pid};
wait_until('all its processes to go', sub { !grep { alive($_) } @all });
pass('kill -9 of the postmaster: everything goes away');
ok(-e "$dir/pgwitness.pid", 'its pid file is stale');
$writer->kill;
$p->start;
is($p->safe_psql('select 3'), '3', 'it starts again');
@tx = $p->settled;
ok((grep { $_->{query} =~ /acknowledged/
	&& $_->{outcome}{outcome} eq 'committed' } $p->transactions),
	'what was acknowledged is there');
($rc, $out, $err) = $p->verify;
is($rc, 0, 'and the log verifies') or diag("$out$err");

sub ended
{
	my ($when) = @_;
	my @left;
	eval { wait_until('processes to end', sub { !(@left = grep {
		(born($_) // -1) == $ever{$_} } keys %ever) }) };
	is_deeply([map { cmdline($_) } @left], [], "$when: no process is left");
}
look();
is($p->stop('INT'), 0, 'stops');
ended('at the end');
is_deeply([$p->what_stays], [], 'nothing runs for this data directory');
ok(!-e "$dir/pgwitness.pid", 'no pid file after a clean stop');
ok(eval { wait_until('the sessions to end', sub {
	$c->safe_psql("select count(*) from pg_stat_activity where backend_type = "
		. "'client backend'") == 1 }); 1 },
	'no session is left on the server') or diag($@);
is_deeply([map { glob "/dev/shm/pgwitness.$_.*" } keys %ever], [],
	'no shared memory is left');

# --- the init script ---

SKIP: {
	my $script = "$ENV{PGW_SRC}/etc/pgwitness.init";
	skip 'no etc/pgwitness.init', 1 unless -e $script;
	my $text = slurp($script);
	$text =~ s/\@SBINDIR\@/$ENV{PGW_BUILD}/;
	$text =~ s/^PGWITNESS_DIR=.*/PGWITNESS_DIR=$dir/m;
	spew("$dir/init", $text);
	my $init = sub { my ($rc, $o, $e) = run(['sh', "$dir/init", $_[0]]);
		note("$_[0]: $rc $o$e"); $rc };
	is($init->('status'), 3, 'init script: status of a stopped one is 3');
	is($init->('reload'), 7, 'reload of a stopped one is 7');
	is($init->('start'), 0, 'start');
	is($init->('status'), 0, 'status of a running one is 0');
	is($init->('start'), 0, 'start again is no error');
	wait_until('it to accept', sub { $p->accepts });
	is($p->safe_psql('select 4'), '4', 'it serves');
	is($init->('reload'), 0, 'reload');
	is($init->('restart'), 0, 'restart');
	is($init->('stop'), 0, 'stop');
	is($init->('status'), 3, 'status is 3 again');
	is($init->('stop'), 0, 'stop again is no error');
	my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
		LocalPort => 0) or die $@;
	$p->write_conf({ proxy => { port => $taken->sockport },
		log => { directory => "$dir/elsewhere" } });
	my ($rc, $out, $err) = run(['sh', "$dir/init", 'start']);
	is($rc, 1, 'log directory that is not there: start fails');
	like($err, qr{cannot write to \[log\] directory "\Q$dir\E/elsewhere"},
		'and says why');
	mkdir "$dir/elsewhere" or die $!;
	($rc, $out, $err) = run(['sh', "$dir/init", 'start']);
	is($rc, 1, 'port in use: start fails');
	like($err, qr{elsewhere/pgwitness\.log:\n.*\bin use\b},
		'and says why, with the log');
	close $taken;
	spew("$dir/pgwitness.pid", "999999\n");
	is($init->('status'), 1, 'dead with a pid file: 1');
	is($init->('frobnicate'), 2, 'an unknown action: 2');
	is_deeply([$p->what_stays], [], 'nothing is left');
}
done_testing;
