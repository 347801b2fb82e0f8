# What came of a run of Torture.pm: sessions that ended without cause, how long
# recovery took, and the figures.
#
# SPDX-License-Identifier: PostgreSQL
package Report;
use strict;
use warnings;

my %ends_all = map { $_ => 1 } qw(postmaster server_backend server_postmaster);

# Until when a session that begins may still be ended by it.  The server, one of
# whose processes was killed, lets clients in until it has noticed, and ends them
# all before it starts again; a spare child takes one until it has noticed that
# the postmaster is gone.
sub _until
{
	my ($e, $starts) = @_;
	return $e->{t} + 1 if $e->{kind} eq 'postmaster';
	return $e->{t} if !$ends_all{$e->{kind}};
	return (grep { $_ > $e->{t} } @$starts)[0] // 'inf';
}

# A session ends only if, while it was there, its own child was killed (the one
# that held its end of the connection, which is not known of all that died at
# kill points), or what all hang on.
sub _may_end
{
	my ($e, $d, $starts) = @_;
	return 0 if $e->{from} > $d->{t} || _until($e, $starts) < $d->{since};
	return 1 if $ends_all{$e->{kind}};
	return 0 if $e->{kind} !~ /^(?:child|spare|point)$/;
	return defined $e->{port} ? $e->{port} == $d->{port}
		: $e->{phase} eq 'points';
}

sub undisturbed
{
	my ($self) = @_;
	for my $d (@{ $self->{judge}{ended} // [] }) {
		next if $d->{t} > $self->{ended}
			|| grep { _may_end($_, $d,
				$self->{judge}{server}{starts}) }
			@{ $self->{events} };
		$self->{disturbed}++;
		$self->{judge}->wrong(sprintf 'client %d: its session ended at '
			. '%.3f and nothing of it was killed', @$d{qw(client t)});
	}
}

# Time until the next commit sent after the kill was acknowledged.
sub recovery
{
	my ($self) = @_;
	my @acks = sort { $a->[0] <=> $b->[0] } @{ $self->{judge}{acks} };
	my $i = 0;
	for my $e (sort { $a->{t} <=> $b->{t} } grep { $_->{kind}
		=~ /^(?:replayd|recorder|postmaster)$/ } @{ $self->{events} }) {
		$i++ while $i < @acks && $acks[$i][0] < $e->{t};
		my $best;
		for (my $k = $i; $k < @acks; $k++) {
			last if $best && $acks[$k][0] > $best;
			$best = $acks[$k][1] if !$best || $acks[$k][1] < $best;
		}
		push @{ $self->{$e->{kind} eq 'postmaster' ? 'restart'
			: $e->{young} ? 'throttled' : 'recovery'} },
			$best - $e->{t} if $best;
	}
	$self->{judge}->wrong(sprintf 'replayd took %.3f s to acknowledge again',
		$_) for grep { $self->{spool} && $_ >= 2 } @{ $self->{recovery} };
}

# Time from a kill of replayd until the recorder goes on.
sub _recorder_back
{
	my ($self) = @_;
	my @starts = map { Judge::seconds($_->{time}) }
		$self->{proxy}->operator_log(event => qr/^recorder_started$/);
	return map { my $t = $_->{t}; my ($next) = grep { $_ > $t } @starts;
		defined $next ? $next - $t : () } grep { $_->{kind} eq 'replayd'
		&& !$_->{young} } @{ $self->{events} };
}

sub _spread
{
	my @t = sort { $a <=> $b } @_ or return 'none';
	return sprintf 'n=%d median %.3f p95 %.3f max %.3f s', scalar @t,
		$t[@t / 2], $t[int(0.95 * $#t)], $t[-1];
}

sub _counts
{
	my ($h) = @_;
	return join ', ', map { (s/ $//r) . " $h->{$_}" } sort keys %{ $h // {} };
}

sub summary
{
	my ($self) = @_;
	my $j = $self->{judge};
	my $kills = 0;
	$kills += $_ for values %{ $self->{killed} };
	my $seconds = $self->{ended} - $self->{begun};
	my $acked = @{ $j->{acks} };
	my @row = (
		[kills => "$kills ($self->{level}, " . ($self->{pairs} // 0)
			. ' of them in pairs)'],
		['by kind' => _counts($self->{killed})],
		['load' => sprintf '%.0f s, %d commits acknowledged (%.0f/s), '
			. '%d reads', $seconds, $acked, $acked / $seconds,
			$j->{reads} // 0],
		['server' => "$j->{committed} transactions committed"],
		['records' => keys(%{ $j->{by_tx} }) . " ($j->{lines} lines)"],
		[outcomes => _counts($j->{outcomes})],
		[captures => _counts($j->{captures})],
		[verdicts => _counts($j->{verdicts})],
		[refused => _counts($j->{refused})],
		['sessions' => scalar(@{ $j->{ended} // [] }) . ' ended, '
			. ($self->{disturbed} // 0) . ' of them disturbed'],
		['xids given twice by the server' => $j->{reused_xids} // 0],
		[hangs => $j->{hangs} // 0],
		['recovery, replayd' => _spread(@{ $self->{recovery} })],
		['recorder goes on' => _spread(_recorder_back($self))],
		['recovery, died young' => _spread(@{ $self->{throttled} })],
		['recovery, postmaster' => _spread(@{ $self->{restart} // [] })
			. ', refused to start ' . ($self->{start_refused} // 0)],
		['settled after' => sprintf '%.1f s', $self->{settled}],
		['verify --final' => $self->{verify} // ''],
		[violations => scalar @{ $j->{violations} }],
	);
	$self->say('%-24s %s', @$_) for @row;
	my @v = @{ $j->{violations} };
	my %sorts;
	$sorts{ s/\b(?:xid |tx |T)?\d[\w.]*/N/gr =~ s/,? committed by .*//r }++
		for @v;
	$self->say('%24d x %s', $sorts{$_}, $_) for sort keys %sorts;
	$self->say('VIOLATION %s', $_) for @v[0 .. ($#v < 39 ? $#v : 39)];
}

1;
