# Kills processes of pgwitness and its servers under load, then compares what
# clients, server and evidence log say (Judge.pm).  See README here.
#
# SPDX-License-Identifier: PostgreSQL
package Torture;
use strict;
use warnings;
use Carp qw(croak);
use IO::File;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(wait_until nap new_dir alive descendants keep_for_end program
	reap slurp spawn spew);
use Judge;
use Points;
use Report;
use Time::HiRes qw(time);
use Victims;
use Writer;

# Phases: name, share of the kills, weights of the kinds, and whether in pairs.
my %children = (child => 6, spare => 1);
my %witness = (replayd => 4, recorder => 2, verifier => 2, worker => 4,
	resolver => 1, verification_postmaster => 2, verification_backend => 4,
	verification_helper => 1);
my %rest = (postmaster => 2, server_backend => 2, server_postmaster => 1);
my @phases = (
	[children => 0.30, { %children }],
	[witness => 0.20, { %witness, child => 8, spare => 2 }],
	[servers => 0.10, { %rest, child => 4 }],
	[mixed => 0.40, { child => 30, spare => 5, %witness, %rest }, 'pairs'],
);

sub new
{
	my ($class, %o) = @_;
	my $self = bless { seed => time & 0xffffff, kills => 2000, minutes => 15,
		level => 'before_commit', writers => 8, readers => 2, rate => 300,
		deadline => 90, say => sub { print "@_\n" }, events => [],
		killed => {}, recovery => [], throttled => [], %o }, $class;
	srand $self->{seed};
	$SIG{USR1} = sub { $self->{enough} = 1 };
	$self->{dir} = new_dir('cl');
	return $self;
}

sub say { my ($self, $f, @a) = @_; $self->{say}->(sprintf $f, @a) }

# Runs all of it; the number of violations.
sub run
{
	my ($self) = @_;
	$self->say('seed %d: %s, commit=%s, %d writers', $self->{seed},
		$self->{storm} ? "$self->{storm} stops" : "$self->{kills} kills in "
		. "$self->{minutes} min", @$self{qw(level writers)});
	$self->_start;
	eval {
		if ($self->{points}) {
			$self->_phase_points;
		} elsif ($self->{spool}) {
			$self->_phase(recovery => 1, { replayd => 1 });
		} elsif ($self->{storm}) {
			$self->_storm;
		} else {
			$self->_phase(@$_) for @phases;
		}
		1;
	} or $self->{judge}->wrong("given up: $@");
	$self->_settle;
	Report::summary($self);
	return scalar @{ $self->{judge}{violations} };
}

# --- start ---

