# A transaction that locks what replayd reads waits for its acknowledgement
# while replayd waits for its locks: both go on.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until);

my $c = PGW::Cluster->new(sql => q{
	create table busy (id int primary key, v text);
	create table other (id int primary key, v text);
});
# So that /proc shows which process is which (include/procsig.h).
my $p = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 });
my $n = 0;

# A job that needs new definitions of all tables, and is not begun yet.
sub put_job
{
	my @workers = $p->replay_workers;
	kill STOP => @workers;
	$c->safe_psql("alter table other add column c$n int");
	$p->safe_psql("insert into other values ($n, 'x')");
	return @workers;
}

sub both_go_on
{
	my ($name, $lock, $meanwhile) = @_;
	$n++;
	my @workers = put_job();
	my $client = $p->session;
	$client->safe('begin');
	$client->safe("insert into busy values ($n, 'x')");
	$client->safe($lock);
	kill CONT => @workers;
	wait_until("$name: replayd to wait", sub { $client->safe('select count(*)'
		. ' from pg_locks where not granted') > 0 });
	$meanwhile->($client) if $meanwhile;
	$client->send('commit');
	$client->finish_query;
	is($client->err, '', "$name: the commit is acknowledged");
	$client->close;
	my %t = map { $_->{query} => $_ } $p->settled;
	my ($own) = grep { $_->{query} =~ /into busy/ } values %t;
	my ($job) = grep { $_->{query} =~ /into other/ } values %t;
	is($own->{outcome}{outcome}, 'committed', "$name: its record is there");
	is_verified($job, "$name: and replayd has what it waited for");
}

$p->witness("insert into other values (0, 'x')");
# VACUUM FULL of a catalog would wait for it, and pg_dump, as it connects,
# behind that.
both_go_on('a table that pg_dump wants', 'alter table busy add column c int',
	sub { ok(eval { wait_until('replayd to hold nothing', sub {
		$c->safe_psql('select count(*) from pg_locks join '
		. "pg_stat_activity using (pid) where usename = 'pgwitness' and "
		. "state = 'idle in transaction' and locktype = 'relation'") == 0 }) },
		'replayd holds nothing while pg_dump waits') });
# pg_dump locks them in the order of their making: it is the one that gives up.
both_go_on('tables in another order than pg_dump\'s',
	'lock table other in access exclusive mode',
	sub { $_[0]->safe('lock table busy in access exclusive mode') });
my $all = 'lock table pg_catalog.pg_class in access exclusive mode';
both_go_on('the catalog', $all);
both_go_on('the catalog, and replayd starts', $all, sub {
	my $killed = $p->replayd;
	kill KILL => $killed;
	wait_until('the next replayd', sub { ($p->replayd // $killed) != $killed });
});
is($p->stop('INT'), 0, 'stops');
done_testing;
