# Message scripts: what a client sends, message by message, as readable text.
#
#	my @scripts = PGW::Script::load('scripts/pipeline.txt');
#	my $seen = $scripts[0]->play(on => $proxy, server => $cluster);
#	# {1 => [...], 2 => [...]}: for each session what it received
#
# The language is described in test/conformance/README.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Script;
use strict;
use warnings;
use Carp qw(croak);
use PGW::Util qw(wait_until slurp);
use PGW::Wire;

# verb => sub(options, text) that gives bytes.
our %message = (
	query => sub { Query($_[1]) },
	parse => sub { Parse($_[1], name => $_[0]{name},
		types => _list($_[0]{types})) },
	bind => sub { Bind([_values($_[1])], portal => $_[0]{portal},
		name => $_[0]{name}, formats => _list($_[0]{formats}),
		results => _list($_[0]{results})) },
	describe => sub { Describe(_which($_[0])) },
	close => sub { PGW::Wire::Close(_which($_[0])) },
	execute => sub { Execute($_[0]{rows}, $_[0]{portal}) },
	sync => sub { Sync },
	flush => sub { Flush },
	copydata => sub { CopyData(_unescape($_[1])) },
	copydone => sub { CopyDone },
	copyfail => sub { CopyFail($_[1]) },
	call => sub { FunctionCall($_[0]{oid}, _values($_[1])) },
	terminate => sub { Terminate },
	message => sub { Message($_[0]{type}, _unescape($_[1])) },
);

sub _list { return [defined $_[0] ? split /,/, $_[0] : ()] }

# describe(statement=s), close(portal): 'S' or 'P' and its name.
sub _which
{
	my ($o) = @_;
	for (qw(statement portal)) {
		return (uc substr($_, 0, 1), $o->{$_}) if exists $o->{$_};
	}
	croak 'statement or portal?';
}

sub _unescape
{
	my ($text) = @_;
	my %c = (n => "\n", t => "\t", '\\' => '\\');
	$text =~ s/\\(?:x([0-9a-f]{2})|(.))/defined $1 ? chr hex $1 : $c{$2}
		\/\/ "\\$2"/gie;
	return $text;
}

