# PostgreSQL's own suites: each once directly and once through pgwitness,
# before servers that are alike; what the log then holds.
#
# SPDX-License-Identifier: PostgreSQL
package Suites;
use strict;
use warnings;
use Exporter 'import';
use File::Basename qw(basename);
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(new_dir pg_bin run slurp spew);
use Test::More;

our @EXPORT = qw(suite_source suite_cluster suite_proxy pg_regress
	again same_results check_log);

sub built { return "$ENV{PGW_BUILD}/suites" }

# A folder of the sources, as src/test/regress.
sub suite_source
{
	my $dir = built() . "/source/$_[0]";
	-d $dir or BAIL_OUT("$dir is not there: make suites");
	return $dir;
}

# What the suites want of a server, as `make check` of PostgreSQL gives it.
sub suite_cluster
{
	return PGW::Cluster->new(conf => <<~'EOC', @_);
		max_prepared_transactions = 2
		max_connections = 100
		shared_buffers = 128MB
		autovacuum_naptime = 1min
		EOC
}

# Captures all and verifies all.
sub suite_proxy
{
	my ($server) = @_;
	return PGW::Proxy->new($server, conf => {
		proxy => { max_connections => 100 },
		features => { enable_verification => 'on' } });
}

# Runs pg_regress or pg_isolation_regress of pgxs on an endpoint.  Gives
# {passed => {test => 1}, failed => {...}, dir => where results are}.
my %program = (regress => 'regress/pg_regress',
	isolation => 'isolation/pg_isolation_regress');
sub pg_regress
{
	my ($suite, $on, $name, @options) = @_;
	my $dir = new_dir("$suite.$name");
	# The same path for both: some results name files.
	my $out = PGW::Util::run_dir() . "/$suite.out";
	rename $out, "$out.before.$name" if -e $out;
	mkdir $out or die "$out: $!";
	my ($rc, $pgxs) = run([pg_bin('pg_config'), '--pgxs']);
	$pgxs =~ s{/src/makefiles/pgxs\.mk\s*$}{};
	# psql of the files' version: etc/pgsource.sh.
	my $client = built() . '/client/bin';
	my $bin = -x "$client/psql" ? $client : pg_bin('psql') =~ s{/psql$}{}r;
	my ($status, $said, $err) = run(["$pgxs/src/test/$program{$suite}",
		"--bindir=$bin",
		'--host=' . $on->host, '--port=' . $on->port,
		'--user=' . $on->user, '--inputdir=' . suite_source("src/test/$suite"),
		"--outputdir=$out", '--dlpath=' . built() . '/lib', @options],
		chdir => $out, seconds => 7200);
	rename $out, "$dir/out" or die $!;
	my %got = (passed => {}, failed => {}, dir => "$dir/out");
	while ($said =~ /^(?:test| {5})? *(\S+) +\.\.\. (ok|FAILED|failed)/mg) {
		$got{$2 eq 'ok' ? 'passed' : 'failed'}{$1} = 1;
	}
	note(sprintf '%s, %s: %d passed, %d failed', $suite, $name,
		map { scalar keys %{ $got{$_} } } qw(passed failed));
	diag($said, $err) unless %{ $got{passed} };
	return \%got;
}

# What a client can notice by bad luck (README): pg_dump of replayd shares the
# tables for a moment after DDL, and NOWAIT is refused then.
my %luck = ('lock.out' =>
	qr/^ERROR:  could not obtain lock on relation "lock_tbl1"\n/m);

# What a client does notice (README).  The difference is shown, and is no failure.
my %noticed = (
	'stats' => 'scan counts: rows are read before and after',
	'partition-concurrent-attach' => 'the tables that take part are read, and '
		. 'so waited for, before the statement and not in it',
);

# 1, or '' and the difference.
sub _same
{
	my ($path, $other) = @_;
	return '' unless -e $other;
	my ($want, $got) = (slurp($path), slurp($other));
	return 1 if $want eq $got;
	my $luck = $luck{ basename($path) } // return '';
	return $want eq $got =~ s/$luck//r;
}

# Tests whose result depends on which of two connections is read first, and on
# timeouts of 10 ms: what differs is run once more, and must be the same then.
sub again
{
	my ($suite, $direct, $proxy, $on) = @_;
	my @names = grep { !_same("$direct->{dir}/results/$_.out",
		"$proxy->{dir}/results/$_.out") } grep { !$noticed{$_} }
		sort keys %{ $direct->{passed} };
	return unless @names && @names <= 3;
	diag("run again: @names");
	my $more = pg_regress($suite, $on, 'again', "--dbname=${suite}_again",
		@names);
	for (@names) {
		rename "$more->{dir}/results/$_.out", "$proxy->{dir}/results/$_.out"
			or die "$_: $!";
		delete $proxy->{$more->{passed}{$_} ? 'failed' : 'passed'}{$_};
		$proxy->{$more->{passed}{$_} ? 'passed' : 'failed'}{$_} = 1;
	}
}

# The same tests passed and every result is the same, byte for byte.
sub same_results
{
	my ($direct, $proxy, $all) = @_;
	my %same;
	for my $path (sort glob "$direct->{dir}/results/*.out") {
		my ($name) = basename($path) =~ /(.*)\.out$/;
		my $other = "$proxy->{dir}/results/$name.out";
		$same{$name} = _same($path, $other);
		my $why = $same{$name} ? undef : $noticed{$name};
		ok($same{$name} || $why, "the same result: $name");
		diag($why ? "noticed, $name: $why\n" : '',
			(run(['diff', '-u', $path, $other]))[1] =~ s/^(.{6000}).*/$1/sr)
			if !$same{$name};
		$same{$name} ||= $why;
	}
	my @passed = sort keys %{ $direct->{passed} };
	is_deeply([grep { $proxy->{passed}{$_} || $same{$_} } @passed], \@passed,
		@passed . ' tests pass, directly and through the proxy');
	cmp_ok(scalar(map { keys %$_ } @$direct{qw(passed failed)}), '==',
		$all, "all $all were run");
	note("not as expected in both runs: $_")
		for grep { $proxy->{failed}{$_} } sort keys %{ $direct->{failed} };
}

# The evidence log after a suite: whole, nothing wrong, and what is in it.
sub check_log
{
	my ($proxy, $seconds) = @_;
	$proxy->settled(seconds => $seconds // 3600);
	my (%records, %verdicts);
	for ($proxy->transactions) {
		my ($r, $v) = ($_->{record}, $_->{verdict});
		$records{join ' ', grep { defined && length }
			@$r{qw(capture capture_reason)}}++;
		$verdicts{join ' ', grep { defined && length }
			@$v{qw(verdict reason)}}++ if $v;
		$verdicts{"($_->{outcome}{outcome})"}++ if !$v;
	}
	for (['records', \%records], ['verdicts', \%verdicts]) {
		my ($what, $n) = @$_;
		diag("$what\n" . join "\n", map { sprintf '%8d %s', $n->{$_}, $_ }
			sort { $n->{$b} <=> $n->{$a} || $a cmp $b } keys %$n);
	}
	no_mismatches($proxy);
	one_outcome_and_verdict($proxy);
	is($proxy->stop, 0, 'pgwitness ends with status 0');
	my ($rc, $out, $err) = $proxy->verify('--final');
	is($rc, 0, 'the evidence log verifies') or diag($out, $err);
}

1;
