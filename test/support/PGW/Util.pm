# Waiting, files, ports and child programs: what every test needs.
# Nothing here sleeps a fixed time: wait_until() looks again until a deadline.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Util;
use strict;
use warnings;
use Exporter 'import';
use Carp qw(croak);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir tempfile);
use IO::File;
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(time);

our @EXPORT_OK = qw(wait_until nap free_port slurp spew run_dir new_dir run
	spawn reap alive born comm cmdline children descendants zombies
	processes_naming tail pg_bin program keep_for_end);

# Seconds that what must come is waited for.  Nothing is measured by it: it ends
# a test that would hang, on a machine however slow.
our $patience = $ENV{PATIENCE} // 180;

# A hung test is ended by timeout(1) with SIGTERM: let END blocks clean up.
$SIG{TERM} = $SIG{INT} = sub { exit 143 };
$SIG{PIPE} = 'IGNORE';
umask 077;

my @at_end;		# objects with a destroy() method, in order made
my $test_pid = $$;
my $own_run;

sub nap { select(undef, undef, undef, $_[0] // 0.02) }

# Runs code until it gives something true and returns that; dies at the
# deadline (seconds) saying what was waited for.
sub wait_until
{
	my ($what, $code, $seconds) = @_;
	my $end = time + ($seconds // $patience);

	for (;;) {
		my $got = $code->();
		return $got if $got;
		croak "gave up waiting for $what" if time > $end;
		nap;
	}
}

sub slurp
{
	my ($path) = @_;
	open my $f, '<:raw', $path or croak "$path: $!";
	local $/;
	return scalar(<$f>) // '';
}

sub spew
{
	my ($path, $text) = @_;
	open my $f, '>:raw', $path or croak "$path: $!";
	print $f $text;
	close $f or croak "$path: $!";
}

sub tail
{
	my ($path, $lines) = @_;
	return '' unless -e $path;
	my @l = split /^/, slurp($path);
	splice @l, 0, @l - $lines if @l > $lines;
	return join '', @l;
}

# The directory shared by all tests of one run (test/run.sh makes it).
sub run_dir
{
	return $ENV{PGW_RUN} if $ENV{PGW_RUN};
	$own_run //= tempdir('pgw.XXXXXX', TMPDIR => 1);
	return $ENV{PGW_RUN} = $own_run;
}

# A new directory of this test.  Short: unix socket paths end at 107 bytes.
my $n_dirs = 0;
sub new_dir
{
	my ($name) = @_;
	my ($test) = $0 =~ m{([^/]+?)(?:\.t|\.pl)?$};
	my $base = run_dir() . "/$test";
	-d $base or mkdir $base or croak "$base: $!";
	my $dir = "$base/$name" . (++$n_dirs);
	mkdir $dir or croak "$dir: $!";
	return $dir;
}

# A port of 127.0.0.1 below the ephemeral range, reserved for this run.
sub free_port
{
	for (1 .. 500) {
		my $port = 20000 + int rand 12000;
		mkdir run_dir() . "/port.$port" or next;
		my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
			LocalPort => $port, Listen => 1) or next;
		close $s;
		return $port;
	}
	croak 'no free port';
}

sub pg_bin
{
	my ($name) = @_;
	my $dir = $ENV{PG_BINDIR} // '/usr/lib/postgresql/15/bin';
	return -x "$dir/$name" ? "$dir/$name" : $name;
}

sub program
{
	my ($name) = @_;
	croak 'PGW_BUILD is not set: run by test/run.sh' unless $ENV{PGW_BUILD};
	return "$ENV{PGW_BUILD}/$name";
}

# Runs a program to its end; stdin, seconds and env are options.  Returns
# (exit code or 128 + signal, stdout, stderr).
sub run
{
	my ($cmd, %o) = @_;
	my ($in, $out, $err) = map { scalar tempfile(DIR => run_dir(),
		UNLINK => 1) } 1 .. 3;
	print $in $o{stdin} // '';
	$in->flush;
	seek $in, 0, 0;
	my $pid = spawn($cmd, stdin => $in, stdout => $out, stderr => $err,
		env => $o{env}, chdir => $o{chdir});
	my $seconds = $o{seconds} // 3 * $patience;
	my $status = reap($pid, $seconds);
	if (!defined $status) {
		kill KILL => $pid;
		waitpid $pid, 0;
		croak "@$cmd: did not end within $seconds s";
	}
	my @text = map { seek $_, 0, 0; local $/; scalar(<$_>) // '' } $out, $err;
	return ($status, @text);
}

# Starts a program in the background and returns its pid.  It dies with us.
sub spawn
{
	my ($cmd, %o) = @_;
	my $pid = fork // croak "fork: $!";
	return $pid if $pid;

	$SIG{TERM} = $SIG{INT} = $SIG{PIPE} = 'DEFAULT';
	setpgrp 0, 0 if $o{own_group};
	open STDIN, '<&', $o{stdin} // IO::File->new('/dev/null')
		or POSIX::_exit(126);
	open STDOUT, '>&', $o{stdout} or POSIX::_exit(126) if $o{stdout};
	open STDERR, '>&', $o{stderr} or POSIX::_exit(126) if $o{stderr};
	%ENV = (%ENV, %{ $o{env} }) if $o{env};
	chdir $o{chdir} or POSIX::_exit(126) if $o{chdir};
	my @with = $o{dies_with_us} ? ('setpriv', '--pdeathsig',
		$o{dies_with_us}) : ();
	{ no warnings; exec { (@with, @$cmd)[0] } @with, @$cmd; }
	POSIX::_exit(127);
}

# Exit code (128 + signal) of a child once it ended, undef if it did not.
sub reap
{
	my ($pid, $seconds) = @_;
	my $end = time + $seconds;
	my $gap = 0.001;
	while (waitpid($pid, WNOHANG) == 0) {
		return undef if time > $end;
		nap $gap;
		$gap *= 2 if $gap < 0.02;
	}
	return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

# State, parent and birth (in ticks since the machine's) of a process.
sub _stat
{
	my ($pid) = @_;
	open my $f, '<', "/proc/$pid/stat" or return;
	my @f = (<$f> // '') =~ /\) (\S) (\d+)((?: \S+)*)/ or return;
	return (@f[0, 1], (split ' ', $f[2])[17]);
}

# Name and command line of a process, '' if it is gone.
sub comm { return (eval { slurp("/proc/$_[0]/comm") } // '') =~ s/\n//r }
sub cmdline { return (eval { slurp("/proc/$_[0]/cmdline") } // '') =~ tr/\0/ /r }

# When it was, if it is alive: who has the same pid later was born later.
sub born
{
	my ($state, undef, $birth) = _stat($_[0]);
	return defined $state && $state ne 'Z' ? $birth : undef;
}

# By SIGSTOP.
sub stopped { return ((_stat($_[0]))[0] // '') eq 'T' }

# Zombies are not alive.
sub alive
{
	my ($state) = _stat($_[0]);
	return defined $state && $state ne 'Z';
}

sub _children
{
	my ($pid, $state) = @_;
	return grep {
		my ($is, $parent) = _stat($_);
		defined $is && $parent == $pid && $is =~ $state;
	} map { m{(\d+)$} } glob '/proc/[0-9]*';
}

sub children { return _children($_[0], qr/[^Z]/) }

# Dead children that nobody has reaped.
sub zombies { return _children($_[0], qr/Z/) }

sub descendants { return map { ($_, descendants($_)) } children($_[0]) }

# Live processes, ours excepted, whose command line has $text in it.
sub processes_naming
{
	my ($text) = @_;
	return grep { $_ != $$ && index(cmdline($_), $text) >= 0 && alive($_) }
		map { m{(\d+)$} } glob '/proc/[0-9]*';
}

# $object->destroy is called at the end, the youngest first.
sub keep_for_end { push @at_end, $_[0] }

END {
	if ($$ == $test_pid) {
		my $status = $?;
		my $tb = Test::More->can('builder') ? Test::More->builder : undef;
		my $bad = $status || ($tb && !$tb->is_passing);
		for (reverse @at_end) {
			print STDERR $_->last_words if $bad;
			eval { $_->destroy; 1 } or print STDERR $@;
		}
		my ($test) = $0 =~ m{([^/]+?)(?:\.t|\.pl)?$};
		my $dir = run_dir() . "/$test";
		if ($bad && $ENV{KEEP}) {
			print STDERR "# kept: $dir\n" if -d $dir;
		} else {
			remove_tree($dir) if -d $dir;
			remove_tree($own_run) if $own_run;
		}
		$? = $status;
	}
}

1;
