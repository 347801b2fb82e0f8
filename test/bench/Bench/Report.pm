# The figures as text: goals first, then each case, then the rest.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Report;
use strict;
use warnings;
use Bench::Loads;
use PGW::Util qw(spew);

# What is wanted at 1, 8 and 32 clients: load, target, against which one.
my @GOALS = (
	['S', 'before_commit', 'pgbouncer', 1.10, 1.10, 0.92],
	['S', 'before_commit', 'bare', 0.97, 0.97, 0.97],
	['N', 'async', 'bare', 0.95, 0.95, 0.95],
	['N', 'before_commit', 'bare', 0.75, 0.80, 0.90],
	['B', 'before_commit', 'direct', 0.65, 0.68, 0.72],
	['U', 'before_commit', 'bare', 0.60, 0.68, 0.75],
	['U', 'async', 'direct', 0.83, 0.92, 0.90],
	['U', 'async', 'bare', 0.80, 0.80, 0.80],
	['C', 'before_commit', 'direct', 0.95, 0.95, 0.95],
	['W', 'before_commit', 'direct', 0.85, 0.85, 0.85],
);

sub new { my ($class, %o) = @_; return bless { %o, text => '' }, $class }

sub part
{
	my ($self, $title, $text) = @_;
	my $part = "$title\n" . '-' x length($title) . "\n\n$text\n";
	print $part unless $title =~ /^Each case/;
	$self->{text} .= $part;
}

sub _ratio
{
	my ($case, $name, $base) = @_;
	my ($x, $y) = map { ($case->{target}{$_} // {})->{tps} } $name, $base;
	return $x && $y ? $x / $y : undef;
}

# One line for each goal and mode that was measured.
sub goals
{
	my ($self, @cases) = @_;
	my %case = map { ("$_->{load} $_->{mode} $_->{clients}" => $_) } @cases;
	my @n = (1, 8, 32);
	my $text = sprintf "%-16s %-9s %-26s %-19s %s\n", 'load', 'mode',
		'ratio of', 'goal at 1/8/32', 'measured (- missed)';
	for my $g (@GOALS) {
		my ($load, $name, $base, @goal) = @$g;
		for my $mode (qw(simple extended prepared)) {
			my @r = map { my $c = $case{"$load $mode $_"};
				$c ? _ratio($c, $name, $base) : undef } @n;
			next unless grep { defined } @r;
			$text .= sprintf "%-16s %-9s %-26s %-19s %s\n",
				Bench::Loads::name($load), $mode,
				"$name / $base",
				join(' ', map { sprintf '%.2f', $_ } @goal),
				join '  ', map { defined $r[$_] ? sprintf('%.2f%s',
				$r[$_], $r[$_] < $goal[$_] ? '-' : ' ') : '   . ' }
				0 .. 2;
		}
	}
	$self->part('Goals: ratios of median transactions per second', $text);
}

# A case as text: a line for each target.
sub case_lines
{
	my ($case) = @_;
	my @rank = qw(direct pgbouncer bare before_commit async);
	my %rank = map { ($rank[$_] => $_) } 0 .. $#rank;
	my @lines;
	for my $name (sort { ($rank{$a} // 9) <=> ($rank{$b} // 9)
		|| $a cmp $b } keys %{ $case->{target} }) {
		my $f = $case->{target}{$name};
		push @lines, sprintf '%-15s %-9s %3d %-19s %8.0f %s %8.3f %8.3f'
			. ' %7.1f %7.1f %6.0f', Bench::Loads::name($case->{load}),
			$case->{mode}, $case->{clients}, $name, $f->{tps},
			join(' ', map { my $r = _ratio($case, $name, $_);
				defined $r ? sprintf('%5.2f', $r) : '    .' }
				qw(direct pgbouncer bare)),
			$f->{p50}, $f->{p95}, $f->{cpu}, $f->{server},
			$f->{others};
	}
	return join "\n", @lines;
}

sub cases
{
	my ($self, @cases) = @_;
	my $head = sprintf "%-15s %-9s %3s %-19s %8s %5s %5s %5s %8s %8s %7s %7s"
		. " %6s\n",
		'load', 'mode', 'n', 'target', 'tps', '/dir', '/pgb', '/bare',
		'p50 ms', 'p95 ms', 'proxy', 'server', 'others';
	$self->part('Each case: medians of the rounds; CPU in us for each'
		. ' transaction, others in percent of the machine', $head
		. join '', map { case_lines($_) . "\n" } @cases);
}

sub write
{
	my ($self) = @_;
	my $path = $self->{whole} ? "$ENV{PGW_SRC}/test/bench/RESULTS"
		: "$ENV{PGW_BUILD}/bench/RESULTS";
	spew($path, $self->{text});
	chmod 0644, $path;
}

1;
