# pgwitness with a data directory of its own, in front of a server.
#
#	my $p = PGW::Proxy->new($cluster, conf => { log => { row_data => 'on' } });
#	my ($tx) = $p->witness('update t set v = 2 where id = 1');
#	is($tx->{verdict}{verdict}, 'verified');
#
# A transaction is {record, outcome, verdict, query}: the lines of the
# evidence log as CONTRACT.md names them, and the statements' text.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Proxy;
use strict;
use warnings;
use parent 'PGW::Endpoint';
use Carp qw(croak);
use Encode qw(decode);
use IO::Socket::INET;
use JSON::PP ();
use PGW::Util qw(wait_until nap slurp spew new_dir free_port run spawn reap
	alive comm cmdline children descendants processes_naming tail program
	keep_for_end);

my $json = JSON::PP->new->utf8->allow_nonref;

# The fence (see settled()) and where it is.
my $n_fences = 0;
my $fence = 'create table if not exists pgw_fence (id bigint primary key)';

# conf: {section => {key => value}} over what a test needs; env: more
# environment for it; no_start.
sub new
{
	my ($class, $backend, %o) = @_;
	my $dir = new_dir('px');
	my $self = bless { dir => "$dir/data", backend => $backend,
		host => '127.0.0.1', port => free_port(), user => 'postgres',
		mark => 0, lines => [], tx => {}, read => {}, last => {},
		env => $o{env} }, $class;
	keep_for_end($self);
	my ($rc, $out, $err) = run([program('pgwitness'), '--init', '-D',
		$self->{dir}]);
	croak "pgwitness --init ($rc): $err$out" if $rc;
	my %conf = (
		proxy => { listen_addresses => '127.0.0.1',
			port => $self->{port} },
		backend => { host => $backend->host, port => $backend->port,
			dbname => 'postgres', user => 'pgwitness' },
	);
	for my $section (keys %{ $o{conf} // {} }) {
		$conf{$section}{$_} = $o{conf}{$section}{$_}
			for keys %{ $o{conf}{$section} };
	}
	$self->{host} = $conf{proxy}{unix_socket_directory}
		if $conf{proxy}{unix_socket_directory}
		&& $conf{proxy}{listen_addresses} eq '';
	$self->{conf} = \%conf;
	$self->write_conf;
	$self->_server->safe_psql($fence);
	$self->start unless $o{no_start};
	return $self;
}

sub dir { $_[0]{dir} }
sub pid { $_[0]{pid} }
sub conf_path { "$_[0]{dir}/pgwitness.conf" }
sub spare_children { $_[0]{conf}{proxy}{spare_children} // 4 }

# The server behind the proxy, past any liar.
sub _server
{
	my ($self) = @_;
	my $b = $self->{backend};
	return $b->can('target') ? $b->target : $b;
}

# Writes pgwitness.conf; changes: {section => {key => value or undef}}.
sub write_conf
{
	my ($self, $changes) = @_;
	my $c = $self->{conf};
	for my $s (keys %{ $changes // {} }) {
		for my $k (keys %{ $changes->{$s} }) {
			my $v = $changes->{$s}{$k};
			defined $v ? ($c->{$s}{$k} = $v) : delete $c->{$s}{$k};
		}
	}
	my $text = '';
	for my $s (sort keys %$c) {
		$text .= "[$s]\n" . join('', map { "$_ = $c->{$s}{$_}\n" }
			sort keys %{ $c->{$s} }) . "\n";
	}
	spew($self->conf_path, $text);
}

# --- the program ---

sub start
{
	my ($self) = @_;
	open my $log, '>>', "$self->{dir}/stderr.log" or croak $!;
	$self->{pid} = spawn([program('pgwitness'), '-D', $self->{dir}],
		stdout => $log, stderr => $log, own_group => 1,
		dies_with_us => 'QUIT', env => $self->{env});
	wait_until('pgwitness to accept connections', sub {
		alive($self->{pid}) or croak "pgwitness ended:\n"
			. $self->last_words;
		$self->accepts;
	});
	return $self;
}

# True if somebody answers SSLRequest there.
sub accepts
{
	my ($self) = @_;
	return eval {
		my $w = $self->wire(raw => 1, seconds => 5);
		$w->send(PGW::Wire::SSLRequest());
		my $answer = $w->read_byte;
		$w->close;
		$answer =~ /^[NS]$/;
	};
}

sub signal { my ($self, $s) = @_; kill $s => $self->{pid} or croak "kill: $!" }

# Signals and waits; the exit code (128 + signal), undef if it did not end.
sub stop
{
	my ($self, $signal, $seconds) = @_;
	return unless $self->{pid};
	kill $signal // 'INT', $self->{pid} if ($signal // '') ne 'none';
	my $rc = reap($self->{pid}, $seconds // $PGW::Util::patience);
	delete $self->{pid} if defined $rc;
	return $rc;
}

sub restart
{
	my ($self) = @_;
	my $rc = $self->stop // croak 'pgwitness does not stop';
	$self->start;
	return $rc;
}

sub reload { $_[0]->signal('HUP') }

# Pids of everything started by this postmaster, itself first.
sub processes { my ($self) = @_; return ($self->{pid}, descendants($self->{pid})) }

# Pids of direct or indirect children whose /proc/PID/comm matches.
sub processes_called
{
	my ($self, $re) = @_;
	return grep { comm($_) =~ $re || cmdline($_) =~ $re }
		descendants($self->{pid});
}

# The replayd that takes the records from the children; undef while there is none.
sub replayd { my ($self) = @_; return (grep { comm($_) =~ /^replayd/ } children($self->{pid}))[0] }

# The replay workers: children of the one that holds verifier.lock.
sub replay_workers
{
	my ($self) = @_;
	my ($verifier) = grep { my $pid = $_;
		grep { (readlink($_) // '') =~ m{/verifier\.lock} }
		glob "/proc/$pid/fd/*" } map { children($_) } children($self->{pid});
	return grep { comm($_) =~ /^replayd/ } children($verifier);
}

# Everything that still runs for this data directory, whoever its parent is.
sub leftovers { my ($self) = @_; return processes_naming($self->{dir}) }

# The command lines of what does not end, though it was stopped or killed.
sub what_stays
{
	my ($self) = @_;
	my @left;
	eval { wait_until('all to end', sub { !(@left = $self->leftovers) }) };
	return map { cmdline($_) } @left;
}

# The child that serves the client whose own port this is; of a proxy with
# env => { PGWITNESS_DEBUGGER => 1 }.
sub child_of
{
	my ($self, $port) = @_;
	return wait_until("a child for port $port", sub {
		my %socket;
		for (split /\n/, slurp('/proc/net/tcp')) {
			my @f = split ' ';
			next if ($f[3] // '') ne '01';
			my ($here, $there) = map { hex((split /:/)[1]) } @f[1, 2];
			$socket{"socket:[$f[9]]"} = 1
				if $here == $self->port && $there == $port;
		}
		my @serving = grep { grep { $socket{readlink($_) // ''} }
			glob "/proc/$_/fd/*" } children($self->{pid});
		return $serving[0];
	});
}

sub witnessctl
{
	my ($self, @args) = @_;
	return run([program('witnessctl'), '-D', $self->{dir}, @args]);
}

# witnessctl verify on this log.
sub verify
{
	my ($self, @args) = @_;
	return run([program('witnessctl'), 'verify', '--log', "$self->{dir}/log",
		'--key', "$self->{dir}/evidence.pub", @args]);
}

# --- logs ---

sub evidence_files { my ($self) = @_; return sort glob "$self->{dir}/log/evidence-*.jsonl" }

# All whole lines of the evidence log, parsed.
sub evidence { my ($self) = @_; $self->_read_on; return @{ $self->{lines} } }

sub evidence_lines
{
	my ($self) = @_;
	return map { slurp($_) =~ /^(.*)\n/mg } $self->evidence_files;
}

# Parses what was added since the last look.  A crash may have cut the end of
# a file: then all is read again.
sub _read_on
{
	my ($self) = @_;
	my @files = $self->evidence_files;
	@$self{qw(lines tx read last)} = ([], {}, {}, {})
		if grep { $self->_was_cut($_) } @files;
	for my $path (@files) {
		my $from = $self->{read}{$path} // 0;
		next if -s $path == $from;
		open my $f, '<:raw', $path or croak "$path: $!";
		seek $f, $from, 0;
		my $text = do { local $/; <$f> } // '';
		my ($last) = $text =~ /([^\n]*\n)[^\n]*\z/ or next;
		$self->{read}{$path} = $from + 1 + rindex $text, "\n";
		$self->{last}{$path} = $last;
		for ($text =~ /^(.*)\n/mg) {
			my $line = $json->decode($_);
			push @{ $self->{lines} }, $line;
			$self->_add_line($line) if defined $line->{tx_id};
		}
	}
}

# True if the last line read of a file is not there any more.
sub _was_cut
{
	my ($self, $path) = @_;
	my $end = $self->{read}{$path} or return 0;
	my $last = $self->{last}{$path};
	open my $f, '<:raw', $path or return 1;
	seek $f, $end - length $last, 0;
	read $f, my $is, length $last;
	return $is ne $last;
}

sub _add_line
{
	my ($self, $l) = @_;
	my $t = $self->{tx}{ $l->{tx_id} } //= { tx_id => $l->{tx_id},
		records => [], outcomes => [], verdicts => [] };
	if ($l->{type} eq 'StateCommitmentRecord') {
		push @{ $t->{records} }, $t->{record} = $l;
		my $queries = $self->part($l->{query_sequence});
		$t->{query} = join '; ', map { ref $_->{sql}
			? JSON::PP::encode_json($_->{sql}) : $_->{sql} }
			@$queries;
	} elsif ($l->{type} eq 'TransactionOutcome') {
		push @{ $t->{outcomes} }, $t->{outcome} = $l;
	} elsif ($l->{type} eq 'VerificationResult') {
		push @{ $t->{verdicts} }, $t->{verdict} = $l;
	}
}

# Part of a line that may be too long for it: then it is in a file, a string as
# its text.
sub part { return $_[0]->_part($_[1], sub { $json->decode($_[0]) }) }
sub text { return $_[0]->_part($_[1], sub { decode('UTF-8', $_[0]) }) }

sub _part
{
	my ($self, $part, $read) = @_;
	return $part unless ref $part eq 'HASH' && exists $part->{sha256};
	my $hash = $part->{sha256};
	return $read->(slurp("$self->{dir}/log/blob/"
		. substr($hash, 0, 2) . "/$hash"));
}

# The operator log, parsed; event and level select.
sub operator_log
{
	my ($self, %o) = @_;
	my $path = "$self->{dir}/log/pgwitness.log";
	return unless -e $path;
	my @l = map { eval { $json->decode($_) } // { message => $_ } }
		slurp($path) =~ /^(.*)\n/mg;
	@l = grep { ($_->{event} // '') =~ $o{event} } @l if $o{event};
	@l = grep { ($_->{level} // '') eq $o{level} } @l if $o{level};
	return @l;
}

# Waits until code, given all evidence lines, is true.
sub wait_for_lines
{
	my ($self, $what, $code, $seconds) = @_;
	return wait_until($what, sub { $code->($self->evidence) }, $seconds);
}

# --- transactions ---

# All transactions of the log in order of tx_id.
sub transactions
{
	my ($self) = @_;
	$self->_read_on;
	my $tx = $self->{tx};
	return map { $tx->{$_} } sort { $a <=> $b } keys %$tx;
}

# True for a transaction with its final outcome and, if committed, verdict.
sub is_settled
{
	my ($t) = @_;
	my $o = $t->{outcome} // return 0;
	return 0 unless $t->{record};
	return 0 if $o->{outcome} eq 'prepared';
	return $o->{outcome} ne 'committed' || $t->{verdict};
}

# Transactions from now on are new to settled().
sub mark
{
	my ($self) = @_;
	my @t = $self->transactions;
	$self->{mark} = @t ? $t[-1]{tx_id} : 0;
}

# Writes a row of its own (a fence) and waits until that is settled and all
# before it; so what has no record then has none.  Gives the transactions
# since the last call; open => 1: does not wait for those without outcome.
sub settled
{
	my ($self, %o) = @_;
	my $n = ++$n_fences;
	my $mine = qr/\bpgw_fence\b/;
	$self->safe_psql("insert into pgw_fence values ($n)",
		%{ $o{psql} // {} });
	my @new;
	my $done = eval {
		wait_until('all records to settle', sub {
			@new = grep { $_->{tx_id} > $self->{mark} }
				$self->transactions;
			return 0 if !grep { ($_->{query} // '')
				=~ /\bpgw_fence values \((?:$n|\$1)\)/
				&& is_settled($_) } @new;
			return !grep { !is_settled($_) && !($o{open}
				&& !$_->{outcome}) } @new;
		}, $o{seconds});
		1;
	};
	if (!$done) {
		# What hangs once is not waited for again.
		my @all = $self->transactions;
		$self->{mark} = $all[-1]{tx_id} if @all;
		my @open = map { "$_->{tx_id} (" . ($_->{query} // '?') . ': '
			. ($_->{outcome}{outcome} // 'no outcome') . ')' }
			grep { !is_settled($_) } @all;
		croak "$@not settled: @open[0 .. ($#open < 9 ? $#open : 9)]\n";
	}
	$self->{mark} = $new[-1]{tx_id} if @new;
	return grep { ($_->{query} // '') !~ $mine } @new;
}

# Waits until each replay worker has its copy of the definitions, so that DDL
# from now on is run in all of them.
sub warm
{
	my ($self) = @_;
	my $workers = $self->{conf}{replay}{workers} // 2;
	$self->safe_psql('create schema pgw_warm; drop schema pgw_warm');
	wait_until('the workers to have their copies', sub {
		my %made = map { $_->{pid} => 1 }
			$self->operator_log(event => 'schema_copied');
		$workers <= grep { comm($_) =~ /^replayd/ } keys %made });
	return $self->mark;
}

# Runs SQL, which must succeed, and gives its transactions.
sub witness
{
	my ($self, $sql, %o) = @_;
	$self->safe_psql($sql, %o);
	return $self->settled;
}

# --- the end ---

sub last_words
{
	my ($self) = @_;
	my $d = $self->{dir};
	return join '', map { -s $_ ? "# --- $_\n" . tail($_, 25) : () }
		"$d/stderr.log", "$d/log/pgwitness.log",
		glob("$d/log/*postgres*.log"), "$d/verification.log";
}

sub destroy
{
	my ($self) = @_;
	my $pid = delete $self->{pid};
	my @all = $pid ? descendants($pid) : ();
	if ($pid && alive($pid)) {
		kill QUIT => $pid;
		kill KILL => $pid unless defined reap($pid, 10);
	}
	my $end = time + 10;
	while (grep { alive($_) } @all) {
		kill KILL => grep { alive($_) } @all if time > $end - 5;
		last if time > $end;
		nap;
	}
	kill KILL => $self->leftovers;
}

1;
