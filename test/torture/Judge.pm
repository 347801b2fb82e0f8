# Compares three accounts of the same transactions: what the clients were told
# (Writer.pm's logs), what the server has (rows, xmin, pg_xact_status, commit
# times), and what the evidence log says.
#
# A server that crashed gives xids again that it lost, so that an xid committed
# does not say by whom.  But no transaction outlives a crash: it is its own
# commit if, by its time, it lies in the epoch, between two starts of the
# server, in which the client sent the first byte.
#
# SPDX-License-Identifier: PostgreSQL
package Judge;
use strict;
use warnings;
use PGW::Util qw(slurp);
use Time::Local qw(timegm);

sub new
{
	my ($class, %o) = @_;
	return bless { violations => [], by_tx => {}, read => {}, log => {},
		lines => 0, %o }, $class;
}

sub wrong { my ($j, $what) = @_; push @{ $j->{violations} }, $what }

# --- the evidence log, read on from where it was left ---

sub read_evidence
{
	my ($j) = @_;
	for my $path ($j->{proxy}->evidence_files) {
		my $from = $j->{read}{$path} // 0;
		open my $f, '<:raw', $path or die "$path: $!";
		seek $f, $from, 0;
		while (my $line = <$f>) {
			last if $line !~ /\n\z/;
			$from += length $line;
			$j->_line($line);
		}
		$j->{read}{$path} = $from;
	}
}

sub _line
{
	my ($j, $line) = @_;
	$j->{lines}++;
	my ($type) = $line =~ /"type":"(\w+)"/;
	my ($tx) = $line =~ /"tx_id":"?(\d+)/ or return;
	my ($time) = $line =~ /"time":"([^"]+)"/;
	my $t = $j->{by_tx}{$tx} //= { tx => $tx };
	if ($type eq 'StateCommitmentRecord') {
		$t->{records}++;
		($t->{xid}) = $line =~ /"xid":"?(\d+)/;
		($t->{capture}) = $line =~ /"capture":"(\w+)"/;
		$t->{intent} = $line =~ /"intent":true/;
		($t->{capture_reason}) = $line =~ /"capture_reason":"(\w+)"/;
		my ($sql) = $line =~ /"query_sequence":\[(.*?)\],"tables"/;
		($t->{token}) = ($sql // $line) =~ /\b(?:none)?(T\d+n\d+z)/;
	} elsif ($type eq 'TransactionOutcome') {
		my ($o) = $line =~ /"outcome":"(\w+)"/;
		return if $o eq 'prepared';
		push @{ $t->{outcomes} }, $o;
		$t->{decided} = seconds($time);
		($t->{why}) = $line =~ /"reason":"(\w+)"/;
		($t->{by}) = $line =~ /"resolved_by":"(\w+)"/;
	} elsif ($type eq 'VerificationResult') {
		push @{ $t->{verdicts} }, $line =~ /"verdict":"(\w+)"/;
		($t->{verdict_reason}) = $line =~ /"reason":"(\w+)"/;
	}
}

# "2026-11-26T11:05:13.123456Z", and as the server's log has it: in seconds.
sub seconds
{
	my ($y, $m, $d, $h, $min, $s) = $_[0]
		=~ /^(\d+)-(\d+)-(\d+)[T ](\d+):(\d+):([\d.]+)/ or return;
	return timegm(0, $min, $h, $d, $m - 1, $y) + $s;
}

# Transactions without their final outcome, or without verdict.
sub open_transactions
{
	my ($j) = @_;
	$j->read_evidence;
	return grep { !$_->{records} || !$_->{outcomes}
		|| ($_->{outcomes}[0] eq 'committed' && !$_->{verdicts}) }
		values %{ $j->{by_tx} };
}

# --- the clients' logs ---

