# Assertions about the transactions that PGW::Proxy finds in the evidence log.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Check;
use strict;
use warnings;
use Exporter 'import';
use Test::More;
binmode Test::More->builder->$_, ":utf8" for qw(output failure_output todo_output);

our @EXPORT = qw(is_verified is_named comes_out no_mismatches one_outcome_and_verdict
	table_of describe_tx);

# One line for a failed test.
sub describe_tx
{
	my ($t) = @_;
	return 'no transaction' unless $t;
	my ($r, $o, $v) = map { $_ // {} } @$t{qw(record outcome verdict)};
	my @m = map { join ' ', map { $_ // 'null' } $_->{table},
		PGW::Check::_row($_->{row}), @$_{qw(column claimed calculated)} }
		@{ $v->{mismatches} // [] };
	return join ', ', "tx $t->{tx_id}", substr($t->{query} // '', 0, 80),
		'capture ' . ($r->{capture} // '-') . ' '
		. ($r->{capture_reason} // ''), 'outcome ' . ($o->{outcome} // '-'),
		'verdict ' . ($v->{verdict} // '-') . ' ' . ($v->{reason} // ''),
		@m[0 .. ($#m < 3 ? $#m : 3)];
}

sub _row { my ($r) = @_; return ref $r ? join(',', map { "$_="
	. ($r->{$_} // 'null') } sort keys %$r) : '' }

# The record's entry for a table, 't' or 's.t'.
sub table_of
{
	my ($t, $name) = @_;
	$name = "public.$name" unless $name =~ /\./;
	return (grep { $_->{name} eq $name } @{ $t->{record}{tables} // [] })[0];
}

my $hash = qr/^[0-9a-f]{64}$/;

# Exactly captured, committed, and reproduced.
sub is_verified
{
	my ($t, $name) = @_;
	my ($r, $o, $v) = map { $_ // {} } @{ $t // {} }{qw(record outcome verdict)};
	my $ok = ($r->{capture} // '') eq 'exact'
		&& ($o->{outcome} // '') eq 'committed'
		&& ($v->{verdict} // '') eq 'verified' && $v->{success}
		&& ($r->{pre_root_captured} // '') =~ $hash
		&& ($r->{post_root_claimed} // '') =~ $hash
		&& ($v->{post_root_calculated} // '') eq $r->{post_root_claimed}
		&& ($v->{pre_root_captured} // '') eq $r->{pre_root_captured}
		&& ($v->{post_root_claimed} // '') eq $r->{post_root_claimed}
		&& !@{ $v->{mismatches} // [] };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($ok, "$name: verified") or diag(describe_tx($t));
	return $ok;
}

# Runs sql through the proxy $p: one record, which comes out as one of @wants:
# verified, a reason to be unverifiable, or capture:capture_reason.
sub comes_out
{
	my ($p, $name, $sql, @wants) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @tx = $p->witness($sql);
	is(@tx, 1, "$name: one record") or return;
	my ($r, $v) = map { $_ // {} } @{ $tx[0] }{qw(record verdict)};
	my $is = $r->{capture} ne 'exact' ? "$r->{capture}:$r->{capture_reason}"
		: $v->{verdict} eq 'verified' ? 'verified' : $v->{reason} // '';
	return is_verified($tx[0], $name) if "$is @wants" eq 'verified verified';
	return ok((grep { $_ eq $is } @wants), "$name: @wants")
		|| diag("it is $is: " . describe_tx($tx[0]));
}

# Committed and named as what could not be captured or verified; or captured
# exactly and verified where that is true.  Never a mismatch, never `verified`
# on a capture that is not exact.
sub is_named
{
	my ($t, $name, %o) = @_;
	my ($r, $o, $v) = map { $_ // {} } @{ $t // {} }{qw(record outcome verdict)};
	my $verdict = $v->{verdict} // '';
	my $exact = ($r->{capture} // '') eq 'exact';
	my $ok = ($o->{outcome} // '') eq ($o{outcome} // 'committed')
		&& ($r->{capture} // '')
		=~ /^(?:exact|incomplete|race|unsupported|capture_lost)$/
		&& ($exact || ($r->{capture_reason} // '') ne '');
	if (($o->{outcome} // '') eq 'committed') {
		$ok &&= $verdict eq 'verified' ? $exact && $v->{success}
			: $verdict eq 'unverifiable' && !$v->{success}
			&& ($v->{reason} // '') =~ /^[a-z][a-z0-9_]*$/;
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($ok, "$name: named") or diag(describe_tx($t));
	note(describe_tx($t));
	return $ok;
}

sub no_mismatches
{
	my ($proxy, $name) = @_;
	my @bad = grep { $_->{verdict} && $_->{verdict}{verdict}
		=~ /^(?:mismatch|error)$/ } $proxy->transactions;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(@bad, 0, $name // 'no mismatches and no errors in all of the log')
		or diag(map { describe_tx($_) . "\n" } @bad[0 .. ($#bad < 9
		? $#bad : 9)]);
}

# CONTRACT: one record, one final outcome per record, one verdict per
# committed record.
sub one_outcome_and_verdict
{
	my ($proxy, $name) = @_;
	my @bad = grep {
		my @final = grep { $_->{outcome} ne 'prepared' } @{ $_->{outcomes} };
		@{ $_->{records} } != 1 || @final != 1
			|| @{ $_->{verdicts} } != ($final[0]{outcome} eq 'committed')
	} $proxy->transactions;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(@bad, 0, $name // 'one record, one final outcome, one verdict each')
		or diag(map { describe_tx($_) . ' records ' . @{ $_->{records} }
		. ' outcomes ' . @{ $_->{outcomes} } . ' verdicts '
		. @{ $_->{verdicts} } . "\n" } @bad[0 .. ($#bad < 9 ? $#bad : 9)]);
}

1;