# 'text' null 0x0a0b 12
sub _values
{
	my ($text) = @_;
	my @v;
	while ($text =~ /\G\s*(?:'([^']*(?:''[^']*)*)'|(\S+))/gc) {
		if (defined $1) { push @v, $1 =~ s/''/'/gr }
		elsif ($2 eq 'null') { push @v, undef }
		elsif ($2 =~ /^0x([0-9a-f]*)$/i) { push @v, pack 'H*', $1 }
		else { push @v, $2 }
	}
	return @v;
}

# {3*text} and {3,text}: that often, '#' counts from 1; the latter with commas.
sub _expand
{
	my ($text) = @_;
	$text =~ s/\{(\d+)([*,])([^{}]*)\}/
		my ($n, $by, $t) = ($1, $2 eq ',' ? ',' : '', $3);
		$by eq '' && $t !~ m|#| ? $t x $n
			: join $by, map { $t =~ s|#|$_|gr } 1 .. $n/gex;
	return $text;
}

# All scripts of a file.
sub load
{
	my ($path) = @_;
	my (@scripts, @blocks);
	my $number = 0;
	for my $line (split /\n/, slurp($path)) {
		$number++;
		next if $line =~ /^\s*(?:#|$)/;
		if ($line =~ /^script (.+)/) {
			croak "$path:$number: repeat without end" if @blocks > 1;
			push @scripts, bless { name => $1, path => $path,
				line => $number, steps => [] }, __PACKAGE__;
			@blocks = ($scripts[-1]{steps});
		} elsif ($line =~ /^\t\t(.*)/ && @{ $blocks[-1] }
			&& !ref $blocks[-1][-1][0]) {
			$blocks[-1][-1][2] .= "\n$1";
		} elsif ($line =~ /^\trepeat (\d+)$/) {
			push @blocks, my $inner = [];
			push @{ $blocks[-2] }, [$inner, $1];
		} elsif ($line eq "\tend") {
			croak "$path:$number: end" if @blocks < 2;
			pop @blocks;
		} elsif ($line =~ /^\t([a-z]+)(?:\(([^)]*)\))?(?: (.*))?$/) {
			push @{ $blocks[-1] }, [$1, { map {
				/^([^=]+)=(.*)$/ ? ($1, $2) : ($_, undef) }
				split ' ', $2 // '' }, $3 // '', $number];
		} else {
			croak "$path:$number: not understood: $line";
		}
	}
	return @scripts;
}

sub name { $_[0]{name} }

# Words of the script about itself: `known WHY`, `unwitnessed WHY`, `once`.
sub word
{
	my ($self, $verb) = @_;
	return (map { $_->[2] || 1 } grep { $_->[0] eq $verb }
		@{ $self->{steps} })[0];
}

# True if there are messages that no answer is waited for between.
sub is_pipeline
{
	my ($self) = @_;
	my $before = 0;
	for (@{ $self->{steps} }) {
		return 1 if ref $_->[0];	# repeat
		return 1 if $message{ $_->[0] } && $before;
		$before = $message{ $_->[0] } ? 1 : 0;
	}
	return 0;
}

# Plays a script.  on: whom its sessions connect to; server: PGW::Wire to the
# server itself, for `direct` and `until`; split: every message is its own
# write.
sub play
{
	my ($self, %o) = @_;
	my $play = bless { %o, session => {}, now => 1, script => $self },
		'PGW::Script::Play';
	my $ok = eval {
		$play->steps($self->{steps}, '');
		$play->finish;
		1;
	};
	$play->note("gave up: $@") unless $ok;
	delete $_->{wire} for values %{ $play->{session} };
	return { map { $_ => $play->{session}{$_}{seen} // [] }
		keys %{ $play->{session} } };
}

package PGW::Script::Play;
use Carp qw(croak);
use PGW::Wire;
use PGW::Util qw(wait_until);

sub steps
{
	my ($self, $steps, $count) = @_;
	for (@$steps) {
		if (ref $_->[0]) {
			my ($inner, $n) = @$_;
			$self->steps($inner, $_) for 1 .. $n;
			next;
		}
		my ($verb, $options, $text, $line) = @$_;
		$self->{line} = $line;
		my %opt = map { $_ => ($options->{$_} // '') =~ s/#/$count/gr }
			keys %$options;
		$text =~ s/\{pid(?: (\d+))?\}/$self->at($1)->{wire}{pid}/gex;
		$text =~ s/\{n\}/$count/g;
		$text = PGW::Script::_expand($text);
		my $do = $self->can("do_$verb");
		if (my $make = $PGW::Script::message{$verb}) {
			push @{ $self->at->{out} }, $make->(\%opt, $text);
		} elsif ($do) {
			$self->$do(\%opt, $text);
		} else {
			croak "$self->{script}{path}:$line: $verb?";
		}
	}
}

# A session, the current one by default; connected when first named.
sub at
{
	my ($self, $n, %startup) = @_;
	$n //= $self->{now};
	return $self->{session}{$n} //= do {
		my $wire = $self->{on}->wire(startup => {
			application_name => 'script', %startup });
		my $s = { wire => $wire, out => [], seen => [] };
		$self->{pids}{ $wire->{pid} } = $n;
		push @{ $s->{seen} }, $self->masked($_) for @{ $wire->{start} };
		$s;
	};
}

sub note
{
	my ($self, $text) = @_;
	my $s = $self->{session}{ $self->{now} } //= { seen => [] };
	push @{ $s->{seen} }, "# line $self->{line}: $text";
}

# The documented list: the values of BackendKeyData, that process id where a
# notification repeats it, and where in the server's source an error is from
# (a row that is locked first fails in LockRows).
sub masked
{
	my ($self, $m) = @_;
	my ($type, $body) = @$m;
	$body = length($body) . ' bytes' if $type eq 'K';
	if ($type eq 'A') {
		my $pid = unpack 'N', $body;
		substr $body, 0, 4, 'session '
			. ($self->{pids}{$pid} // 'unknown') . ' ';
	}
	$body =~ s/\0F[^\0]*\0L[^\0]*\0R[^\0]*\0/\0/ if $type eq 'E';
	return "$type $body";
}

sub read_to
{
	my ($self, $s, @args) = @_;
	push @{ $s->{seen} }, map { $self->masked($_) }
		$s->{wire}->read_to(@args);
}

# Sends what was collected: in one write, or each message in its own.
sub do_push
{
	my ($self) = @_;
	my $s = $self->at;
	if ($self->{split}) {
		$s->{wire}->send($_) for @{ $s->{out} };
	} elsif (@{ $s->{out} }) {
		$s->{wire}->send(@{ $s->{out} });
	}
	$s->{out} = [];
}

# wait [TYPES [COUNT]]: sends, then reads up to such messages.
sub do_wait
{
	my ($self, $o, $text) = @_;
	my ($types, $n) = split ' ', $text;
	$self->do_push;
	$self->read_to($self->at, $types // 'Z', $n // 1);
	$self->note("wait $text");
}

# on N, on(parameter=value) N: the session that what follows is about.
sub do_on
{
	my ($self, $o, $text) = @_;
	$self->at($text, %$o);
	$self->{now} = $text;
}

# direct SQL: past the proxy, by a session of the runner.
sub do_direct
{
	my ($self, $o, $text) = @_;
	my ($bad) = grep { $_->[0] eq 'E' } $self->{server}->ask(Query($text));
	croak "direct: " . fields($bad)->{M} if $bad;
}

# until SQL: waits until it is true at the server.
sub do_until
{
	my ($self, $o, $text) = @_;
	$self->do_push;
	wait_until($text, sub {
		my @m = $self->{server}->ask(Query($text));
		my ($d) = grep { $_->[0] eq 'D' } @m;
		croak fields($m[0])->{M} if $m[0][0] eq 'E';
		return $d && ((columns($d))[0] // '') eq 't';
	});
}

# Said about the script, not in it.
sub do_known { }
sub do_unwitnessed { }
sub do_once { }

# disconnect: without a word.
sub do_disconnect
{
	my ($self) = @_;
	$self->do_push;
	$self->at->{wire}->close;
	$self->at->{closed} = 1;
}

# The end of every session: anything that was not waited for is seen.
sub finish
{
	my ($self) = @_;
	for my $n (sort keys %{ $self->{session} }) {
		my $s = $self->at($n);
		next if $s->{closed};
		$self->{now} = $n;
		$self->do_push;
		$s->{wire}->send(Terminate);
		push @{ $s->{seen} }, map { $self->masked($_) }
			$s->{wire}->read_all;
		$s->{wire}->close;
	}
}

1;