sub read_clients
{
	my ($j) = @_;
	for my $path (glob "$j->{dir}/log.*") {
		my ($id) = $path =~ /(\d+)$/;
		my $at = $j->{log}{$path} //= { from => 0 };
		open my $f, '<', $path or next;
		seek $f, $at->{from}, 0;
		while (my $line = <$f>) {
			last if $line !~ /\n\z/;
			$at->{from} += length $line;
			$j->_event($id, split ' ', $line);
		}
	}
}

sub _event
{
	my ($j, $id, $what, @a) = @_;
	if ($what eq 'C') {
		$j->{session}{$id} = [@a[0, 2]];
		$j->{port}{$id} = $a[1];
	} elsif ($what eq 'S') {
		$j->{began}{$a[0]} = $a[2];
		$j->{session_of}{$a[0]} = $j->{session}{$id};
		$j->{current}{$id} = $a[0];
	} elsif ($what eq 'A') {
		$j->{told}{$a[0]} = ['acknowledged', $a[1]];
		$j->{answered}{$a[0]} = $a[3];
		push @{ $j->{acks} }, [@a[2, 3]];
		$j->{latest} = $a[2] if $a[2] > ($j->{latest} // 0);
	} elsif ($what eq 'R') {
		$j->{told}{$a[0]} = ['refused', $a[1], $a[2]];
		$j->{refused}{ $a[2] }++ if $a[1] !~ /^(?:rollback|failed)$/;
	} elsif ($what eq 'L' || $what eq 'H') {
		$j->{told}{$a[0]} //= ['nothing', $a[1]];
		$j->{left}{$a[0]} = $a[2];
		$j->wrong("hang: client $id, $a[1] $a[0]") if $what eq 'H';
		$j->{hangs}++ if $what eq 'H';
	} elsif ($what eq 'D') {
		push @{ $j->{ended} }, { client => $id, t => $a[0],
			since => $a[1], port => $j->{port}{$id} };
		$j->{last}{ $j->{current}{$id} // '' } = 1;
	} elsif ($what eq 'Q') {
		$j->{reads}++;
	}
}

sub acknowledged
{
	my ($j) = @_;
	return grep { $j->{told}{$_}[0] eq 'acknowledged' } keys %{ $j->{told} };
}

# --- the comparison ---

# first, last: xids before and after the run.
sub compare
{
	my ($j, %o) = @_;
	$j->read_evidence;
	$j->read_clients;
	$j->_server(@o{qw(first last)});
	my (%by_token, %by_xid);
	for my $t (values %{ $j->{by_tx} }) {
		push @{ $by_token{ $t->{token} } }, $t if $t->{token};
		push @{ $by_xid{ $t->{xid} } }, $t if $t->{xid};
		$j->_one($t) and $j->_outcome($t);
	}
	$j->{reused_xids} = grep { @$_ > 1 } values %by_xid;
	$j->_tokens(\%by_token);
	$j->_everything_committed(\%by_xid, \%by_token);
}

# One record, one final outcome, one verdict if committed.
sub _one
{
	my ($j, $t) = @_;
	my $name = _name($t);
	my @o = @{ $t->{outcomes} // [] };
	my @v = @{ $t->{verdicts} // [] };
	return $j->_no("$name: " . ($t->{records} // 0) . ' records')
		if ($t->{records} // 0) != 1;
	return $j->_no("$name: " . @o . ' final outcomes') if @o != 1;
	return $j->_no("$name: not of a client") if !$t->{token}
		|| !$j->{began}{ $t->{token} };
	$j->wrong("$name: " . @v . ' verdicts')
		if @v != ($o[0] eq 'committed');
	$j->wrong("$name: $v[0] " . ($t->{verdict_reason} // ''))
		if @v && $v[0] =~ /^(?:mismatch|error)$/;
	$j->{captures}{$t->{capture} . ' ' . ($t->{capture_reason} // '')}++;
	$j->{verdicts}{$v[0] . ' ' . ($v[0] eq 'verified' ? ''
		: $t->{verdict_reason} // '')}++ if @v;
	return 1;
}

sub _no { my ($j, $what) = @_; $j->wrong($what); return 0 }

sub _name
{
	my ($t) = @_;
	return "tx $t->{tx}" . ($t->{xid} ? " xid $t->{xid}" : '')
		. ($t->{token} ? " $t->{token}" : '');
}

# committed => {xid => time}, token => {token => xmin}, starts => [times],
# ends => {server's pid => [times at which a session of that pid ended]}
sub _server
{
	my ($j, $first, $last) = @_;
	my $c = $j->{cluster};
	my %committed = map { split /\|/ } split /\n/, $c->safe_psql(
		"select x, extract(epoch from pg_xact_commit_timestamp(x::text::xid))"
		. " from generate_series(${first}::bigint, ${last}::bigint) x "
		. "where pg_xact_status(x::text::xid8) = 'committed'");
	my %token = map { split /\|/ } split /\n/, $c->safe_psql(
		'select token, xmin from t');
	my $log = slurp($c->dir . '/server.log');
	my @starts = map { seconds($_) } $log
		=~ /^(\S+ \S+) .* database system is ready to accept conn/mg;
	my %ends;
	while ($log =~ /^(\S+ \S+) \S+ \[(\d+)\] .*LOG:  disconnection: /mg) {
		my ($time, $pid) = ($1, $2);
		push @{ $ends{$pid} }, seconds($time);
	}
	$j->{server} = { committed => \%committed, token => \%token,
		starts => \@starts, ends => \%ends };
	$j->{committed} = keys %committed;
}

# Which run of the server it was then.
sub _epoch
{
	my ($j, $time) = @_;
	return scalar grep { $_ <= $time } @{ $j->{server}{starts} };
}

# True if the server committed the xid as this client's transaction.
sub _is_commit_of
{
	my ($j, $xid, $token) = @_;
	my $time = $j->{server}{committed}{$xid} or return 0;
	return $j->_epoch($time) == $j->_epoch($j->{began}{$token});
}

# The outcome against what the server did.  Without xid it may be unknown
# only; committed then needs its row (_tokens).
sub _outcome
{
	my ($j, $t) = @_;
	my $outcome = $t->{outcomes}[0];
	my $did = $t->{xid} ? $j->_is_commit_of(@$t{qw(xid token)}) : undef;
	my $what = $outcome eq 'unknown' ? "unknown $t->{why}"
		. ($did ? ' (committed)' : '') : $outcome;
	$j->{outcomes}{$what}++;
	return $j->_unknown($t, $did) if $outcome eq 'unknown';
	$j->wrong(_name($t) . ": outcome $outcome by $t->{by}, the server: "
		. ($did ? 'committed' : 'not committed'))
		if defined $did && $did != ($outcome eq 'committed');
	my $answered = $j->{answered}{ $t->{token} } // 'inf';
	my $time = $j->{server}{committed}{ $t->{xid} // 0 };
	$j->wrong(_name($t) . ": committed at $time, not while its client "
		. 'waited') if $did && ($time < $j->{began}{ $t->{token} }
		|| $time > $answered);
}

# Why an outcome may be unknown; anything else is wrong.  In each case nothing
# came from that session any more, and if there is an xid the server crashed
# between the first byte and the outcome.
my %allowed = (
	no_xid => sub { my ($j, $t) = @_; !$t->{xid} && $t->{intent} },
	future_xid => sub { my ($j, $t, $did) = @_;
		$t->{xid} && !$did && $j->_crashed($t) },
	server_restarted => sub { my ($j, $t) = @_;
		$t->{xid} && $j->_crashed($t) },
);

sub _crashed
{
	my ($j, $t) = @_;
	return $j->_epoch($t->{decided}) > $j->_epoch($j->{began}{ $t->{token} })
		&& $j->{told}{ $t->{token} }[0] eq 'nothing';
}

sub _unknown
{
	my ($j, $t, $did) = @_;
	my $rule = $allowed{ $t->{why} // '' };
	$j->wrong(_name($t) . ': unknown, ' . ($t->{why} // '') . ', '
		. join ' ', @{ $j->{told}{ $t->{token} } // ['?'] })
		unless $rule && $j->{last}{ $t->{token} }
		&& $rule->($j, $t, $did);
}

sub _tokens
{
	my ($j, $by_token) = @_;
	for my $token (keys %{ $j->{told} }) {
		my ($told, $kind, $why) = @{ $j->{told}{$token} };
		my @t = @{ $by_token->{$token} // [] };
		my @c = grep { ($_->{outcomes}[0] // '') eq 'committed' } @t;
		# An intent whose child died before it could say more.
		my $unknown = grep { ($_->{outcomes}[0] // '') eq 'unknown'
			&& $_->{why} eq 'no_xid' } @t;
		$j->wrong("$kind $token: " . @t . ' records') if @t > 1
			&& $kind ne 'chained';
		if ($told eq 'acknowledged') {
			$j->wrong("$kind $token: acknowledged, no record") if !@t;
			$j->wrong("$kind $token: acknowledged, outcome "
				. join ' ', map { @{ $_->{outcomes} // [] } } @t)
				if @t && !@c && !$unknown;
		} elsif ($told eq 'refused' && $why ne 'nothing') {
			$j->wrong("$kind $token: refused ($why), outcome "
				. 'committed') if @c;
		}
		$j->wrong("$kind $token: committed, the server has no row")
			if @c && !defined $j->{server}{token}{$token}
			&& $kind =~ /^(?:several|do|extended|ddl|long|chained|block)$/;
	}
}

# Every xid that committed has a record.  One of an intent has none in it: it is
# found by its token, or, if it left no row, by the time of the commit, each
# intent once, the one that could not have committed later first.
sub _everything_committed
{
	my ($j, $by_xid, $by_token) = @_;
	my $s = $j->{server};
	my %token_of = reverse %{ $s->{token} };
	my @intents = sort { $a->{end} <=> $b->{end} }
		map { { %$_, end => $j->_session_end($_->{token}) } }
		grep { !$_->{xid} && $_->{token} && $j->{left}{ $_->{token} }
		&& ($_->{outcomes}[0] // '') eq 'unknown' } map { @$_ }
		values %$by_token;
	for my $xid (sort { $s->{committed}{$a} <=> $s->{committed}{$b} }
		keys %{ $s->{committed} }) {
		next if grep { $j->_is_commit_of($xid, $_->{token} // 'T0n0z') }
			@{ $by_xid->{$xid} // [] };
		my $token = ($token_of{$xid} // '') =~ s/x$//r;
		my @t = $token ? @{ $by_token->{$token} // [] }
			: $j->_intent_of($xid, \@intents);
		$j->wrong("xid $xid " . ($token || '(no token)') . " at "
			. "$s->{committed}{$xid}: committed on the server, no "
			. 'record') if !@t;
		$j->wrong("xid $xid $token: committed on the server, outcome "
			. "$t[0]{outcomes}[0]") if @t
			&& ($t[0]{outcomes}[0] // '') eq 'aborted';
	}
}

# When the server ended the session of this token: later than the client lost
# it, by as long as a statement of it waited for a lock.  A session that was
# killed is not in the server's log: its end is the epoch's.
sub _session_end
{
	my ($j, $token) = @_;
	my ($connected, $pid) = @{ $j->{session_of}{$token} };
	my ($end) = grep { $_ >= $connected }
		@{ $j->{server}{ends}{$pid} // [] };
	return $end // 'inf';
}

sub _intent_of
{
	my ($j, $xid, $intents) = @_;
	my $time = $j->{server}{committed}{$xid};
	for my $i (0 .. $#$intents) {
		my $t = $intents->[$i];
		return splice @$intents, $i, 1
			if $j->_is_commit_of($xid, $t->{token})
			&& $j->{began}{ $t->{token} } <= $time
			&& $time <= $t->{end} + 0.001;
	}
	return;
}

1;
