# A server that sends garbage: its client gets an error or the end of the
# connection, memory stays bounded, other sessions go on.
use strict;
use warnings;
use Test::More;
use PGW::Babbler;
use PGW::Census;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Wire;

my $c = PGW::Cluster->new(sql => 'create table t (id int primary key, v text);'
	. " insert into t values (1, 'v')");
my $b = PGW::Babbler->new($c);
my $p = PGW::Proxy->new($b, env => { PGWITNESS_DEBUGGER => 1 },
	conf => { proxy => { authentication_timeout => '15s' },
		backend => { host => '127.0.0.1', port => $b->port } });
$p->settled;
my $census = PGW::Census->new($p);
my $other = $p->wire;

# What a client asks: queries that are captured and not, extended, COPY.
my @asked = (Query("update t set v = 'w' where id = 1"), Query('select 1'),
	Parse("insert into t values (2, 'x')"), Bind([]), Execute(), Sync(),
	Query('copy t from stdin'), CopyData("3\tz\n"), CopyDone(),
	Query('begin'), Query('delete from t'), Query('commit'), Terminate());

my @names = $b->names;
cmp_ok(scalar @names, '>', 30, scalar(@names) . ' kinds of garbage');
my %must_close = map { $_ => 1 } qw(close http length_3 negative long_error
	error_without_end ready_empty ready_long noise sasl_garbage session_close
	session_length_0 session_noise);

# All at once: some are let in only to authentication_timeout.
sub begin
{
	my ($name) = @_;
	my $w = $p->wire(raw => 1);
	$w->send(Startup(0x30000, user => 'postgres', database => 'postgres',
		application_name => "babble $name"));
	return $w;
}
my %wire = map { $_ => begin($_) } @names;

# A connection that the server holds for ever is the client's to end, as
# without the proxy: what comes within a second is looked at.
sub survives
{
	my ($name) = @_;
	my $w = $wire{$name};
	my @m = eval { $w->read_to('Z') };
	eval { $w->send(@asked) } if @m && $m[-1][0] eq 'Z';
	$w->{seconds} = 1 unless $must_close{$name};
	push @m, eval { $w->read_all };
	note("$name: ", join('', map { $_->[0] } @m[0 .. ($#m < 20 ? $#m : 20)]),
		$w->{eof} ? ' and closed' : ' and held');
	my @l = $other->ask(Query('select 1'));
	is(join('', map { $_->[0] } @l), 'TDCZ', "$name: others go on");
	ok($w->{eof}, "$name: closed") if $must_close{$name};
}

survives($_) for @names;
cmp_ok($census->peak_kb, '<', 150_000, 'memory is bounded')
	or diag($census->peak_kb);
$_->close for values %wire;
$b->hang_up;
my @said = $p->operator_log(event => qr/^server_protocol/);
ok((grep { $_->{level} eq 'error' && $_->{client} } @said),
	'the log says that the server broke the protocol');
is_deeply([$p->operator_log(event => qr/crashed|child_failed/)], [],
	'no process fell over');
is($c->safe_psql('select v from t'), 'v', 'nothing of it reached the table');
$other->send(Terminate());
$other->close;
$census->is_as_before('processes and descriptors are given back');
my ($tx) = grep { $_->{query} =~ /mended/ }
	$p->witness("update t set v = 'mended' where id = 1");
is($tx && $tx->{outcome}{outcome}, 'committed', 'and the next is witnessed');
is(($p->verify)[0], 0, 'the evidence is whole');
done_testing;
