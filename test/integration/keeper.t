# The postmaster and replayd are killed together: what was handed over, and
# acknowledged under evidence.commit=async, is in the shared memory that nobody
# else can reach; the keeper brings it into the spool.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until children slurp);

my $c = PGW::Cluster->new(sql => 'create table t (id int primary key, v text)');
my $p = PGW::Proxy->new($c, conf => { evidence => { commit => 'async' } });

sub called
{
	my ($re) = @_;
	return grep { slurp("/proc/$_/comm") =~ $re } children($p->pid);
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
my @lost = ($replayd, $p->pid);
kill KILL => @lost;
$p->stop('none');
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
is($p->stop('INT'), 0, 'stops');
is(scalar(my @left = $p->leftovers), 0, 'and leaves nobody behind');
done_testing;
