# The postmaster and replayd are killed together: what was handed over, and
# acknowledged under evidence.commit=async, is in the shared memory that nobody
# else can reach; the keeper brings it into the spool.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until children comm);

my $c = PGW::Cluster->new(sql => q{
	create table t (id int primary key, v text);
	create table late (id int primary key, u int unique deferrable
		initially deferred);
});
my $p = PGW::Proxy->new($c, conf => { evidence => { commit => 'async' } });

sub called
{
	my ($re) = @_;
	return grep { comm($_) =~ $re } children($p->pid);
}

# The postmaster does not get to start another replayd in between.
sub kill_with_postmaster
{
	my @victims = (@_, $p->pid);
	kill STOP => $p->pid;
	kill KILL => @victims;
	return $p->stop('none');
}

$p->witness("insert into t values (0, 'x')");
my ($replayd) = called(qr/^replayd/);
my ($keeper) = wait_until('the keeper', sub { called(qr/^keeper/) });

# It is started again, and does nothing while somebody else is there.
kill KILL => $keeper;
wait_until('another keeper', sub { grep { $_ != $keeper } called(qr/^keeper/) });

# Nobody reads the lanes, and async does not wait for that.
kill STOP => $replayd;
my $client = $p->session;
$client->safe("insert into t values ($_, 'x')") for 1 .. 5;
$client->safe("update t set v = 'y' where id < 3");
kill_with_postmaster($replayd);
$client->kill;
$p->start;
my @tx = grep { $_->{query} !~ /fence/ } $p->settled;
is(scalar @tx, 6, 'each has its record');
is(scalar(grep { $_->{outcome}{outcome} eq 'committed' } @tx), 6,
	'and its outcome');
is(scalar $p->operator_log(event => 'postmaster_gone'), 1,
	'the keeper took them from the lanes');

# The postmaster alone: its own replayd does it.
$p->safe_psql("insert into t values (10, 'x')");
kill KILL => $p->pid;
$p->stop('none');
$p->start;
@tx = grep { $_->{query} =~ /\(10,/ } $p->settled;
is($tx[0]{outcome}{outcome}, 'committed', 'the postmaster alone');
is(scalar $p->operator_log(event => 'postmaster_gone'), 2,
	'its own replayd finishes, the keeper is not needed');

# A child whose commit is under way outlives the postmaster, for as long as the
# server lets it: what it hands over then is taken all the same.
my $n = 0;
for my $killed ('', '^replayd') {
	my $name = $killed ? 'with replayd' : 'the postmaster alone';
	my $holder = $c->session;
	my $writer = $p->session;
	my $id = 100 + $n++;
	$holder->safe("begin; insert into late values (-$id, $id)");
	$writer->send("\\copy late from program 'echo $id,$id' csv");
	wait_until('its commit to wait', sub { $c->safe_psql("select 1 from "
		. "pg_stat_activity where wait_event_type = 'Lock'") });
	kill_with_postmaster($killed ? called(qr/$killed/) : ());
	wait_until("$name: somebody to wait for the child", sub {
		$n == $p->operator_log(event => 'children_left') });
	$holder->safe('rollback');
	$writer->close;
	$p->start;
	my ($tx) = grep { $_->{query} =~ /copy/i } $p->settled;
	is($tx->{outcome}{outcome}, 'committed', "$name: a late commit");
	is($tx->{outcome}{resolved_by}, 'server', 'as its child said');
	is($tx->{verdict}{verdict}, 'verified', 'in a whole record');
}
is($p->stop('INT'), 0, 'stops');
is_deeply([$p->what_stays], [], 'and leaves nobody behind');
done_testing;
