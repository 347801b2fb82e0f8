# What grows with the work, and what must not: time for each row of a long
# statement, time of a short one in a database of many tables, memory.
#
# SPDX-License-Identifier: PostgreSQL
package Bench::Growth;
use strict;
use warnings;
use Bench::Loads;
use DBI;
use PGW::Util qw(slurp descendants);
use Time::HiRes qw(time);

my @NAMES = qw(direct bare before_commit async);

sub measure
{
	my (%o) = @_;
	my $t = $o{targets};
	return join "\n", map { my $part = $_; $t->quietly(sub { $part->($t) }) }
		\&_rows, \&_tables, \&_memory;
}

sub _connect
{
	my ($at, $db) = @_;
	return DBI->connect(sprintf('dbi:Pg:host=%s;port=%d;dbname=%s',
		$at->host, $at->port, $db // 'postgres'), 'postgres', '',
		{ RaiseError => 1, AutoCommit => 1 });
}

# Seconds in the median.
sub _time
{
	my ($times, $code) = @_;
	my @took;
	for (1 .. $times) {
		my $start = time;
		$code->();
		push @took, time - $start;
	}
	return Bench::Loads::median(@took);
}

sub _line
{
	my ($what, $format, @v) = @_;
	return sprintf("%-34s", $what) . join('', map {
		/[a-z]/ ? sprintf '%14s', $_ : sprintf $format, $_ } @v) . "\n";
}

sub _rows
{
	my ($t) = @_;
	my $text = _line('us for each row, UPDATE of', '%s', @NAMES);
	$t->server->safe_psql('create table grow (id int primary key, v int, '
		. "t text); insert into grow select i, 0, repeat('x', 80) from "
		. 'generate_series(1, 100000) i; analyze grow');
	my %dbh = map { ($_ => _connect($t->get($_))) } @NAMES;
	for my $n (1, 10, 100, 1000, 10000, 100000) {
		my $times = $n <= 100 ? 50 : $n <= 10000 ? 9 : 3;
		my @us = map { my $dbh = $dbh{$_};
			1e6 / $n * _time($times, sub { $dbh->do(
				"update grow set v = v + 1 where id <= $n") }) }
			@NAMES;
		$text .= _line("$n rows", '%14.2f', @us);
		$t->server->safe_psql('vacuum grow');
	}
	$_->disconnect for values %dbh;
	return $text;
}

sub _make_tables
{
	my ($server, $n) = @_;
	$server->safe_psql("create database tables_$n");
	for (my $i = 1; $i <= $n; $i += 500) {
		my $to = $i + 499 < $n ? $i + 499 : $n;
		$server->safe_psql(qq{do \$\$begin for i in $i..$to loop
			execute format('create table t%s (id int primary key, v
			int)', i); end loop; end\$\$}, conn => {
			dbname => "tables_$n" });
	}
	$server->safe_psql('insert into t1 select i, 0 from '
		. 'generate_series(1, 100) i; vacuum analyze', conn => {
		dbname => "tables_$n" });
}

sub _tables
{
	my ($t) = @_;
	my $text = _line('us for an UPDATE, in a database of', '%s', @NAMES);
	my $first = _line('us for the first of a session', '%s', @NAMES);
	for my $n (10, 100, 1000, 10000) {
		_make_tables($t->server, $n);
		my (@warm, @cold);
		for my $name (@NAMES) {
			my $at = $t->get($name);
			my $dbh = _connect($at, "tables_$n");
			my $i = 0;
			my $update = sub { $dbh->do('update t1 set v = v + 1 '
				. 'where id = ' . (1 + $i++ % 100)) };
			push @cold, 1e6 * _time(1, $update);
			push @warm, 1e6 * _time(300, $update);
			$dbh->disconnect;
		}
		$text .= _line("$n tables", '%14.0f', @warm);
		$first .= _line("$n tables", '%14.0f', @cold);
	}
	return "$text\n$first";
}

# kB that a process has for itself alone.  Not Private_Clean: pages of libraries
# are the page cache's, and of no other's only until a second child reads them.
sub _private
{
	my ($pid) = @_;
	return slurp("/proc/$pid/smaps_rollup")
		=~ /^Private_Dirty:\s+(\d+) kB/m ? $1 : 0;
}

# The child that serves a client: one with two connections.
sub _serving
{
	my ($p) = @_;
	for my $pid (descendants($p->pid)) {
		my $sockets = grep { (readlink($_) // '') =~ /^socket/ }
			glob "/proc/$pid/fd/*";
		return $pid if $sockets >= 2
			&& slurp("/proc/$pid/comm") =~ /^pgwitness/;
	}
	die 'no child serves a client';
}

sub _memory
{
	my ($t) = @_;
	my $p = $t->proxy(env => { PGWITNESS_DEBUGGER => 1 });
	# Pages of a program that was just copied count as long as they are dirty.
	system('sync') == 0 or die 'sync failed';
	my $dbh = _connect($p);
	my $child = _serving($p);
	my @lines = (['postmaster', _private($p->pid)],
		['child, connected', _private($child)]);
	$dbh->do('select 1');
	push @lines, ['child, after SELECT', _private($child)];
	$dbh->do('update grow set v = 0 where id = 1') for 1 .. 10;
	push @lines, ['child, after UPDATE by key', _private($child)];
	$dbh->do('update grow set v = 0 where id <= 100000');
	push @lines, ['child, after UPDATE of 100000', _private($child)];
	$dbh->disconnect;
	return "private memory\n" . join '', map { sprintf "%-34s%11d kB\n",
		@$_ } @lines;
}

1;
