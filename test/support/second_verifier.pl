#!/usr/bin/perl
# second_verifier.pl LOG_DIR KEY.pub [--final] [--checkpoint OLD]...
#
# Checks an evidence log by replayd/README, "Writing a second verifier", with
# nothing of pgwitness: Perl's own modules, and openssl(1) for Ed25519.
# JSON::PP lets a name stand twice in an object; else it keeps to all of it.
# Prints OK or what is wrong; exit 0 or 1.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use Digest::SHA qw(sha256);
use File::Find qw(find);
use File::Temp qw(tempdir);
use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64);

my ($dir, $pub, @rest) = @ARGV;
my ($final, @old);
while (defined(my $o = shift @rest)) {
	if ($o eq '--final') { $final = 1 }
	elsif ($o eq '--checkpoint') { push @old, shift @rest }
	else { die "unknown option $o\n" }
}
my $tmp = tempdir(CLEANUP => 1);
my @wrong;
sub wrong { push @wrong, join '', @_; return }
sub slurp
{
	open my $f, '<:raw', $_[0] or return;
	local $/;
	return scalar <$f> // '';
}
sub spew { open my $f, '>:raw', $_[0] or die; print $f $_[1]; close $f }

# --- base64, keys, checkpoints ---

sub unbase64
{
	my ($text, $bytes) = @_;
	my $d = decode_base64($text);
	return length $d == $bytes && encode_base64($d, '') eq $text ? $d : undef;
}

