# Compares three accounts of the same transactions: what the clients were told
# (Writer.pm's logs), what the server has (rows, xmin, pg_xact_status), and
# what the evidence log says.
#
# SPDX-License-Identifier: PostgreSQL
package Judge;
use strict;
use warnings;
use Writer;

sub new
{
	my ($class, %o) = @_;
	return bless { violations => [], by_tx => {}, read => {}, log => {},
		lines => 0, lost_intents => 0, %o }, $class;
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
	my $t = $j->{by_tx}{$tx} //= { tx => $tx };
	if ($type eq 'StateCommitmentRecord') {
		$t->{records}++;
		($t->{xid}) = $line =~ /"xid":"?(\d+)/;
		($t->{capture}) = $line =~ /"capture":"(\w+)"/;
		($t->{capture_reason}) = $line =~ /"capture_reason":"(\w+)"/;
		my ($sql) = $line =~ /"query_sequence":\[(.*?)\],"tables"/;
		($t->{token}) = ($sql // $line) =~ /\b(?:none)?(T\d+n\d+z)/;
	} elsif ($type eq 'TransactionOutcome') {
		my ($o) = $line =~ /"outcome":"(\w+)"/;
		return if $o eq 'prepared';
		push @{ $t->{outcomes} }, $o;
		($t->{why}) = $line =~ /"reason":"(\w+)"/;
		($t->{by}) = $line =~ /"resolved_by":"(\w+)"/;
	} elsif ($type eq 'VerificationResult') {
		push @{ $t->{verdicts} }, $line =~ /"verdict":"(\w+)"/;
		($t->{verdict_reason}) = $line =~ /"reason":"(\w+)"/;
	}
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
	if ($what eq 'A') {
		$j->{told}{$a[0]} = ['acknowledged', $a[1]];
		push @{ $j->{acks} }, [@a[2, 3]];
		$j->{latest} = $a[2] if $a[2] > ($j->{latest} // 0);
	} elsif ($what eq 'R') {
		$j->{told}{$a[0]} = ['refused', $a[1], $a[2]];
		$j->{refused}{ $a[2] }++ if $a[1] !~ /^(?:rollback|failed)$/;
	} elsif ($what eq 'L' || $what eq 'H') {
		$j->{told}{$a[0]} //= ['nothing', $a[1]];
		$j->wrong("hang: client $id, $a[1] $a[0]") if $what eq 'H';
		$j->{hangs}++ if $what eq 'H';
	} elsif ($what eq 'D') {
		push @{ $j->{ended} }, [$id, @a];
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

# first, last: xids before and after the run; crashed: the server was killed.
sub compare
{
	my ($j, %o) = @_;
	$j->read_evidence;
	$j->read_clients;
	my (%by_token, %by_xid);
	for my $t (values %{ $j->{by_tx} }) {
		push @{ $by_token{ $t->{token} } }, $t if $t->{token};
		push @{ $by_xid{ $t->{xid} } }, $t if $t->{xid};
		$j->_one($t, $o{crashed});
	}
	my $server = $j->_server(@o{qw(first last)});
	$j->_outcomes_against_server($server, \%by_xid);
	$j->_tokens(\%by_token, $server);
	$j->_everything_committed($server, \%by_xid, \%by_token);
}

# One record, one final outcome, one verdict if committed.
sub _one
{
	my ($j, $t, $crashed) = @_;
	my $name = _name($t);
	my @o = @{ $t->{outcomes} // [] };
	my @v = @{ $t->{verdicts} // [] };
	return $j->wrong("$name: " . ($t->{records} // 0) . ' records')
		if ($t->{records} // 0) != 1;
	return $j->wrong("$name: " . @o . ' final outcomes') if @o != 1;
	$j->wrong("$name: " . @v . ' verdicts')
		if @v != ($o[0] eq 'committed');
	$j->wrong("$name: $v[0] " . ($t->{verdict_reason} // ''))
		if @v && $v[0] =~ /^(?:mismatch|error)$/;
	my $why = $t->{why} // '';
	$j->wrong("$name: unknown, $why") if $o[0] eq 'unknown'
		&& !($why eq 'no_xid' && !$t->{xid})
		&& !($why =~ /^(?:future_xid|server_restarted)$/ && $crashed);
	$j->{lost_intents}++ if ($t->{capture} // '') eq 'capture_lost'
		&& $o[0] eq 'unknown';
	$j->{outcomes}{$o[0] . ($o[0] eq 'unknown' ? " $why" : '')}++;
	$j->{captures}{$t->{capture} . ' ' . ($t->{capture_reason} // '')}++;
	$j->{verdicts}{$v[0] . ' ' . ($v[0] eq 'verified' ? ''
		: $t->{verdict_reason} // '')}++ if @v;
}

sub _name
{
	my ($t) = @_;
	return "tx $t->{tx}" . ($t->{xid} ? " xid $t->{xid}" : '')
		. ($t->{token} ? " $t->{token}" : '');
}

# {committed => {xid => 1}, token => {token => xmin}}
sub _server
{
	my ($j, $first, $last) = @_;
	my $c = $j->{cluster};
	my %committed = map { $_ => 1 } split /\n/, $c->safe_psql(
		"select x from generate_series(${first}::bigint, ${last}::bigint) x "
		. "where pg_xact_status(x::text::xid8) = 'committed'");
	my %token = map { split /\|/ } split /\n/, $c->safe_psql(
		'select token, xmin from t');
	return { committed => \%committed, token => \%token, last => $last };
}

sub _outcomes_against_server
{
	my ($j, $s, $by_xid) = @_;
	for my $xid (keys %$by_xid) {
		my @t = @{ $by_xid->{$xid} };
		my @c = grep { ($_->{outcomes}[0] // '') eq 'committed' } @t;
		my $truth = $s->{committed}{$xid} ? 1 : 0;
		if (@t > 1) {
			# After a crash the server gives lost xids again.
			$j->{reused_xids}++;
			$j->wrong("xid $xid twice, committed by "
				. join ' and ', map { _name($_) . ' ('
				. join(' ', @{ $_->{outcomes} // [] }, $_->{by} // '')
				. ')' } @t) if @c > 1 || @c != $truth;
		# Whether `unknown` was allowed is _one's to say; whether it had
		# been acknowledged, _tokens'.
		} elsif (@c != $truth && $t[0]{outcomes}
			&& $t[0]{outcomes}[0] ne 'unknown') {
			$j->wrong(_name($t[0]) . ": outcome $t[0]{outcomes}[0] by "
				. ($t[0]{by} // '?') . ', the server says '
				. ($truth ? 'committed' : 'aborted'));
		}
	}
}

sub _tokens
{
	my ($j, $by_token, $s) = @_;
	for my $token (keys %{ $j->{told} }) {
		my ($told, $kind, $why) = @{ $j->{told}{$token} };
		my @t = @{ $by_token->{$token} // [] };
		my @c = grep { ($_->{outcomes}[0] // '') eq 'committed' } @t;
		my $unknown = Writer::is_intent($kind)
			&& grep { ($_->{outcomes}[0] // '') eq 'unknown' } @t;
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
			if @c && !defined $s->{token}{$token}
			&& $kind =~ /^(?:several|do|extended|ddl|long|chained|block)$/;
	}
}

# Every xid that committed has a record; an intent's is found by its token.
sub _everything_committed
{
	my ($j, $s, $by_xid, $by_token) = @_;
	my %token_of = reverse %{ $s->{token} };
	for my $xid (sort { $a <=> $b } keys %{ $s->{committed} }) {
		next if $by_xid->{$xid};
		my $token = ($token_of{$xid} // '') =~ s/x$//r;
		my @t = @{ $by_token->{$token} // [] };
		# Below before_commit a killed child leaves an intent alone,
		# and whether it committed is `unknown`.
		next if !@t && !$token && $j->{lost_intents}-- > 0;
		$j->wrong("xid $xid " . ($token || '(no token)')
			. ': committed on the server, no record') if !@t;
		$j->wrong("xid $xid $token: committed on the server, outcome "
			. "$t[0]{outcomes}[0]") if @t
			&& ($t[0]{outcomes}[0] // '') eq 'aborted';
	}
	$j->{committed} = keys %{ $s->{committed} };
}

1;
