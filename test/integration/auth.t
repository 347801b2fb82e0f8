# Who may connect: the server's own answer, or the proxy's file.
use strict;
use warnings;
use Test::More;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(spew);
use PGW::Wire;

my $c = PGW::Cluster->new(hba => "local all alice scram-sha-256\n"
	. "local all bob md5\nlocal all carol password\nlocal all dave reject\n"
	. "local all all trust\nhost all all 127.0.0.1/32 trust\n",
	sql => q{
	create role alice login password 'wonder"land';
	set password_encryption = md5;
	create role bob login password 'builder';
	create role carol login password 'christmas';
	create role dave login;
	create role eve login connection limit 0;
	create role app login;
	create table t (id int primary key, v text);
	grant all on t to app, alice;
});

# --- passthrough: the server decides ---

my $p = PGW::Proxy->new($c);
for (['scram-sha-256', 'alice', 'wonder"land'], ['md5', 'bob', 'builder'],
	['password', 'carol', 'christmas']) {
	my ($method, $user, $password) = @$_;
	is($p->safe_psql('select current_user', user => $user,
		password => $password), $user, "$method: the right password");
	is_deeply([same_error($user, 'wrong')], [],
		"$method: a wrong one gets the server's own error");
}
is_deeply([same_error(@$_)], [], "$_->[0]: the server's own error")
	for ['nobody', ''], ['dave', ''], ['eve', ''];
is_deeply([same_error('postgres', '', dbname => 'nowhere')], [],
	'a database that is not there');

sub same_error
{
	my ($user, $password, %o) = @_;
	my @e = map { ($_->psql('select 1', user => $user, verbose => 'verbose',
		password => $password, %o))[2] } $c, $p;
	s/^psql: error: connection to server (?:on socket "[^"]*"|at "[^"]*"(?: \([^)]*\))?, port \d+) failed: //m
		for @e;
	return $e[0] eq $e[1] && $e[0] =~ /FATAL/ ? () : @e;
}

my @errors = map {
	my $w = $_->wire(raw => 1);
	$w->send(Startup(0x30000, user => 'nobody', database => 'postgres'));
	[map { "@$_" } $w->read_all]
} $c, $p;
is_deeply($errors[1], $errors[0], 'the error message is byte-equal');

$p->safe_psql("insert into t values (1, 'a')", user => 'alice',
	password => 'wonder"land');
