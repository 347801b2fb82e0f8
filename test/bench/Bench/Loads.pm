# pgbench through every target, round by round, so that all meet the same
# machine.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Loads;
use strict;
use warnings;
use PGW::Util qw(new_dir slurp spew);

my $UPDATE = <<'EOS';
\set aid random(1, 100000 * :scale)
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
EOS

# one_mode: the protocol makes no difference there.  plain: no commit level
# does.
my %LOADS = (
	S => { name => 'pgbench -S', args => ['-b', 'select-only'], plain => 1 },
	N => { name => 'pgbench -N', args => ['-b', 'simple-update'] },
	B => { name => 'TPC-B', args => ['-b', 'tpcb-like'] },
	U => { name => 'UPDATE by key', script => $UPDATE },
	W => { name => '2 MB result', script => "SELECT i, t FROM wide;\n",
		plain => 1, one_mode => 1 },
	C => { name => 'new connection', args => ['-C', '-b', 'select-only'],
		plain => 1, one_mode => 1 },
);

sub name { $LOADS{ $_[0] }{name} }

sub new
{
	my ($class, %o) = @_;
	my $self = bless { %o, dir => new_dir('load') }, $class;
	for (keys %LOADS) {
		next unless $LOADS{$_}{script};
		spew("$self->{dir}/$_.sql", $LOADS{$_}{script});
		$LOADS{$_}{args} = ['-f', "$self->{dir}/$_.sql"];
	}
	return $self;
}

# All cases, as {load, mode, clients, target => {name => figures}}.
sub run
{
	my ($self, $say) = @_;
	my @cases;
	for my $load (split ' ', $self->{load}) {
		my $l = $LOADS{$load} // die "no load '$load'\n";
		my @modes = $l->{one_mode} ? 'simple' : split ' ', $self->{mode};
		for my $mode (@modes) {
			for my $clients (split ' ', $self->{clients}) {
				my $case = { load => $load, mode => $mode,
					clients => $clients };
				$self->{targets}->quietly(
					sub { $self->_case($case) });
				push @cases, $case;
				$say->(Bench::Report::case_lines($case));
			}
		}
	}
	return @cases;
}

sub _case
{
	my ($self, $case) = @_;
	my @names = grep { !/async/ || !$LOADS{ $case->{load} }{plain} }
		$self->{targets}->names;
	$self->{targets}->get($_) for @names;
	my %seen;
	my $rounds = $self->{rounds};
	# All of them shall end in less than half an hour.
	$rounds-- if $rounds > 2 && $case->{mode} ne 'simple';
	for my $round (1 .. $rounds) {
		for my $name (@names) {
			push @{ $seen{$name} }, $self->once($case, $name);
		}
		push @names, shift @names;
	}
	for my $name (@names) {
		for my $what (qw(tps p50 p95 cpu server others)) {
			$case->{target}{$name}{$what} = median(
				map { $_->{$what} } @{ $seen{$name} });
		}
	}
}

# One run of pgbench through the target: tps, p50 and p95 in ms; CPU in
# microseconds for each transaction, of the proxy and of the server; others:
# what all else took meanwhile, in percent of the machine.  at_end is called
# when pgbench has ended.
sub once
{
	my ($self, $case, $name, $at_end) = @_;
	my ($t, $l) = ($self->{targets}, $LOADS{ $case->{load} });
	my $prefix = "$self->{dir}/log";
	my ($cpu, $server) = ($t->cpu_ns($name), $t->server_cpu_ns);
	my ($busy, $whole) = _machine_s();
	my $own = _waited_s() + ($cpu + $server) / 1e9;
	my $seconds = $case->{seconds} // $self->{seconds};
	# The first write of each session is part of it.
	$seconds *= 2 if $case->{clients} > 8;
	my ($rc, $out, $err) = $t->get($name)->pgbench('-n', '-l',
		"--log-prefix=$prefix", '-s', $t->scale, '-M', $case->{mode},
		'-c', $case->{clients}, '-j', $case->{clients} > 1 ? 2 : 1,
		'-T', $seconds, @{ $l->{args} });
	die "pgbench through $name ($rc): $err" if $rc
		|| $out !~ /transactions actually processed: (\d+)/;
	my $n = $1;
	my ($tps) = $out =~ /^tps = ([\d.]+)/m;
	$at_end->() if $at_end;
	$t->settle($name);
	my @ns = ($t->cpu_ns($name), $t->server_cpu_ns);
	my ($busy2, $whole2) = _machine_s();
	$own = _waited_s() + ($ns[0] + $ns[1]) / 1e9 - $own;
	$cpu = ($ns[0] - $cpu) / 1000 / $n;
	$server = ($ns[1] - $server) / 1000 / $n;
	my @ms = sort { $a <=> $b } map { $_ / 1000 } _latencies($prefix);
	return { tps => $tps, n => $n, cpu => $cpu, server => $server,
		others => 100 * ($busy2 - $busy - $own) / ($whole2 - $whole),
		p50 => $ms[@ms * 0.5] // 0, p95 => $ms[@ms * 0.95] // 0 };
}

# Seconds of all processors since the machine's start: at work, and in all.
sub _machine_s
{
	my (undef, $user, $nice, $system, $idle, $io, $irq, $softirq) =
		split ' ', slurp('/proc/stat');
	my $busy = $user + $nice + $system + $irq + $softirq;
	return ($busy / 100, ($busy + $idle + $io) / 100);
}

# Of this process's children that have ended: pgbench.
sub _waited_s { my @t = times; return $t[2] + $t[3] }

sub _latencies
{
	my ($prefix) = @_;
	my @us;
	for my $path (glob "$prefix.*") {
		open my $f, '<', $path or die "$path: $!";
		while (<$f>) {
			push @us, $1 if /^\d+ \d+ (\d+) /;
		}
		unlink $path;
	}
	return @us;
}

sub median
{
	my @v = sort { $a <=> $b } @_;
	return 0 unless @v;
	return @v % 2 ? $v[$#v / 2] : ($v[@v / 2 - 1] + $v[@v / 2]) / 2;
}

1;
