# Message scripts, sent to a server and through the proxy to its twin: both
# answer with the same bytes and hold the same rows afterwards, and what
# changed rows through the proxy has a record.
#
# SCRIPT=word plays only scripts with that word in their name.
use strict;
use warnings;
use Test::More;
use File::Basename qw(dirname);
use PGW::Changes qw(unwitnessed);
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Script;
use PGW::Util qw(slurp);
use PGW::Wire;

my $here = dirname(__FILE__);
my @scripts = map { PGW::Script::load($_) } sort glob "$here/scripts/*.txt";
@scripts = grep { $_->name =~ /\Q$ENV{SCRIPT}/ } @scripts if $ENV{SCRIPT};

my $schema = slurp("$here/schema.sql");
my $reset = slurp("$here/reset.sql");
my ($server, $twin) = map { PGW::Cluster->new(sql => $schema,
	conf => "wal_level = logical\n") } 1 .. 2;
my $proxy = PGW::Proxy->new($twin);
# The proxy's tests have a table of their own there; and oids are seen.
$server->safe_psql('create table pgw_fence (id bigint primary key)');
$_->safe_psql('create table mark (id int primary key)') for $server, $twin;
my $oids = 'select string_agg(oid || relname, $$ $$ order by oid) from pg_class';
is($twin->safe_psql($oids), $server->safe_psql($oids), 'the servers are twins');

my $changes = PGW::Changes->new($twin);

my $contents = join ' union all ', map { "select '$_' as t, row(x.*)::text as x from $_ x" }
	qw(t log two uniq parent child checked serial ident typed noisy wide kept
	seq pg_prepared_xacts);
$contents = "select md5(coalesce(string_agg(t || x, '|' order by t, x), '')), "
	. "count(*) from ($contents) all_rows";

# One message of a stream, as a person can read it.
sub shown
{
	my ($m) = @_;
	return 'nothing' unless defined $m;
	my $length = length $m;
	$m = substr $m, 0, 600;
	$m =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ge;
	return $m . ($length > 600 ? " ... ($length bytes)" : '');
}

sub first_difference
{
	my ($want, $got) = @_;
	for my $session (sort keys %{ { %$want, %$got } }) {
		my ($w, $g) = map { $_->{$session} // [] } $want, $got;
		for (0 .. (@$w > @$g ? $#$w : $#$g)) {
			next if ($w->[$_] // '') eq ($g->[$_] // '')
				&& defined $w->[$_] && defined $g->[$_];
			my $from = $_ < 3 ? 0 : $_ - 3;
			return join "\n", "session $session, message $_, after",
				(map { '    ' . shown($_) }
					@{$w}[$from .. $_ - 1]),
				'  server ' . shown($w->[$_]),
				'  proxy  ' . shown($g->[$_]);
		}
	}
	return;
}

sub run_script
{
	my ($script, $on, $wire, $split) = @_;
	my @bad = grep { $_->[0] eq 'E' } $wire->ask(Query($reset));
	die 'reset: ' . fields($bad[0])->{M} if @bad;
	$changes->take if $on == $proxy;
	my $seen = $script->play(on => $on, server => $wire, split => $split);
	my @m = $wire->ask(Query($contents));
	push @{ $seen->{rows} }, map { $_->[0] eq 'D' ? join ' rows ',
		reverse columns($_) : $_->[0] eq 'E' ? fields($_)->{M} : () } @m;
	return $seen;
}

my $marker = $proxy->wire;
my @played;	# through the proxy: [name, script, xids]
my ($wire, $twin_wire) = map { $_->wire } $server, $twin;
for my $script (@scripts) {
	# Those with megabytes in many messages: only once.
	my $once = $script->word('once') || !$script->is_pipeline;
	for my $split ($once ? 0 : (0, 1)) {
		my $want = run_script($script, $server, $wire, $split);
		my ($stuck) = grep { /gave up/ } map { @$_ } values %$want;
		my $got = run_script($script, $proxy, $twin_wire, $split);
		my $difference = $stuck // first_difference($want, $got);
		my $name = $script->name
			. ($split ? ', a write for each message' : '');
		push @played, [$name, $script, [$changes->take]];
		# Its record is behind the script's.
		$marker->ask(Query("insert into mark values ($#played)"));
		if (my $why = $script->word('known')) {
			ok(defined $difference, "$name: still $why");
			next;
		}
		ok(!defined $difference, $name)
			or diag("$script->{path}:$script->{line}\n$difference");
	}
}

$proxy->settled(seconds => 600);
my %classes;
for ($proxy->transactions) {
	my ($r, $v) = ($_->{record}, $_->{verdict} // {});
	$classes{join ' ', map { $_ // '-' } $r->{capture},
		$r->{capture_reason}, $v->{verdict}, $v->{reason}}++;
}
note("$classes{$_} $_") for sort keys %classes;

# What lies between two marks is of one script.
my @between = ([]);
for ($proxy->transactions) {
	next if ($_->{query} // '') =~ /\bpgw_fence\b/;
	if (($_->{query} // '') =~ /^insert into mark/) {
		push @between, [];
	} else {
		push @{ $between[-1] }, $_;
	}
}
is(@between, @played + 1, 'each mark has its record');
my ($n_xids, @lost) = (0);
for (0 .. $#played) {
	my ($name, $script, $xids) = @{ $played[$_] };
	my @missing = unwitnessed($xids, @{ $between[$_] });
	$n_xids += @$xids;
	if (my $why = $script->word('unwitnessed')) {
		ok(@missing > 0, "$name: still $why") if !$script->{said}++;
		next;
	}
	push @lost, "$name: @missing of @$xids" if @missing;
}
is(@lost, 0, "each of $n_xids transactions that changed rows has a record")
	or diag(join "\n", @lost);
no_mismatches($proxy);
one_outcome_and_verdict($proxy);
my ($rc, $out, $err) = $proxy->verify;
is($rc, 0, 'the evidence log verifies') or diag($out, $err);
done_testing;
