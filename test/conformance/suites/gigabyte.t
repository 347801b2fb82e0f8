# Messages as large as the server takes: through the proxy they stream, and the
# server says the same.  Needs some 4 GB of memory, for the server.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Suites;
use PGW::Util qw(slurp);
use PGW::Wire;
use Test::More;

# The server's limit for a message is 2^30 - 1 bytes (MaxAllocSize).
my $most = 2**30 - 1000;

sub put
{
	my ($sock, $bytes) = @_;
	for (my $at = 0; $at < length $bytes; ) {
		my $n = syswrite $sock, $bytes, length($bytes) - $at, $at;
		die "write: $!" unless defined $n;
		$at += $n;
	}
}

# A message with a body of head, $n times 'x', and tail; never in memory.
sub put_message
{
	my ($sock, $type, $head, $n, $tail) = @_;
	put($sock, $type . pack('N', 4 + length($head) + $n + length $tail) . $head);
	my $chunk = 'x' x 2**20;
	for (; $n > 0; $n -= length $chunk) {
		$chunk = 'x' x $n if $n < length $chunk;
		put($sock, $chunk);
	}
	put($sock, $tail);
}

# Messages to ReadyForQuery: short ones as they are, of long ones the length.
sub get
{
	my ($sock) = @_;
	my @seen;
	while (1) {
		my $head = '';
		while (length $head < 5) {
			sysread $sock, $head, 5 - length $head, length $head
				or return @seen, 'end';
		}
		my ($type, $len) = unpack 'a N', $head;
		my $left = $len -= 4;
		my $body = '';
		while ($left > 0) {
			my $n = sysread $sock, my $piece, $left > 2**20 ? 2**20 : $left;
			$n or return @seen, 'end';
			$body .= $piece if $len < 1000;
			$left -= $n;
		}
		if ($type eq 'E') {
			my $f = fields([$type, $body]);
			$body = "$f->{C} $f->{M}";
		}
		push @seen, "$type $len $body";
		return @seen if $type eq 'Z';
	}
}

sub results
{
	my ($on) = @_;
	my $sock = $on->wire(seconds => 600)->{sock};
	my @got;
	put($sock, Query("select repeat('x', $most)"));
	push @got, ['a DataRow', get($sock)];
	put($sock, Parse('select length($1::text), md5($1)'));
	put_message($sock, 'B', "\0\0" . pack('n n N', 0, 1, $most), $most, pack 'n', 0);
	put($sock, Execute . Sync);
	push @got, ['a Bind', get($sock)];
	put_message($sock, 'Q', "select length('", 5e8, "')\0");
	push @got, ['a Query of 500 MB', get($sock)];
	put($sock, Query('create table wide (v text); copy wide from stdin'));
	put_message($sock, 'd', '', $most, '');
	put($sock, CopyData("\n") . CopyDone);
	push @got, ['CopyData', get($sock)];
	put($sock, Query("update wide set v = v || 'y'"));
	push @got, ['an UPDATE of such a row', get($sock)];
	put($sock, Query('drop table wide'));
	push @got, ['the next statement', get($sock)];
	return @got;
}

my $server = suite_cluster();
my @direct = results($server);
$server->stop;
my $proxy = suite_proxy(suite_cluster());
my @through = results($proxy);
is_deeply($through[$_], $direct[$_], "the same: $direct[$_][0]") for 0 .. $#direct;
ok((grep { /^D \d{10} / } @{ $direct[0] }), 'the DataRow is there');
is((grep { /^C .*COPY 1\0/ } @{ $direct[3] }), 1, 'and the COPY');
my ($peak) = sort { $b <=> $a } map { (eval { slurp("/proc/$_/status") } // '')
	=~ /^VmHWM:\s+(\d+)/m } $proxy->processes_called(qr/pgwitness/);
cmp_ok($peak / 1024, '<', 400, 'in bounded memory');
check_log($proxy);
done_testing;