sub _start
{
	my ($self) = @_;
	my $c = $self->{cluster} = PGW::Cluster->new(sql => Writer::schema(),
		conf => "autovacuum = off\ntrack_commit_timestamp = on\n"
		. "log_disconnections = on\n");
	my %env = (PGWITNESS_DEBUGGER => 1);
	$self->{control} = Points->new("$self->{dir}/point");
	$env{PGWITNESS_KILLPOINT} = $self->{control}->path;
	my $p = $self->{proxy} = PGW::Proxy->new($c, env => \%env, conf => {
		evidence => { commit => $self->{level},
			keep_payload => $self->{spool} ? 'all' : 'mismatches' },
		%{ $self->{conf} // {} } });
	$self->{first} = 1 + $c->safe_psql('select pg_current_xact_id()');
	$self->{judge} = Judge->new(dir => $self->{dir}, proxy => $p,
		cluster => $c);
	$self->{victims} = Victims->new(dir => $self->{dir}, proxy => $p,
		cluster => $c);
	keep_for_end($self);
	$self->_fill if $self->{spool};
	my $n = $self->{writers};
	$self->_client($_, $_ > $n ? 'read_some' : 'transaction')
		for 1 .. $n + $self->{readers};
	$self->{begun} = time;
	$self->{replayd_seen} = time;
}

sub _client
{
	my ($self, $id, $what) = @_;
	my $pid = fork // croak "fork: $!";
	if ($pid) {
		$self->{clients}{$id} = $pid;
		return;
	}
	my $rate = $what eq 'transaction' ? $self->{rate} / $self->{writers} : 10;
	eval { Writer->run(id => $id, dir => $self->{dir}, what => $what,
		endpoint => $self->{proxy}, seed => $self->{seed},
		deadline => $self->{deadline}, rate => $rate) };
	print STDERR "client $id: $@";
	POSIX::_exit(1);
}

# Acknowledged records of 50 kB until the spool, which is kept, has so many MB.
sub _fill
{
	my ($self) = @_;
	my @ids = 101 .. 104;
	my $from = time;
	$self->_client($_, 'fill') for @ids;
	my $bytes = 0;
	wait_until('the spool to grow', sub {
		nap 0.5;
		$bytes = 0;
		$bytes += -s $_ for glob $self->{proxy}->dir . '/spool/*';
		return $bytes >= $self->{spool} * 1e6;
	}, 1800);
	spew("$self->{dir}/stop", '');
	reap(delete $self->{clients}{$_}, $self->{deadline}) // croak
		"client $_ does not end" for @ids;
	unlink "$self->{dir}/stop" or croak $!;
	$self->say('spool     %5d MB in %.0f s', $bytes / 1e6, time - $from);
}

sub last_words { my ($self) = @_; return "# --- seed $self->{seed}\n" }
sub destroy
{
	my ($self) = @_;
	kill KILL => values %{ $self->{clients} };
	waitpid $_, 0 for values %{ $self->{clients} };
}

# --- kills ---

sub _phase
{
	my ($self, $name, $share, $weights, $pairs) = @_;
	my $n = int($self->{kills} * $share + 0.5);
	my $gap = $self->{minutes} * 60 / $self->{kills};
	my ($done, $begun, $next) = (0, time, time);
	$self->{phase} = $name;
	while ($done < $n && !$self->{enough}) {
		$self->_check;
		my $many = $pairs && rand() < 0.3 ? 2 : 1;
		$done += $self->_kill($weights, $many);
		$next += $many * $gap * -log(1 - rand);
		$next = time if $next < time - 5;
		nap(0.01 + rand 0.05);
		nap($next - time) if $next > time;
	}
	$self->{judge}->read_clients;
	$self->say('%-9s %5d kills in %4.0f s, %d commits so far, %d violations',
		$name, $done, time - $begun, scalar @{ $self->{judge}{acks} // [] },
		scalar @{ $self->{judge}{violations} });
}

# Ended without being killed, or hanging for good: no use to go on.
sub _check
{
	my ($self) = @_;
	my $p = $self->{proxy};
	if (!$p->pid || !alive($p->pid)) {
		$self->{judge}->wrong('pgwitness ended by itself');
		$p->stop('none', 1);
		$p->start;
	}
	if (!$self->{cluster}->pid || !alive($self->{cluster}->pid)) {
		croak 'the server ended by itself';
	}
}

# replayd that dies young is started again late: most kills keep off that.
sub _spare_replayd
{
	my ($self, $kinds) = @_;
	my ($pid) = @{ $kinds->{replayd} // [] };
	if (($pid // 0) != ($self->{replayd} // 0)) {
		@$self{qw(replayd replayd_seen)} = ($pid, time);
		$self->{replayd_until} = time
			+ ($self->{spool} || rand() < 0.7 ? 10 : rand 4);
		# A new postmaster forgives the first death.
		@$self{qw(replayd_seen replayd_until)} = (0, 0)
			if delete $self->{new_postmaster};
	}
	return time < ($self->{replayd_until} // 0);
}

sub _kill
{
	my ($self, $weights, $many) = @_;
	my $kinds = $self->{victims}->look;
	my %w = %$weights;
	delete @w{qw(server_backend server_postmaster)} if $self->{spare_server};
	delete @w{qw(replayd recorder)} if $self->_spare_replayd($kinds);
	my @wheel = map { @{ $kinds->{$_} // [] } ? ($_) x $w{$_} : () }
		sort keys %w;
	my %victims;
	for (1 .. $many) {
		my $kind = $wheel[rand @wheel] // last;
		my @pids = @{ $kinds->{$kind} };
		$victims{ $pids[rand @pids] } = $kind;
	}
	my @pids = sort { $a <=> $b } keys %victims;
	$self->{victims}->hold(grep { $victims{$_} =~ /^(?:child|spare)$/ } @pids);
	my $t = time;
	my @dead = map { [$victims{$_}, $_] } grep { kill KILL => $_ } @pids;
	$self->_killed($t, @$_, @dead > 1) for @dead;
	$self->_revive($_->[0]) for @dead;
	return scalar @dead;
}

sub _killed
{
	my ($self, $t, $kind, $pid, $pair) = @_;
	$self->{killed}{$kind}++;
	$self->{pairs}++ if $pair;
	my $young = $kind =~ /^(?:replayd|recorder)$/
		&& $t - $self->{replayd_seen} < 10;
	push @{ $self->{events} }, { from => $t, t => $t, kind => $kind,
		pid => $pid, young => $young, phase => $self->{phase},
		port => $self->{victims}{ports}{$pid} };
	open my $f, '>>', "$self->{dir}/kills" or croak $!;
	printf $f "%.6f %s %s %d %s\n", $t, $self->{phase}, $kind, $pid,
		$self->{victims}{clients}{$pid} // '-';
}

# What nobody but us starts again.
sub _revive
{
	my ($self, $kind) = @_;
	$self->_revive_proxy if $kind eq 'postmaster';
	$self->_revive_server if $kind eq 'server_postmaster';
}

# The next postmaster may refuse while replayd still finishes.
sub _revive_proxy
{
	my ($self) = @_;
	my $p = $self->{proxy};
	my $end = time + $self->{deadline};
	$self->{new_postmaster} = 1;
	for (;;) {
		reap(delete $p->{pid}, 20) if $p->{pid};
		last if eval { $p->start };
		$self->{start_refused}++;
		croak $@ if time > $end;
	}
}

sub _revive_server
{
	my ($self) = @_;
	my $c = $self->{cluster};
	my $pid = delete $c->{pid} // return;
	waitpid $pid, 0;
	my $harder = time + (rand() < 0.5 ? 0 : 20);
	wait_until('the server to be gone', sub {
		my @left = grep { (readlink("/proc/$_/cwd") // '') eq $c->dir }
			map { m{(\d+)$} } glob '/proc/[0-9]*';
		kill KILL => @left if time >= $harder;
		return !@left;
	});
	unlink $c->dir . '/postmaster.pid';
	$c->start;
}

# Processes that stand still for a while, and go on.
sub _storm
{
	my ($self) = @_;
	my $n = $self->{storm};
	$self->{phase} = 'storm';
	for (1 .. $n) {
		last if $self->{enough};
		$self->_check;
		my $kinds = $self->{victims}->look;
		my @kinds = grep { @{ $kinds->{$_} // [] } } qw(child replayd
			recorder verifier worker resolver postmaster
			server_backend verification_backend);
		my @stopped = map { my @p = @{ $kinds->{ $kinds[rand @kinds] } };
			$p[rand @p] } 1 .. 1 + rand 4;
		kill STOP => @stopped;
		nap(0.02 + rand 0.6);
		kill CONT => @stopped;
		nap(rand 0.05);
	}
	$self->say('storm     %5d stops', $n);
}

# What has a point be passed: something dies before, or is asked for.
my %provoked = (start_drain => 'replayd', start_recorder => 'replayd',
	supervise => 'replayd', key_signed => 'key', map { $_ => 'child' }
	qw(lane_free dead_lane fork_child child_reaped resolver_answer));
my $seldom = qr/^(?:segment_|recycle|evidence_|before_ch|after_ch)/;

# The next point: each in turn, but none in replayd while that is young (it
# would be started again late), unless that is what is wanted.
sub _next_point
{
	my ($self, $turns) = @_;
	my %names = $self->_points;
	my $young = $self->_spare_replayd($self->{victims}->look);
	my @may = grep { !$young || ($names{$_} ne 'replayd'
		&& ($provoked{$_} // '') ne 'replayd') } sort keys %names;
	my ($name) = sort { ($turns->{$a} // 0) <=> ($turns->{$b} // 0) } @may;
	$turns->{$name}++;
	return $name;
}

# At which pass to die.
sub _passes
{
	my ($name) = @_;
	my $kind = $provoked{$name} // '';
	return 1 if $kind eq 'replayd' || $kind eq 'key';
	return 1 + int rand($kind || $name =~ $seldom ? 2 : 60);
}

# Named points of a build with KILLPOINTS=1: die at the n-th pass.  All are
# reached before the run ends.
sub _phase_points
{
	my ($self) = @_;
	my ($j, $points) = @$self{qw(judge control)};
	my $end = time + $self->{minutes} * 60;
	my ($n, %turns) = (0);
	my @left = $self->_unreached;
	$self->{phase} = 'points';
	while (($n < $self->{kills} || @left) && time < $end
		&& !$self->{enough}) {
		$self->_check;
		my $name = $self->_next_point(\%turns);
		my $armed = time;
		$points->arm($name, _passes($name));
		my $pid = $self->_provoke($name);
		if (!$pid) {
			$points->disarm;
			next;
		}
		$n++;
		$self->{killed}{"at $name"}++;
		my $t = time;
		$self->_killed_at_point($armed, $t, $name, $pid);
		# The next point only when commits go on.
		$j->wrong("no commit after $name") unless eval {
			wait_until('commits', sub { $j->read_clients;
				($j->{latest} // 0) > $t }, $self->{deadline}) };
		@left = $self->_unreached;
	}
	$self->say('points    %5d deaths at %d points in %.0f s', $n,
		scalar grep({ /^at / } keys %{ $self->{killed} }),
		time - $end + $self->{minutes} * 60);
	$j->wrong("point $_ was never reached") for @left;
}

# {name => folder} of the points that are passed at this level.
sub _points
{
	my ($self) = @_;
	my %names = $self->{control}->names;
	delete $names{sent} if $self->{level} eq 'before_commit';
	return %names;
}

sub _unreached
{
	my ($self) = @_;
	my %names = $self->_points;
	return grep { !$self->{killed}{"at $_"} } sort keys %names;
}

# Waits for a process to die at the point.
sub _provoke
{
	my ($self, $name) = @_;
	my $kind = $provoked{$name};
	my $until = time + 10;
	my $again = 0;
	while (time < $until) {
		my $pid = $self->{control}->victim;
		return $pid if $pid;
		nap 0.01;
		next if !$kind || time < $again;
		$again = time + ($kind eq 'child' ? 0.2 : 10);
		if ($kind eq 'key') {
			$self->_rotate_key;
			next;
		}
		my $k = $self->{victims}->look;
		my @pids = @{ $k->{$kind} // [] } or next;
		my $victim = $pids[rand @pids];
		kill KILL => $victim and $self->_killed(time, $kind, $victim);
	}
	return;
}

# In the background: it waits until the key is in use.
sub _rotate_key
{
	my ($self) = @_;
	my $p = $self->{proxy};
	reap($self->{rotating}, 60) if $self->{rotating};
	$self->{rotating} = spawn([program('witnessctl'), '-D', $p->dir,
		'rotate-key'], stdout => IO::File->new('/dev/null', 'w'));
}

sub _killed_at_point
{
	my ($self, $from, $t, $name, $pid) = @_;
	my $client = $self->{victims}{clients}{$pid};
	my $all = ($self->{proxy}->pid // 0) == $pid;
	push @{ $self->{events} }, { from => $from, t => $t, pid => $pid,
		phase => 'points', port => $self->{victims}{ports}{$pid},
		kind => $all ? 'postmaster' : defined $client ? 'child' : 'point' };
	open my $f, '>>', "$self->{dir}/kills" or croak $!;
	printf $f "%.6f points at:%s %d %s\n", $t, $name, $pid, $client // '-';
	$self->_revive('postmaster') if $all;
}

# --- the end ---

sub _settle
{
	my ($self) = @_;
	my ($p, $c, $j) = @$self{qw(proxy cluster judge)};
	$self->{ended} = time;
	spew("$self->{dir}/stop", '');
	for my $id (sort keys %{ $self->{clients} }) {
		next if defined reap($self->{clients}{$id},
			2 * $self->{deadline});
		$j->wrong("client $id does not end");
	}
	$j->{began}{T0n0z} = time;
	$p->safe_psql("insert into t values ('T0n0z', 0, 'fence')",
		seconds => $self->{deadline});
	my $n_open;
	$j->{told}{T0n0z} = ['acknowledged', 'insert'];
	my $from = time;
	my $deadline = $self->{settle} // 600;
	my $ok = eval { wait_until('all records to settle', sub {
		my @open = $j->open_transactions;
		$n_open = @open;
		nap 0.3;
		return !@open && grep { ($_->{token} // '') eq 'T0n0z' }
			values %{ $j->{by_tx} };
	}, $deadline) };
	$j->wrong("$n_open records are not settled after $deadline s")
		unless $ok;
	$self->{settled} = time - $from;
	my $last = $c->safe_psql('select pg_current_xact_id()') - 1;
	$p->stop('INT') // $j->wrong('pgwitness does not stop');
	$j->compare(first => $self->{first}, last => $last);
	Report::undisturbed($self);
	Report::recovery($self);
	my ($rc, $out, $err) = $p->verify('--final');
	$j->wrong("witnessctl verify --final: exit $rc: "
		. (split /\n/, "$err$out")[0]) if $rc;
	($self->{verify}) = reverse split /\n/, $out;
}

1;