my ($tx) = $p->settled;
is($tx->{record}{user}, 'alice', 'the record names the user');
ok(!(grep { /wonder/ } $p->evidence_lines), 'no password in the evidence');
ok(!(grep { ($_->{message} // '') =~ /wonder|builder/ } $p->operator_log),
	'no password in the operator log');
$p->safe_psql("alter role app password 'topsecret'");
$p->settled(open => 1);
ok(!(grep { /topsecret/ } $p->evidence_lines),
	'a password in ALTER ROLE is hidden');
is($p->stop('TERM'), 0, 'stops');

# --- trust: the proxy admits, its own login on the server ---

$p = PGW::Proxy->new($c, conf => { proxy => { auth_method => 'trust' },
	backend => { client_user => 'app' } });
is($p->safe_psql('select current_user', user => 'whoever'), 'app',
	'trust: everyone is the configured server user');
$p->safe_psql("insert into t values (2, 'b')", user => 'whoever');
$c->safe_psql('grant all on pgw_fence to app');
($tx) = grep { $_->{query} =~ /values \(2/ } $p->settled;
is($tx->{verdict}{verdict}, 'verified', 'and is witnessed');
my $w = $p->wire(startup => { application_name => 'trusted' });
ok($w->{pid}, 'there is a BackendKeyData');
$w->send(Query('select pg_sleep(600)'));
PGW::Util::wait_until('the sleep', sub { $c->safe_psql('select count(*) from '
	. "pg_stat_activity where wait_event = 'PgSleep'") });
my $cancel = $p->wire(raw => 1);
$cancel->send(CancelRequest($w->{pid}, $w->{key}));
ok($cancel->closed, 'its CancelRequest is taken');
is(fields(($w->read_ready)[-2])->{C}, '57014', 'and cancels');
$w->close;
is($p->stop('TERM'), 0, 'stops');

# --- password: the proxy's own file ---

$p = PGW::Proxy->new($c, no_start => 1, conf => {
	proxy => { auth_method => 'password', auth_file => 'users' },
	backend => { client_user => 'app' } });
spew($p->dir . '/users', qq("ann" "opensesame"\n"bo" "x y"\n)
	. '"cle" "' . $c->safe_psql("select rolpassword from pg_authid where "
	. "rolname = 'alice'") . qq("\n"bob" ") . $c->safe_psql('select rolpassword '
	. "from pg_authid where rolname = 'bob'") . qq("\n"none" ""\n));
$p->write_conf({ proxy => { auth_file => $p->dir . '/users' } });
$p->start;
is($p->safe_psql('select current_user', user => 'ann',
	password => 'opensesame'), 'app', 'password: a good one');
is($p->safe_psql('select 1', user => 'bo', password => 'x y'), '1',
	'password: with a blank in it');
is($p->safe_psql('select 1', user => 'cle', password => 'wonder"land'), '1',
	'password: a SCRAM secret');
is($p->safe_psql('select 1', user => 'bob', password => 'builder'), '1',
	'password: an md5 secret');
for (['cle', 'wonderland'], ['bob', 'wrong'], ['none', 'x'],
	['ann', 'wrong'], ['ann', ''], ['cy', 'opensesame'], ['app', '']) {
	my ($rc, undef, $err) = $p->psql('select 1', user => $_->[0],
		password => $_->[1], verbose => 'verbose');
	is($rc, 2, "password: $_->[0] with '$_->[1]' is refused");
	like($err, qr/FATAL:.*password|no password supplied/,
		'by an error that says so');
}
$w = $p->wire(raw => 1);
$w->send(Startup(0x30000, user => 'ann', database => 'postgres'));
is($w->read_message->[0], 'R', 'the password is asked for');
$w->send(Query('select 1'));
my @m = $w->read_all;
is(join(' ', @{ fields($m[0]) }{qw(C M)}),
	'08P01 expected password response, got message type 81',
	'a message other than the password is a protocol error');
ok($w->{eof}, 'and closes');
for (["\0", '28P01 password authentication failed for user "ann"'],
	['opensesame', '08P01 invalid password packet size'],
	["opensesame\0x\0", '08P01 invalid password packet size'],
	['', '08P01 invalid password packet size'],
	['x' x 5000 . "\0", '08P01 invalid message length']) {
	$w = $p->wire(raw => 1);
	$w->send(Startup(0x30000, user => 'ann', database => 'postgres'));
	$w->read_message;
	$w->send(Message('p', $_->[0]));
	is(join(' ', @{ fields(($w->read_all)[0]) }{qw(C M)}), $_->[1],
		"a password message of " . length($_->[0]) . ' bytes: ' . $_->[1]);
}
is($p->stop('TERM'), 0, 'stops');

# --- the deadline, in passthrough ---

$p = PGW::Proxy->new($c, conf => {
	proxy => { authentication_timeout => '600s' } });
$w = $p->wire(raw => 1);
$w->send(Startup(0x30000, user => 'carol', database => 'postgres'));
is($w->read_message->[0], 'R', 'the server asks');
$w->send("p\x03\xff\xff\xff");
is(join(' ', @{ fields(($w->read_all)[0]) }{qw(C M)}),
	'08P01 invalid message length', 'a password of 64 MB is not waited for');
# Long enough for the server to ask first.
for my $limit (1, 10, 60) {
	$p->stop;
	$p->write_conf({ proxy => { authentication_timeout => "${limit}s" } });
	$p->start;
	$w = $p->wire(raw => 1);
	$w->send(Startup(0x30000, user => 'alice', database => 'postgres'));
	@m = $w->read_all;
	last if $m[0][0] eq 'R';
}
is(join('', map { $_->[0] } @m), 'RE', 'the server asks, in vain');
is(join(' ', @{ fields($m[-1]) }{qw(C M)}),
	'57014 canceling authentication due to timeout', 'authentication_timeout');
$w = $p->wire(raw => 1);
is(scalar(() = $w->read_all), 0, 'and for a client that says nothing');
is($p->stop('TERM'), 0, 'stops');
done_testing;
