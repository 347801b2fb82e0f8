# The spool's disk fills up or fails: writers hang and go on by themselves, or
# are refused; readers never wait; nothing committed is without its record.
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until new_dir spew);

my $shim = "$ENV{PGW_BUILD}/test/faultdisk.so";
plan skip_all => "no $shim" unless -e $shim;

my $c = PGW::Cluster->new(sql => q{
	create table acct (id int primary key, v text);
	insert into acct select i, 'old' from generate_series(1, 100) i;
});
my $faults = new_dir('flt') . '/faults';

sub proxy
{
	my ($policy) = @_;
	my $p = PGW::Proxy->new($c, conf => { evidence =>
			{ on_spool_full => $policy } },
		env => { LD_PRELOAD => $shim, FAULTDISK => $faults });
	# It accepts clients before it has opened its spool.
	$p->settled;
	return $p;
}

my %fault = (
	'full disk' => "write 28 /spool/\n",
	'write error' => "write 5 /spool/\n",
	'failed fdatasync' => "fdatasync 5 /spool/\n",
	'read-only disk' => "write 30 /spool/\nfdatasync 30 /spool/\n"
		. "open 30 /spool/\nftruncate 30 /spool/\nfsync 30 /spool\n",
);

# All of them at once.
sub faults
{
	my ($text) = @_;
	spew("$faults.new", $text);
	rename "$faults.new", $faults or die "$faults: $!";
}

sub lines
{
	my ($p, $event) = @_;
	return scalar $p->operator_log(event => $event);
}

sub writers_wait
{
	my ($p, $name) = @_;
	$p->mark;
	my ($stalled, $resumed) = (lines($p, 'spool_stalled'),
		lines($p, 'spool_resumed'));
	my @writers = map { $p->session } 1 .. 3;
	my $reader = $p->session;
	faults($fault{$name});
	$writers[$_]->send("update acct set v = '$name' where id = " . ($_ + 1))
		for 0 .. $#writers;
	wait_until("$name to be noticed", sub {
		lines($p, 'spool_stalled') > $stalled });
	my ($rc, $out) = $p->witnessctl('status');
	is($rc, 1, "$name: status is bad news");
	like($out, qr/^SPOOL STALLED/m, "$name: and says why");
	is($reader->safe('select count(*) from acct'), '100',
		"$name: a reader does not wait");
	is($p->session->safe('select 1'), '1', "$name: nor does a new client");
	is($c->safe_psql("select count(*) from acct where v = '$name'"), '0',
		"$name: nothing is committed meanwhile");
	unlink $faults or die "$faults: $!";
	for (@writers) {
		$_->finish_query;
		is($_->err, '', "$name: a writer goes on");
	}
	is($c->safe_psql("select count(*) from acct where v = '$name'"), '3',
		"$name: and has committed");
	wait_until("$name to be over", sub {
		lines($p, 'spool_resumed') > $resumed });
	is(lines($p, 'spool_stalled') - $stalled, 1, "$name: one line says so");
	is(lines($p, 'spool_resumed') - $resumed, 1,
		"$name: one line says that it is over");
	($rc, $out) = $p->witnessctl('status');
	is($rc, 0, "$name: and status is good again") or diag($out);
	is(scalar(grep { $_->{outcome}{outcome} eq 'committed' } $p->settled), 3,
		"$name: each has its record");
	$_->close for @writers, $reader;
}

my $p = proxy('wait');
writers_wait($p, $_) for sort keys %fault;

# --- the disk of the evidence log alone: the recorder ends, the drain does not
my $replayd = $p->replayd;
$p->mark;
my $client = $p->session;
faults("write 28 /log/evidence\nfdatasync 28 /log/evidence\n");
$client->safe("update acct set v = 'spooled' where id = 60");
wait_until('the recorder to end', sub { lines($p, 'recorder_ended') });
like(($p->witnessctl('status'))[1], qr/^RECORDER ENDED/m, 'status says so');
$client->safe("update acct set v = 'spooled' where id = 61");
unlink $faults or die "$faults: $!";
is(scalar(grep { $_->{outcome}{outcome} eq 'committed' } $p->settled), 2,
	'what was written meanwhile is recorded');
ok(kill(0 => $replayd), 'the drain went on');
is(lines($p, 'recorder_ended'), 1, 'one line says that the recorder ended');
$client->close;
is(($p->verify)[0], 0, 'the log is right');
$p->stop('TERM');

# --- on_spool_full = reject ---

$p = proxy('reject');
$p->mark;
my $writer = $p->session;
faults($fault{'full disk'});
$writer->send("update acct set v = 'refused' where id = 50");
wait_until('the full disk to be noticed', sub { lines($p, 'spool_stalled') });
$writer->finish_query;
like($writer->err, qr/disk is full or failing/, 'a writer is refused');
is($c->safe_psql('select v from acct where id = 50'), 'old',
	'and has changed nothing');
unlink $faults or die "$faults: $!";
wait_until('writers to be taken again', sub {
	$writer->query("update acct set v = 'taken' where id = 51");
	$writer->err eq '' });
is(scalar(grep { $_->{outcome}{outcome} eq 'committed' } $p->settled), 1,
	'what was refused has no record');
is(($p->verify)[0], 0, 'the log is right');

done_testing;
