# A server that sends garbage: its client gets an error or the end of the
# connection, memory stays bounded, other sessions go on.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use PGW::Babbler;
use PGW::Census;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Wire;

my $timeout = 3;
my $c = PGW::Cluster->new(sql => 'create table t (id int primary key, v text);'
	. " insert into t values (1, 'v')");
my $b = PGW::Babbler->new($c);
my $p = PGW::Proxy->new($b, env => { PGWITNESS_DEBUGGER => 1 },
	conf => { proxy => { authentication_timeout => "${timeout}s" },
		backend => { host => '127.0.0.1', port => $b->port } });
$p->settled;
my $census = PGW::Census->new($p);
my $other = $p->wire;

# What a client asks: queries that are captured and not, extended, COPY.
my @asked = (Query("update t set v = 'w' where id = 1"), Query('select 1'),
	Parse("insert into t values (2, 'x')"), Bind([]), Execute(), Sync(),
	Query('copy t from stdin'), CopyData("3\tz\n"), CopyDone(),
	Query('begin'), Query('delete from t'), Query('commit'), Terminate());

# A connection that the server holds for ever is the client's to end, as
# without the proxy.
sub survives
{
	my ($name) = @_;
	my $w = $p->wire(raw => 1);
	my $start = time;
	$w->send(Startup(0x30000, user => 'postgres', database => 'postgres',
		application_name => "babble $name"));
	local $w->{seconds} = $timeout + 2;
	my @m = eval { $w->read_to('ZE') };
	eval { $w->send(@asked) } if @m && $m[-1][0] eq 'Z';
	$w->{seconds} = 1 if @m && $m[-1][0] eq 'Z';
	push @m, eval { $w->read_all };
	my $closed = $w->{eof};
	$w->close;
	note("$name: ", join('', map { $_->[0] } @m[0 .. ($#m < 20 ? $#m : 20)]),
		$closed ? ' and closed' : ' and held', sprintf ' %.1f s', time - $start);
	my @l = $other->ask(Query('select 1'));
	is(join('', map { $_->[0] } @l), 'TDCZ', "$name: others go on");
	return ($closed, @m);
}

my @names = $b->names;
cmp_ok(scalar @names, '>', 30, scalar(@names) . ' kinds of garbage');
my %closed;
for my $name (@names) { ($closed{$name}) = survives($name) }
ok($closed{$_}, "$_: closed") for qw(close http length_3 negative long_error
	error_without_end ready_empty ready_long noise sasl_garbage session_close
	session_length_0 session_noise);
cmp_ok($census->peak_kb, '<', 150_000, 'memory is bounded')
	or diag($census->peak_kb);
my @said = $p->operator_log(event => qr/^server_protocol/);
ok((grep { $_->{level} eq 'error' && $_->{client} } @said),
	'the log says that the server broke the protocol');
is_deeply([$p->operator_log(event => qr/crashed|child_failed/)], [],
	'no process fell over');
is($c->safe_psql('select v from t'), 'v', 'nothing of it reached the table');
$other->send(Terminate());
$other->close;
$census->is_as_before('processes and descriptors are given back', 30);
my ($tx) = grep { $_->{query} =~ /mended/ }
	$p->witness("update t set v = 'mended' where id = 1");
is($tx && $tx->{outcome}{outcome}, 'committed', 'and the next is witnessed');
is(($p->verify)[0], 0, 'the evidence is whole');
done_testing;
