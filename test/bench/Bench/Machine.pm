# Where it was measured.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Machine;
use strict;
use warnings;
use PGW::Util qw(slurp run pg_bin);

sub _first
{
	my ($text, $re) = @_;
	return $text =~ $re ? $1 : '?';
}

sub describe
{
	my ($targets) = @_;
	my $cpus = slurp('/proc/cpuinfo');
	my $n = () = $cpus =~ /^processor/mg;
	my (undef, $kernel) = run(['uname', '-srm']);
	my (undef, $bouncer) = run(['/usr/sbin/pgbouncer', '--version']);
	my (undef, $sync) = run([pg_bin('pg_test_fsync'), '-s', 1, '-f',
		PGW::Util::run_dir() . '/sync']);
	my (undef, $fs) = run(['stat', '-f', '-c', '%T', PGW::Util::run_dir()]);
	chomp($kernel, $fs);
	my @t = gmtime;
	return sprintf("%d x %s, %d MB, %s\nfdatasync of 8 kB on %s: %s a"
		. " second\nPostgreSQL %s; %s; pgwitness %s; %04d-%02d-%02d\n",
		$n, _first($cpus, qr/^model name\s*:\s*(.*)$/m),
		_first(slurp('/proc/meminfo'), qr/MemTotal:\s*(\d+)/) / 1024,
		$kernel, $fs, _first($sync, qr/fdatasync\s+([\d.]+)/),
		$targets->server->safe_psql('show server_version'),
		_first($bouncer, qr/^(PgBouncer \S+)/), $ENV{PGW_COMMIT} // '?',
		$t[5] + 1900, $t[4] + 1, $t[3]);
}

1;
