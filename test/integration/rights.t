# What a session's process may still do when the first byte of its client
# comes: nothing but what it needs.
use strict;
use warnings;
no warnings 'portable';	# addresses of 64 bits
use Test::More;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until slurp cmdline);
use PGW::Wire;

my $c = PGW::Cluster->new;
# So that /proc shows what a process has (include/procsig.h).
my $p = PGW::Proxy->new($c, env => { PGWITNESS_DEBUGGER => 1 });
$p->settled;

sub field { my ($pid, $f) = @_; return (slurp("/proc/$pid/status") =~ /^$f:\s+(\S+)/m)[0] }
sub targets { my ($pid) = @_; return map { readlink($_) // () } glob "/proc/$pid/fd/*" }

# Bytes of the lanes' segment that a process has mapped.
sub mapped
{
	my ($pid) = @_;
	my $sum = 0;
	for (slurp("/proc/$pid/maps") =~ m{^([0-9a-f]+-[0-9a-f]+) .*/dev/shm/}mg) {
		my ($from, $to) = map { hex } split /-/;
		$sum += $to - $from;
	}
	return $sum;
}

# What we got from whoever started us, and so have they.
my %ours = map { (readlink($_) // '') => 1 } glob "/proc/$$/fd/*";

# Descriptors above 2 that a program started by the process would get.
sub inherited
{
	my ($pid) = @_;
	my $close_on_exec = 02000000;
	return map { my ($fd) = m{(\d+)$};
		my ($flags) = slurp($_) =~ /^flags:\s+(\d+)/m;
		my $what = readlink("/proc/$pid/fd/$fd") // '';
		$fd < 3 || oct($flags) & $close_on_exec || $ours{$what}
			? () : "$fd $what" }
		glob "/proc/$pid/fdinfo/*";
}

my $w = $p->wire(raw => 1);
my $pid = $p->child_of($w->{sock}->sockport);
SKIP: {
	skip 'the kernel has no Landlock', 1
		if $p->operator_log(event => qr/^no_landlock/);
	ok(eval { wait_until('the rest to be given up', sub {
		field($pid, 'NoNewPrivs') }) },
		'files are given up before the first byte');
}
cmp_ok(mapped($pid), '>', 0, 'its own lane is mapped');
cmp_ok(mapped($pid), '<', mapped($p->pid) / 20, 'the others\' are not');
my @fds = targets($pid);
ok(!(grep { m{/dev/shm/} } @fds), 'nor is their segment open');
is_deeply([sort grep { m{^/} && !m{stderr\.log$} && !$ours{$_} } @fds],
	[sort "$p->{dir}/log/pgwitness.log", "$p->{dir}/pgwitness.pid"],
	'of the data directory it has the log and the pid file open')
	or diag(explain(\@fds));
is(scalar(grep { /socket/ } @fds), 1, 'one socket: its client\'s')
	or diag(explain(\@fds));
is_deeply([inherited($pid)], [], 'all is close-on-exec');
is_deeply([inherited($p->pid)], [], 'and the postmaster\'s');

# It goes on to serve.
$w->send(Startup(0x30000, user => 'postgres', database => 'postgres'));
ok((grep { $_->[0] eq 'Z' } $w->read_ready), 'and can still reach the server');
is(scalar(grep { /socket/ } targets($pid)), 2, 'two sockets then');
$w->send(Terminate());
$w->close;

# --- by default nobody of the same user can look into a process ---

SKIP: {
	skip 'root looks into all', 1 if $> == 0;
	my $q = PGW::Proxy->new($c);
	my $session = $q->wire;
	$q->settled;
	my @open = map { "$_ " . cmdline($_) }
		grep { ((stat "/proc/$_/environ")[4] // 0) == $> }
		grep { (readlink("/proc/$_/exe") // '')
			!~ m{/postgresql/} } $q->processes;
	is_deeply(\@open, [], 'no process is dumpable');
}
done_testing;
