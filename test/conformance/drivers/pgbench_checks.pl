# pgbench: its own tables and transactions, in the three modes of sending
# them, by several clients at once.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Tap;

my $bin = $ENV{PG_BINDIR} // '/usr/lib/postgresql/15/bin';

sub output_of
{
	open my $f, '-|', @_ or die "$_[0]: $!\n";
	my $text = do { local $/; <$f> } // '';
	close $f or die "@_: $text\n";
	return $text;
}

sub psql { return output_of("$bin/psql", '-XAt', '-c', $_[0]) =~ s/\n\z//r }

sub bench
{
	my ($mode) = @_;
	my $out = output_of("$bin/pgbench", '-n', '-M', $mode, '-c', 3, '-t', 40);
	show($_) for $out =~ /^(number of (?:transactions|failed).*)/mg;
	$out =~ m{processed: 120/120$}m or die $out;
	# The sums of what was moved agree only if each transaction was whole.
	equal(psql('select count(*) from (select sum(abalance) from '
		. 'pgbench_accounts union select sum(tbalance) from pgbench_tellers '
		. 'union select sum(bbalance) from pgbench_branches union select '
		. 'sum(delta) from pgbench_history) s'), '1');
}

my %checks = (
	initialize => sub {
		output_of("$bin/pgbench", '-q', '-i', '-s', 1, '-I', 'dtGvpf');
		output_of("$bin/pgbench", '-q', '-i', '-s', 1);
		equal(psql('select count(*) from pgbench_accounts'), '100000');
	},
	simple => sub { bench('simple') },
	extended => sub { bench('extended') },
	prepared => sub { bench('prepared') },
	builtin => sub {
		my $out = output_of("$bin/pgbench", '-n', '-M', 'prepared', '-c', 2,
			'-t', 30, '-b', 'simple-update@2', '-b', 'select-only@1');
		show($out =~ /^(number of failed.*)/m);
	},
);
my ($version) = output_of("$bin/pgbench", '--version') =~ /([\d.]+)/;
Tap::main("pgbench $version", %checks);
