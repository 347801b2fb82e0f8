# Many clients at once, hostile and honest: slow ones that never log in, cancel
# requests, idle ones, ones that come and go.  LONG=1: 1,000 idle clients and a
# longer churn.
use strict;
use warnings;
use Test::More;
use PGW::Census;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until spew new_dir);
use PGW::Wire;

my $long = $ENV{LONG};
my $idle = $long ? 1000 : 30;
my $most = $long ? 1050 : 40;
my $timeout = 3;
my $c = PGW::Cluster->new(conf => 'max_connections = ' . ($most + 60));
my $p = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 },
	conf => { proxy => { max_connections => $most } });
$p->settled;
my $census = PGW::Census->new($p);
my $other = $p->wire;

sub others_are_served
{
	my ($when, $w) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join('', map { $_->[0] } ($w // $other)->ask(Query('select 1'))),
		'TDCZ', "$when: others are served");
}

# --- slow-loris: more than there are places, one byte each, then silence ---

# A proxy of their own: elsewhere a login may take as long as it takes.
{
	my $hasty = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 },
		conf => { proxy => { max_connections => $most,
			authentication_timeout => "${timeout}s" } });
	my $before = PGW::Census->new($hasty);
	my $guest;
	my $comes_in = sub { $guest = eval { $hasty->wire } };
	wait_until('a login in time', $comes_in);
	my @slow = map { $hasty->wire(raw => 1) } 1 .. $most + 30;
	$_->send("\0") for @slow;
	others_are_served('slow clients', $guest);
	# Some go on, a byte now and then: the time counts from the beginning.
	my @on = @slow[0 .. 4];
	my $lost = eval { wait_until('them to be closed', sub {
		@on = grep { $_->send("\0"); !$_->closed(0.1) } @on;
		return !@on;
	}); 1 };
	ok($lost, 'slow clients lose their places') or diag($@);
	is((grep { !$_->closed } @slow), 0, 'all of them are closed');
	$_->close for @slow;
	others_are_served('afterwards', $guest);
	$guest->send(Terminate());
	$guest->close;
	ok(eval { wait_until('a place', $comes_in); 1 },
		'and their places are free') or diag($@);
	$guest->send(Terminate());
	$guest->close;
	$before->is_as_before('slow clients: all is given back');
}

# --- too many: 53300, and the places come back ---

{
	my @many;
	my $state = '';
	# Those of before may not all have left their places.
	eval { wait_until('all places to be taken', sub {
		my $w = $p->wire(raw => 1);
		$w->send(Startup(0x30000, user => 'postgres',
			database => 'postgres'));
		my @m = $w->read_to('ZE');
		push @many, $w if $m[-1][0] eq 'Z';
		$state = $m[-1][0] eq 'E' ? fields($m[-1])->{C} : '';
		return $state && @many >= $most - 1 || @many > $most + 5;
	}) };
	is($state, '53300', 'too many clients: 53300');
	is(@many + 1, $most, 'max_connections are let in, another\'s with them');
	$_->close for @many;
	ok(eval { wait_until('a place', sub { eval { $p->safe_psql('select 1') } });
		1 }, 'and places come back');
}

# --- a storm of cancel requests: one is right ---

{
	my $victim = $p->wire;
	my $bystander = $p->wire;
	$victim->send(Query('select pg_sleep(120)'));
	$bystander->send(Query('select pg_sleep(4)'));
	wait_until('both to sleep', sub { $c->safe_psql('select count(*) from '
		. "pg_stat_activity where query ~ '^select pg_sleep'") eq '2' });
	my ($pid, $key) = @$victim{qw(pid key)};
	my $wrong = $key ^ "\1\2\3\4";
	my @requests = map { ($wrong ne $key ? CancelRequest($pid, $wrong) : (),
		CancelRequest($pid + 1, $key),
		substr(CancelRequest($pid, $key), 0, 11),
		pack('N2', 12, 80877102) . pack('N', $pid),
		CancelRequest($bystander->{pid}, $key)) } 1 .. 8;
	my @storm = map { my $w = $p->wire(raw => 1); $w->send($_); $w } @requests;
	my $right = $p->wire(raw => 1);
	$right->send(CancelRequest($pid, $key));
	is(scalar @storm, 40, '40 cancel requests');
	my @m = $victim->read_ready;
	is((map { $_->[0] eq 'E' ? fields($_)->{C} : () } @m)[0], '57014',
		'the right one cancels') or diag(explain(\@m));
	my $said = 0;
	# Half a request need not be waited for.
	for (@storm, $right) {
		shutdown $_->{sock}, 1;
		$said++ if (eval { $_->read_byte } // '') ne '';
		$_->close;
	}
	is($said, 0, 'no cancel request gets an answer');
	@m = $bystander->read_ready;
	is(join('', map { $_->[0] } @m), 'TDCZ', 'and nobody else is cancelled');
	is(($victim->ask(Query('select 1')))[1][1], "\0\1\0\0\0\1" . '1',
		'the victim goes on');
	$_->send(Terminate()), $_->close for $victim, $bystander;
}

# --- idle clients, and those that come and go ---

{
	my @idle = map { $p->wire } 1 .. $idle;
	my $file = new_dir('churn') . '/one.sql';
	spew($file, "select 1;\n");
	my ($rc, $out, $err) = $p->pgbench('-n', '-C', '-f', $file, '-c', 4,
		'-j', 2, ($long ? ('-T', 60) : ('-t', 40)));
	is($rc, 0, 'pgbench -C beside idle clients') or diag($err);
	unlike($err, qr/abort|error/i, 'without an error');
	note($out);
	others_are_served('beside idle clients');
	my $answered = grep { join('', map { $_->[0] }
		$_->ask(Query('select 1'))) eq 'TDCZ' } @idle;
	is($answered, $idle, "all $idle idle clients are still served");
	note('largest peak of a backend: ' . $census->peak_kb . ' kB');
	# Some say so, some just leave.
	for my $i (0 .. $#idle) {
		$idle[$i]->send(Terminate()) if $i % 2;
		$idle[$i]->close;
	}
}
$other->send(Terminate());
$other->close;
$census->is_as_before('processes and descriptors are given back');
is_deeply([$p->operator_log(event => qr/crashed|child_failed/)], [],
	'no process fell over');
ok(eval { wait_until('the sessions to end', sub {
	$c->safe_psql("select count(*) from pg_stat_activity where backend_type = "
		. "'client backend' and usename = 'postgres'") == 1 }); 1 },
	'the server is left') or diag($@);
done_testing;
