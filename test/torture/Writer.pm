# A client of the torture: transactions of every kind, each with a token in
# its text, and a log of its own of what it was told.
#
# The log, one event a line, times in seconds:
#	C t0 port server_pid	connected, not before t0
#	S token kind t		the transaction's first byte is about to be sent
#	A token kind t0 t	its commit, sent at t0, was answered
#	R token kind why	it was answered that it did not commit
#	L token kind t		the connection went before the answer
#	D t t0			an established session ended; it began after t0
#	H token kind t		no answer within the deadline: a hang
#	Q token t		a reader got its answer
#
# SPDX-License-Identifier: PostgreSQL
package Writer;
use strict;
use warnings;
use IO::Select;
use PGW::Util qw(nap spew);
use PGW::Wire;
use Time::HiRes qw(time);

my $ROWS = 400;

# Kinds: [weight, code giving the messages of a transaction].  A message is
# [SQL] or raw bytes; the last one commits.
my %kinds = (
	insert => [30, sub { [_insert($_[1])] }],
	update => [18, sub { ["update acct set v = '$_[1]', n = n + 1 where id = "
		. (1 + int rand $ROWS)] }],
	delete => [8, sub { ["delete /* $_[1] */ from t where token = '"
		. (shift @{ $_[0]{deletable} } // 'none') . "'"] }],
	several => [14, sub { ['begin', _insert($_[1]),
		"update acct set v = '$_[1]' where id = $_[0]{id}",
		"delete from t where token = 'none$_[1]'", 'commit'] }],
	set => [4, sub { ["update acct set v = '$_[1]' where grp = $_[0]{id}"] }],
	rollback => [5, sub { ['begin', _insert($_[1]), 'rollback'] }],
	failed => [2, sub { ['begin', _insert($_[1]), _insert($_[1]), 'commit'] }],
	chained => [3, sub { ['begin', _insert($_[1]), "update acct set v = "
		. "'$_[1]' where id = $_[0]{id}", 'commit and chain', 'rollback'] }],
	# No column more: a table ever had at most 1,600.
	ddl => [1, sub { my $n = int rand 1e9; ['begin', _insert($_[1]),
		"alter table churn alter id set default $n",
		'alter table churn alter id drop default', 'commit'] }],
	do => [2, sub { ['do $$ begin ' . _insert($_[1]) . '; end $$'] }],
	extended => [3, sub { [\ (Parse("insert /* $_[1] */ into t values "
		. "(\$1, 0, 'x')") . Bind([$_[1]]) . Execute() . Sync())] }],
	block => [3, sub { ['begin', _insert($_[1]),
		\ (Parse("insert /* $_[1] */ into t values (\$1, 0, 'x')")
		. Bind(["$_[1]x"]) . Execute() . Sync()), 'commit'] }],
	long => [1, sub { ['begin', "update acct set v = '$_[1]' where id = "
		. $_[0]{id}, "insert into t values ('$_[1]', 1, '" . ('x' x (1000
		+ int rand 200_000)) . "')", 'commit'] }],
);
my @wheel = map { ($_) x $kinds{$_}[0] } sort keys %kinds;

sub _insert { return "insert into t values ('$_[0]', 0, 'x')" }

sub schema
{
	return <<"SQL";
create table t (token text primary key, n int, v text);
create table acct (id int primary key, grp int, n int, v text);
insert into acct select i, i % 40, 0, 'start' from generate_series(1, $ROWS) i;
create table churn (id int primary key);
SQL
}

# dir, id, endpoint, seed, rate (transactions a second), deadline, and what:
# transaction, read_some or fill.
# Runs until dir/stop is there (a signal would end a wait early); never
# returns.
sub run
{
	my ($class, %o) = @_;
	my $w = bless { n => 0, deletable => [], %o }, $class;
	srand $o{seed} + 1000 * $o{id};
	open $w->{log}, '>>', "$o{dir}/log.$o{id}" or die $!;
	my $next = time;
	until (-e "$o{dir}/stop") {
		$w->connect($w->{deadline}) or next;
		my $do = $w->{what};
		$w->$do;
		$next += (0.5 + rand) / $o{rate};
		$next = time if $next < time - 1;
		nap($next - time) if $next > time;
	}
	POSIX::_exit(0);
}

sub note
{
	my ($w, @words) = @_;
	$_ = sprintf '%.6f', $_ for grep { /^\d+\.\d+$/ } @words;
	syswrite $w->{log}, "@words\n";
}

sub connect
{
	my ($w, $seconds) = @_;
	return 1 if $w->{wire};
	my $end = time + $seconds;
	until (time > $end) {
		$w->{connected} = time;
		$w->{wire} = eval { PGW::Wire->new($w->{endpoint}, seconds => 10) };
		last if $w->{wire} && $w->{wire}{pid};
		delete $w->{wire};
		nap 0.02 + rand 0.05;
	}
	if (!$w->{wire}) {
		$w->note('H', 'connect', 'connect', time);
		return 0;
	}
	$w->{wire}{seconds} = $w->{deadline};
	my $port = $w->{wire}{sock}->sockport;
	spew("$w->{dir}/session.$w->{id}.new", "$port $w->{wire}{pid}");
	rename "$w->{dir}/session.$w->{id}.new", "$w->{dir}/session.$w->{id}";
	$w->note('C', $w->{connected}, $port, $w->{wire}{pid});
	return 1;
}

sub lost
{
	my ($w) = @_;
	$w->note('D', time, $w->{connected});
	$w->{wire}->close;
	delete $w->{wire};
	unlink "$w->{dir}/session.$w->{id}";
}

# One message and its answers: 'ok TAG', 'error SQLSTATE', 'lost' or 'hang'.
sub ask
{
	my ($w, $what) = @_;
	my @m = eval { $w->{wire}->ask(ref $what ? $$what : Query($what)) };
	return 'hang' if $@ && $@ =~ /no message within/;
	return 'lost' if !@m || $m[-1][0] ne 'Z';
	my ($error) = grep { $_->[0] eq 'E' } @m;
	return 'error ' . fields($error)->{C} if $error;
	return 'ok ' . ((tags(@m))[-1] // '');
}

sub token { my ($w) = @_; return sprintf 'T%dn%dz', $w->{id}, ++$w->{n} }

sub transaction
{
	my ($w) = @_;
	my $kind = $wheel[rand @wheel];
	my $token = $w->token;
	my @messages = @{ $kinds{$kind}[1]->($w, $token) };
	my ($answer, $t0, $failed);
	$w->note('S', $token, $kind, time);
	for (@messages) {
		$t0 = time;
		$answer = $w->ask($_);
		return $w->in_doubt($token, $kind, $answer)
			if $answer eq 'lost' || $answer eq 'hang';
		$w->acknowledged($token, $kind, $t0) if $answer eq 'ok COMMIT';
		$failed //= $answer if $answer =~ /^error/;
		last if $failed && @messages == 1;
	}
	if (@messages == 1 && !$failed) {
		# Nothing changed, nothing to be recorded.
		return $w->note('R', $token, $kind, 'nothing')
			if $answer =~ / 0$/;
		$w->acknowledged($token, $kind, $t0);
	} elsif ($answer ne 'ok COMMIT' && $kind ne 'chained') {
		$failed //= $answer;
		$w->note('R', $token, $kind, $failed =~ s/ /_/gr);
		$w->ask('rollback') if $answer =~ /^error/ && @messages > 1;
	}
}

# As fast as it can.
sub fill
{
	my ($w) = @_;
	for (1 .. 20) {
		my $token = $w->token;
		$w->note('S', $token, 'fill', my $t0 = time);
		my $answer = $w->ask("insert into t values ('$token', 1, '"
			. ('x' x 25_000) . "')");
		die "fill: $answer\n" if $answer !~ /^ok/;
		$w->acknowledged($token, 'fill', $t0);
	}
}

sub acknowledged
{
	my ($w, $token, $kind, $t0) = @_;
	$w->note('A', $token, $kind, $t0, time);
	push @{ $w->{deletable} }, $token if $kind eq 'insert';
}

sub in_doubt
{
	my ($w, $token, $kind, $answer) = @_;
	$w->note($answer eq 'hang' ? 'H' : 'L', $token, $kind, time);
	$w->lost;
}

sub read_some
{
	my ($w) = @_;
	my $token = $w->token;
	$w->note('S', $token, 'read', time);
	my $answer = $w->ask("select /* $token */ count(*), max(v) from acct "
		. 'where grp = ' . int rand 40);
	return $w->note('Q', $token, time) if $answer =~ /^ok/;
	$w->in_doubt($token, 'read', $answer) if $answer !~ /^error/;
}

1;
