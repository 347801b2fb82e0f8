# auth_method = scram-sha-256: the proxy admits clients by SCRAM secrets.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(hmac_sha256 sha256);
use MIME::Base64 qw(encode_base64 decode_base64);
use PGW::Certs;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until spew slurp);
use PGW::Wire;

my $ca = PGW::Certs->new('ca');
my $cert = $ca->issue('proxy', 'proxy', 'IP:127.0.0.1');
my $c = PGW::Cluster->new(conf => $cert->server_conf, sql => q{
	create role ann login password 'opensesame';
	create role "b""ob" login password 'pass"word';
	create role lena login password E'gr\u00fc\u00df\u2168';
	set password_encryption = md5;
	create role mdfive login password 'md5';
	create role app login password 'apppass';
	create role limited login connection limit 0;
	create table t (id int primary key, v text);
	grant all on t to app;
}, hba => "local all postgres trust\nhost all postgres,pgwitness 127.0.0.1/32 trust\n"
	. "local all pgwitness trust\nhost all all 127.0.0.1/32 md5\n");
my $users = q{select format('"%s" "%s"', replace(rolname, '"', '""'), rolpassword)
	from pg_authid where rolpassword is not null};

my $p = PGW::Proxy->new($c->tcp, no_start => 1, conf => {
	proxy => { auth_method => 'scram-sha-256', auth_file => 'users',
		$cert->proxy_conf, ssl => 'on' },
	backend => { client_user => 'app', client_passfile => 'apppass',
		sslmode => 'require' } });
spew($p->dir . '/users', $c->safe_psql($users)
	. qq(\n"plain" "secret"\n"broken" "SCRAM-SHA-256\$4096:xx\$yy:zz"\n));
spew($p->dir . '/apppass', '*:*:*:app:apppass');
$p->start;

# --- psql ---

my %tls = (sslmode => 'verify-full', sslrootcert => $ca->cert);
my @in = (['in clear text', {}], ['in TLS', \%tls]);
for (@in) {
	my ($how, $conn) = @$_;
	is(tries('ann', 'opensesame', $conn), 'app', "$how: the right password");
	like(tries('ann', 'opensesame ', $conn), refused('ann'),
		"$how: a wrong one");
	is(tries('b"ob', 'pass"word', $conn), 'app',
		"$how: quotes in name and password");
	is(tries('lena', "gr\xc3\xbc\xc3\x9f\xe2\x85\xa8", $conn), 'app',
		"$how: a password that SASLprep changes");
	is(tries('lena', "gr\xc3\xbc\xc3\x9fIX", $conn), 'app',
		"$how: and what it is changed to");
	like(tries('nobody', 'x', $conn), refused('nobody'),
		"$how: an unknown user");
	like(tries('mdfive', 'md5', $conn), refused('mdfive'),
		"$how: a user with an md5 secret");
	like(tries('plain', 'secret', $conn), refused('plain'),
		"$how: a user with a plain one");
	like(tries('broken', '', $conn) . tries('broken', 'x', $conn),
		refused('broken'), "$how: a user with a damaged one");
}
is(tries('ann', 'opensesame', { %tls, channel_binding => $_ }), 'app',
	"channel_binding=$_ in TLS") for qw(disable prefer require);
like(tries('ann', 'opensesame', { channel_binding => 'require',
	sslmode => 'disable' }), qr/channel binding required, but SSL not in use/,
	'channel_binding=require in clear text: libpq refuses');
like(tries('ann', 'wrong', { %tls, channel_binding => 'require' }),
	refused('ann'), 'a wrong password with channel binding');
like(tries('nobody', 'wrong', { %tls, channel_binding => 'require' }),
	refused('nobody'), 'and an unknown user');

sub tries
{
	my ($user, $password, $conn) = @_;
	my ($rc, $out, $err) = $p->psql('select current_user', user => $user,
		password => $password, conn => $conn);
	return $rc ? $err : $out;
}
sub refused { return qr/FATAL:  password authentication failed for user "\Q$_[0]\E"/ }