sub key_of
{
	my ($name, $id, $b64) = split /\+/, $_[0] =~ s/\n\z//r, 3;
	my $m = unbase64($b64 // '', 33);
	defined $m && substr($m, 0, 1) eq "\1" or return;
	my $want = unpack 'H8', sha256("$name\n$m");
	return $want eq $id && { name => $name, id => $id, key => substr $m, 1 };
}

sub signature_is_right
{
	my ($k, $text, $sig) = @_;
	# SubjectPublicKeyInfo of Ed25519 (RFC 8410)
	spew("$tmp/key", pack('H*', '302a300506032b6570032100') . $k->{key});
	spew("$tmp/text", $text);
	spew("$tmp/sig", $sig);
	return system("openssl pkeyutl -verify -pubin -keyform DER -inkey "
		. "$tmp/key -rawin -in $tmp/text -sigfile $tmp/sig >/dev/null 2>&1")
		== 0;
}

sub checkpoint
{
	my ($path, @keys) = @_;
	my $all = slurp($path) // return wrong("$path: cannot be read");
	my ($text, $sigs) = $all =~ /\A(.*?\n)\n(.*\n)\z/s
		or return wrong("$path: no checkpoint");
	my ($origin, $size, $b64) = split /\n/, $text;
	$size =~ /\A(0|[1-9]\d*)\z/ or return wrong("$path: size");
	my $root = unbase64($b64 // '', 32) // return wrong("$path: root");
	my $good = 0;
	for (split /\n/, $sigs) {
		my ($name, $b) = /\A\xe2\x80\x94 (\S+) (\S+)\z/
			or return wrong("$path: a signature's form");
		my $raw = unbase64($b, 68) // return wrong("$path: base64");
		for my $k (@keys) {
			next unless $k->{name} eq $name
				&& $k->{id} eq unpack 'H8', $raw;
			signature_is_right($k, $text, substr $raw, 4)
				or return wrong("$path: a signature is wrong");
			$good++;
		}
	}
	$good or return wrong("$path: no signature of a known key");
	grep { $_->{name} eq $origin } @keys or return wrong("$path: origin");
	return { path => $path, origin => $origin, size => $size, root => $root };
}

# --- trees: a list of [size, hash], largest first ---

sub append
{
	my ($tree, $hash, $prefix) = @_;
	push @$tree, [1, $hash];
	while (@$tree > 1 && $tree->[-1][0] == $tree->[-2][0]) {
		my ($l, $r) = splice @$tree, -2;
		push @$tree, [2 * $l->[0], sha256($prefix . $l->[1] . $r->[1])];
	}
}
sub root
{
	my ($tree, $prefix, $empty) = @_;
	return sha256($empty) unless @$tree;
	my $r = $tree->[-1][1];
	$r = sha256($prefix . $tree->[$_][1] . $r) for reverse 0 .. $#$tree - 1;
	return $r;
}

# --- tiles ---

my @level;	# [hashes], all of them
sub tile_name
{
	my ($l, $n) = @_;
	my $digits = sprintf '%03d', $n;
	$digits = '0' . $digits while length($digits) % 3;
	my @g = $digits =~ /(\d{3})/g;
	return "tile/$l/" . join '/', (map { "x$_" } @g[0 .. $#g - 1]), $g[-1];
}
sub tiles_of_leaves
{
	my ($leaves) = @_;
	$level[0] = $leaves;
	for (my $l = 0; @{ $level[$l] } >= 256; $l++) {
		for my $n (0 .. int(@{ $level[$l] } / 256) - 1) {
			my @t;
			append(\@t, $_, "\1") for @{ $level[$l] }[256 * $n .. 256 * $n + 255];
			push @{ $level[$l + 1] }, root(\@t, "\1", '');
		}
	}
}
sub check_tiles
{
	my ($size) = @_;
	for (my $l = 0; ($size >> 8 * $l) > 0; $l++) {
		my $have = $size >> 8 * $l;
		for my $n (0 .. int($have / 256) - 1) {
			-e "$dir/" . tile_name($l, $n) or wrong(tile_name($l, $n), ': missing');
		}
		my $w = $have % 256 or next;
		my $n = tile_name($l, int($have / 256));
		-e "$dir/$n.p/$w" || -e "$dir/$n" or wrong("$n.p/$w: missing");
	}
	return unless -d "$dir/tile";
	find({ no_chdir => 1, wanted => sub {
		my $name = substr $_, 1 + length $dir;
		return if -d $_ || $name =~ /\.tmp\z/;
		my ($l, $path, $w) = $name =~ m{\Atile/(\d)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d*))?\z}
			or return wrong("$name: an extra file");
		my $n = ($path =~ s/\D//gr) + 0;
		my $count = $w // 256;
		my @h = @{ $level[$l] // [] };
		my $end = 256 * $n + $count;
		return wrong("$name: an extra tile") if $end > @h || $count > 256;
		slurp($_) eq join '', @h[256 * $n .. $end - 1] or wrong("$name: changed");
	} }, "$dir/tile");
}

# --- lines ---

my $json = JSON::PP->new->utf8->allow_nonref(0);
my $hex = qr/\A[0-9a-f]{64}\z/;
sub is_int { defined $_[0] && !ref $_[0] && $_[0] =~ /\A-?\d+\z/ }

sub check_blobs
{
	my ($v, $top) = @_;
	if (ref $v eq 'HASH') {
		if (!$top && keys %$v == 2 && ($v->{sha256} // '') =~ $hex
			&& is_int($v->{bytes})) {
			my $h = $v->{sha256};
			my $b = slurp("$dir/blob/" . substr($h, 0, 2) . "/$h");
			defined $b && length $b == $v->{bytes} && unpack('H*', sha256($b)) eq $h
				or wrong("blob $h");
		}
		check_blobs($_) for values %$v;
	} elsif (ref $v eq 'ARRAY') { check_blobs($_) for @$v }
}

sub lp { utf8::encode(my $s = $_[0]); return pack('N', length $s) . $s }
sub database_root
{
	my ($tables, $which) = @_;
	my @t;
	for (sort { lp8($a->{schema}) cmp lp8($b->{schema})
			|| lp8($a->{table}) cmp lp8($b->{table}) } @$tables) {
		($_->{$which} // '') =~ $hex or return '';
		append(\@t, sha256('TABLE:' . lp($_->{schema}) . lp($_->{table})
			. pack 'H*', $_->{$which}), 'NODE:');
	}
	return unpack 'H*', root(\@t, 'NODE:', 'EMPTY:');
}
sub lp8 { utf8::encode(my $s = $_[0]); return $s }

my (%tx, @changes, $first_seen);
my %rules = (
	StateCommitmentRecord => sub {
		my ($v, $x) = @_;
		return 'a second record' if $x;
		$tx{$v->{tx_id}} = { map { $_ => $v->{$_} } qw(pre_root_captured post_root_claimed) };
		my $t = $v->{tables};
		return if ref $t ne 'ARRAY'
			|| grep { ref $_->{schema} || ref $_->{table} } @$t;
		for (['pre_root_captured', 'pre_root'], ['post_root_claimed', 'post_root']) {
			my ($name, $which) = @$_;
			return $name if defined $v->{$name}
				&& database_root($t, $which) ne $v->{$name};
		}
		return;
	},
	TransactionOutcome => sub {
		my ($v, $x) = @_;
		return if !$x && $first_seen > 1;
		return 'no open record' if !$x || $x->{verdict};
		return 'a second final outcome' if $x->{outcome};
		return if $v->{outcome} eq 'prepared';
		$v->{outcome} =~ /\A(committed|aborted|unknown)\z/ or return 'no such outcome';
		$x->{outcome} = $v->{outcome};
		return;
	},
	VerificationResult => sub {
		my ($v, $x) = @_;
		return if !$x && $first_seen > 1;
		return 'no open record' if !$x || $x->{verdict}
			|| ($x->{outcome} // '') ne 'committed';
		$x->{verdict} = $v->{verdict};
		$v->{verdict} =~ /\A(verified|mismatch|unverifiable|error)\z/ or return 'no such verdict';
		my $verified = $v->{verdict} eq 'verified';
		return 'success' if !JSON::PP::is_bool($v->{success})
			|| ($v->{success} ? 1 : 0) != ($verified ? 1 : 0);
		return 'roots' if $verified && grep { !defined $v->{$_->[0]}
			|| $v->{$_->[0]} ne ($x->{$_->[1]} // '') }
			['pre_root_captured', 'pre_root_captured'],
			['post_root_claimed', 'post_root_claimed'],
			['post_root_calculated', 'post_root_claimed'];
		return;
	},
);

# --- all of it ---

my $key = key_of(slurp($pub) // '') or die "$pub: no key\n";
my @keys = ($key, map { key_of(slurp($_)) || () } glob(($pub =~ s{[^/]+\z}{}r) . 'evidence-*.pub'));
my $head = checkpoint("$dir/checkpoint", @keys);
my @marks = grep { $_ } $head, map { checkpoint($_, @keys) } @old;
my @files = sort glob "$dir/evidence-" . '[0-9]' x 8 . '.jsonl';
my (@leaves, @tree, %root_at, $torn);
my %wanted = map { $_->{size} => 1 } @marks;
my $note = sub { $root_at{@leaves} = root(\@tree, "\1", '') if $wanted{@leaves} };
my $take_leaf = sub { push @leaves, $_[0]; append(\@tree, $_[0], "\1"); $note->() };

sub line
{
	my ($where, $text) = @_;
	my $v = eval { $json->decode($text) };
	ref $v eq 'HASH' or return wrong("$where: not JSON");
	my $prev = @leaves ? unpack('H*', $leaves[-1]) : '0' x 64;
	!ref $v->{type} && defined $v->{type} or return wrong("$where: type");
	is_int($v->{seq}) && $v->{seq} == @leaves + 1 or return wrong("$where: seq");
	($v->{prev} // '') eq $prev or return wrong("$where: prev");
	$take_leaf->(sha256("\0$text"));
	check_blobs($v, 1);
	push @changes, $v if $v->{type} eq 'KeyChange';
	wrong("$where: origin") if $v->{type} eq 'Start' && $head
		&& ($v->{origin} // '') ne $head->{origin};
	if (my $rule = $rules{$v->{type}}) {
		my $why = is_int($v->{tx_id}) && $v->{tx_id} > 0
			? $rule->($v, $tx{$v->{tx_id}}) : 'no tx_id';
		wrong("$where: $why") if defined $why;
	}
	return 1;
}

sub read_files
{
	$note->();
	my $n = @files ? ($files[0] =~ /(\d{8})\.jsonl\z/)[0] : 1;
	for my $path (@files) {
		my ($name, $number) = $path =~ m{((?:[^/]*)(\d{8})\.jsonl)\z};
		$number == $n++ or return wrong("a file before $name is missing");
		my @lines = split /^/, slurp($path);
		if (!defined $first_seen) {
			$first_seen = 1;
			if ($number > 1 && @lines) {
				$first_seen = (eval { $json->decode($lines[0]) } // {})->{seq} // 1;
				my $l0 = join '', map { my $t = tile_name(0, $_);
					slurp("$dir/$t") // slurp("$dir/$t.p/" . $head->{size} % 256) // '' }
					0 .. int(($first_seen - 2) / 256);
				length $l0 >= 32 * ($first_seen - 1) or return wrong('tiles of the lines before');
				$take_leaf->(substr $l0, 32 * $_, 32) for 0 .. $first_seen - 2;
			}
		}
		for my $i (0 .. $#lines) {
			if ($lines[$i] !~ s/\n\z//) {
				$path eq $files[-1] or return wrong("$name: its end");
				$torn = 1;
				last;
			}
			line("$name:" . ($i + 1), $lines[$i]) or return;
		}
	}
	return 1;
}

my $whole = read_files();
for my $m (@marks) {
	my $got = $root_at{ $m->{size} };
	wrong("$m->{path}: ", defined $got ? 'another root' : 'its size is not reached')
		if !defined $got || $got ne $m->{root};
	my ($last) = grep { $_->{seq} <= $m->{size} } reverse @changes;
	my $k = $last ? $last->{new} : @changes ? $changes[0]{old} : next;
	my $parsed = key_of($k) or next;
	my @before = @wrong;
	my $signed = checkpoint($m->{path}, $parsed);
	@wrong = @before;
	wrong("$m->{path}: not signed by the key in use") unless $signed;
}
for my $i (0 .. $#changes) {
	my ($o, $n) = map { key_of($changes[$i]{$_} // '') } qw(old new);
	$o && $n && $o->{name} eq $n->{name}
		&& (!$i || $changes[$i]{old} eq $changes[$i - 1]{new}) or wrong('KeyChange');
}
if ($whole) {
	tiles_of_leaves(\@leaves);
	check_tiles($head ? $head->{size} : 0);
}
my $pending = grep { !$_->{outcome} || ($_->{outcome} eq 'committed' && !$_->{verdict}) } values %tx;
if ($final) {
	wrong("$pending pending") if $pending;
	wrong('lines are not signed') if !$head || @leaves > $head->{size};
	wrong('the last line is not complete') if $torn;
}
print 'lines: ', scalar @leaves, "\npending: $pending\n";
print map { "WRONG: $_\n" } @wrong;
print @wrong ? "NOT OK\n" : "OK\n";
exit(@wrong ? 1 : 0);