# What was admitted is served in TLS, on both sides.
is($p->safe_psql('select ssl from pg_stat_ssl where pid = pg_backend_pid()',
	user => 'ann', password => 'opensesame', conn => \%tls), 't',
	"libpq's login at the server is in TLS");
$p->safe_psql("insert into t select g, repeat('x', 1000) from "
	. 'generate_series(1, 3000) g', user => 'ann', password => 'opensesame');
is($p->safe_psql('select sum(length(v)) from t; select v from t',
	user => 'ann', password => 'opensesame') =~ tr/x//, 3e6,
	"3 MB through libpq's TLS");
is($p->safe_psql("create temp table big (v text); copy big from stdin;\n"
	. ('y' x 999 . "\n") x 5000 . "\\.\nselect sum(length(v)) from big",
	user => 'ann', password => 'opensesame'), 999 * 5000, '5 MB in');
my $session = $p->session(user => 'ann', password => 'opensesame');
$session->query("update t set v = 'scram' where id = 1");
$session->close;
$c->safe_psql('create table if not exists pgw_fence (id bigint primary key);'
	. 'grant all on pgw_fence to app');
my ($tx) = grep { $_->{query} =~ /'scram'/ } $p->settled(psql => {
	user => 'ann', password => 'opensesame' });
is($tx->{verdict}{verdict}, 'verified', 'witnessed');

# --- message by message ---

# SCRAM as RFC 5802 has it; %o: what is done wrong.  The messages after the
# last of ours, and the server-first-message.
sub exchange
{
	my ($w, $user, $password, %o) = @_;
	$w->send(Startup(0x30000, user => $user, database => 'postgres'));
	my $list = $w->read_message;
	my $bare = 'n=' . ($o{name} // '') . ',r=' . ($o{nonce} // 'abcdefgh');
	my $gs2 = $o{gs2} // 'n,,';
	my $mechanism = $o{mechanism} // 'SCRAM-SHA-256';
	$w->send(Message('p', "$mechanism\0"
		. pack 'N/a*', $o{first} // "$gs2$bare"));
	my $m = $w->read_message // return ($list);
	return ($list, $m) if $m->[0] ne 'R';
	my $server_first = substr $m->[1], 4;
	my ($nonce, $salt, $i) = $server_first =~ /^r=(.*),s=(.*),i=(\d+)$/;
	my $u = my $salted = hmac_sha256(decode_base64($salt) . "\0\0\0\1",
		$password);
	$salted ^= $u = hmac_sha256($u, $password) for 2 .. $i;
	my $key = hmac_sha256('Client Key', $salted);
	my $final = 'c=' . encode_base64(($o{c} // $gs2) . ($o{cbind} // ''), '')
		. ",r=$nonce";
	my $auth = "$bare,$server_first,$final";
	my $proof = $key ^ hmac_sha256($auth, sha256($key));
	$w->send(Message('p', $o{final}
		// "$final,p=" . encode_base64($proof, '')));
	my @rest = $o{ready} ? $w->read_ready : $w->read_all;
	my $v = encode_base64(hmac_sha256($auth,
		hmac_sha256('Server Key', $salted)), '');
	return ($list, $m, @rest, $v);
}
sub in_clear { return exchange($p->wire(raw => 1), @_) }
sub in_tls { return exchange($p->wire(raw => 1, tls => {}), @_) }

my ($list, $first, $fin, @more) = in_clear('ann', 'opensesame', ready => 1);
is("$list->[0]$list->[1]", "R\0\0\0\x0aSCRAM-SHA-256\0\0",
	'the mechanism in clear text');
is($fin->[1], "\0\0\0\x0cv=$more[-1]", 'the server proves itself');
is("$more[0][0]$more[0][1]", "R\0\0\0\0", 'then AuthenticationOk');
is($more[-2][0], 'Z', 'and ReadyForQuery');
($list) = in_tls('ann', 'opensesame', ready => 1);
is($list->[1], "\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
	'the mechanisms in TLS');

# An unknown user, one without a secret and a wrong password: the same.
my @wrong = map { my @m = in_clear($_, 'wrong'); \@m }
	qw(ann nobody mdfive plain nobody);
is_deeply([map { my $f = fields($_->[2]); $f->{M} =~ s/".*"/""/; $f } @wrong],
	[({ S => 'FATAL', V => 'FATAL', C => '28P01',
		M => 'password authentication failed for user ""' }) x 5],
	'the same error for all');
my @said = map { substr $_->[1][1], 4 } @wrong;
is(1, (keys %{{ map { s/s=[^,]*/length $&/er =~ s/r=[^,]*/length $&/er => 1 }
	@said }}), 'server-first messages of one form');
my @salts = map { /s=([^,]*)/ } @said;
is($salts[1], $salts[4], 'an unknown user has the same salt each time');
isnt($salts[1], $salts[2], 'and another than others');
$p->restart;
my ($salt) = (in_clear('nobody', 'wrong'))[1][1] =~ /s=([^,]*)/;
is($salt, $salts[1], 'after a restart, too');

sub says
{
	my ($how, $user, $want, $name, %o) = @_;
	my @m = $how->($user, 'opensesame', %o);
	my ($e) = grep { ref && $_->[0] eq 'E' } @m;
	my $f = $e ? fields($e) : {};
	like("$f->{C} $f->{M}", $want, $name);
	ok(!(grep { ref && $_->[0] =~ /[ZKS]/ } @m), 'and nobody is let in');
}

says(\&in_tls, 'ann', qr/^28000 SCRAM channel binding negotiation error/,
	'gs2 flag y in TLS: somebody took PLUS away', gs2 => 'y,,');
is((in_clear('ann', 'opensesame', gs2 => 'y,,', ready => 1))[-2][0], 'Z',
	'in clear text it is true');
says(\&in_clear, 'ann', qr/^08P01 unexpected SCRAM channel-binding attribute/,
	'c= that says something else than the header', gs2 => 'y,,', c => 'n,,');
says(\&in_clear, 'ann', qr/^08P01 client selected an invalid SASL/,
	'PLUS in clear text', mechanism => 'SCRAM-SHA-256-PLUS');
says(\&in_clear, 'ann', qr/^08P01 client selected an invalid SASL/,
	'an unknown mechanism', mechanism => 'PLAIN');
says(\&in_clear, 'ann', qr/^08P01 malformed SCRAM message/,
	'binding without PLUS', gs2 => 'p=tls-server-end-point,,');
says(\&in_tls, 'ann', qr/^28000 SCRAM channel binding check failed/,
	'another certificate', mechanism => 'SCRAM-SHA-256-PLUS',
	gs2 => 'p=tls-server-end-point,,', cbind => 'x' x 32);
says(\&in_tls, 'ann', qr/^08P01 unsupported SCRAM channel-binding type/,
	'another type of binding', mechanism => 'SCRAM-SHA-256-PLUS',
	gs2 => 'p=tls-unique,,', cbind => 'x' x 32);
says(\&in_clear, 'ann', qr/^0A000 client uses authorization identity/,
	'an authorization identity', gs2 => 'n,a=postgres,');
says(\&in_clear, 'ann', qr/^08P01 malformed SCRAM message/, "first: '$_'",
	first => $_) for '', 'n', 'n,,', "n,,n=,r=", "n,,n=,r=a\0b";
says(\&in_clear, 'ann', qr/^08P01 (malformed|invalid)/, 'a nonce of 900 bytes '
	. 'is taken, one of 2000 refused', nonce => 'x' x 2000);
is((in_clear('ann', 'opensesame', nonce => 'x' x 900, ready => 1))[-2][0], 'Z',
	'the one of 900');
says(\&in_clear, 'ann', qr/^08P01/, "final: '$_'", final => $_)
	for '', 'c=biws', 'c=biws,r=abcdefgh,p=AAAA', 'x' x 5000;
for (['Query instead of an answer', Query('select 1'),
	'expected SASL response, got message type 81'],
	['a response of length -2', Message('p', "SCRAM-SHA-256\0"
		. pack 'N', -2 & 0xffffffff), 'invalid message format'],
	['a response without a length', Message('p', "SCRAM-SHA-256\0"),
		'invalid message format'],
	['a mechanism without an end', Message('p', 'SCRAM-SHA-256'),
		'invalid message format'],
	['more behind it', Message('p', "SCRAM-SHA-256\0" . pack('N', 3)
		. 'n,,n=,r=x'), 'invalid message format'],
	['a message of 100 MB', "p\x06\x00\x00\x00", 'invalid message length']) {
	my ($name, $bytes, $want) = @$_;
	my $w = $p->wire(raw => 1);
	$w->send(Startup(0x30000, user => 'ann'));
	$w->read_message;
	$w->send($bytes);
	my ($m) = $w->read_all;
	is(fields($m)->{M}, $want, $name);
}
my $w = $p->wire(raw => 1);
$w->send(Startup(0x30000, user => 'ann'));
$w->read_message;
$w->send(Message('p', "SCRAM-SHA-256\0" . pack 'N', -1 & 0xffffffff));
is($w->read_message->[1], "\0\0\0\x0b", 'no initial response: it is asked for');
$w->send(Message('p', 'n,,n=,r=abc'));
like($w->read_message->[1], qr/^\0\0\0\x0br=abc/, 'and taken');
$w->close;

# --- the file, the timeout, the server's errors ---

spew($p->dir . '/users', slurp($p->dir . '/users')
	. '"new" ' . (slurp($p->dir . '/users') =~ /^"ann" (.*)$/m)[0] . "\n");
is(tries('new', 'opensesame', {}), 'app', 'a line added to the file acts at once');
rename $p->dir . '/users', $p->dir . '/away';
like(tries('ann', 'opensesame', {}), refused('ann'),
	'a file that cannot be read admits nobody');
ok((grep { $_->{message} =~ /cannot read auth_file/ }
	$p->operator_log(event => qr/^auth_file$/)), 'the log says why');
rename $p->dir . '/away', $p->dir . '/users';
$p->write_conf({ proxy => { authentication_timeout => '1s' } });
$p->restart;
$w = $p->wire(raw => 1);
$w->send(Startup(0x30000, user => 'ann'));
$w->read_message;
my ($late) = $w->read_all;
is(join(' ', @{ fields($late) }{qw(C M)}),
	'57014 canceling authentication due to timeout', 'authentication_timeout');
$p->write_conf({ proxy => { authentication_timeout => '60s' },
	backend => { client_user => 'limited' } });
$c->safe_psql("set password_encryption = md5; alter role limited password 'apppass'");
spew($p->dir . '/apppass', '*:*:*:*:apppass');
$p->restart;
my $e = (in_clear('ann', 'opensesame'))[3];
is(join(' ', @{ fields($e) }{qw(C M)}), '53300 could not log in to the server: '
	. 'too many connections for role "limited"', "the server's SQLSTATE");
$p->write_conf({ backend => { client_user => 'app' } });
spew($p->dir . '/apppass', '*:*:*:app:wrong');
$p->restart;
$e = (in_clear('ann', 'opensesame'))[3];
is(join(' ', @{ fields($e) }{qw(C M)}), '08006 could not log in to the server: '
	. 'password authentication failed for user "app"',
	'but a login of ours that fails is not the client\'s');
ok(!(grep { /opensesame|apppass/ } map { $_->{message} // '' }
	$p->operator_log), 'no password in the operator log');
is($p->stop('TERM'), 0, 'stops');
done_testing;
