# Contended load through pgwitness, and every record compared with what the
# server's write-ahead log says that its transaction did: README here.
#
# SPDX-License-Identifier: PostgreSQL
package Truth;
use strict;
use warnings;
use Carp qw(croak);
use JSON::PP ();
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(spew new_dir spawn reap slurp wait_until pg_bin);
use Time::HiRes qw(time);

my $json = JSON::PP->new->canonical->allow_nonref;
my $tables = q{
	create table pool (id bigint primary key, grp int not null, n int not null,
		v text);
	insert into pool select i, 1 + i % 8, 0, 'v' || i
		from generate_series(1, 80) i;
};

# What one pgbench each does: name (the kind of predicate), script; undef is
# pgbench's own TPC-B.
my $g = "\\set g random(1, 8)\n\\set h random(1, 8)\n";
my $id = "\\set id random(1, 1000000000000)\n";
my %work = (
	'tpcb' => undef,
	'set' => "${g}update pool set n = n + 1 where grp = :g;\n",
	'set, moving' => "${g}update pool set grp = :h where grp = :g and n % 3 = 1;\n",
	'set, delete' => "${g}delete from pool where grp = :g and n > 12;\n",
	'insert' => "${g}${id}insert into pool values (:id::bigint, :g, 0, 'i'), "
		. "(:id::bigint + 1, :h, 0, 'j');\n",
	'set in a block' => "${g}${id}begin;\nupdate pool set n = n + 1 where grp "
		. "= :g;\ninsert into pool values (:id::bigint, :h, 1, null);\nend;\n",
	'savepoints' => "${g}${id}begin;\nupdate pool set n = n + 1 where id = :g;\n"
		. "savepoint a;\ninsert into pool values (:id::bigint, :g, 1, 's');\n"
		. "update pool set n = n + 1 where id = :h;\nrollback to a;\n"
		. "savepoint b;\nupdate pool set v = 'b' where id = :g;\nrelease b;\n"
		. "insert into pool values (:id::bigint, :h, 2, 't');\nend;\n",
	'range returning' => "${g}update pool set v = v || '.' where id between "
		. ":g * 8 and :g * 8 + 9 and length(v) < 40 returning id;\n",
	'upsert' => "\\set id random(1, 90)\n\\set next :id + 1\ninsert into pool "
		. "values (:id, :id % 8, 0, 'u'), (:next, 3, 0, null) on conflict (id) "
		. "do update set n = pool.n + 1, v = excluded.v where pool.n < 40;\n",
	'upsert in a block' => "\\set id random(1, 90)\n\\set next :id + 1\nbegin;\n"
		. "insert into pool values (:id, 1, 0, 'w') on conflict do nothing;\n"
		. "insert into pool values (:next, 2, 0) on conflict (id) do update "
		. "set n = pool.n + 1;\nend;\n",
	'key' => "\\set id random(1, 80)\nupdate pool set n = n + 1 where id = :id;\n",
);
# Of so many transactions in all: share of each.
my %share = ('tpcb' => 0.5, map { $_ => 0.5 / (keys(%work) - 1) }
	grep { $_ ne 'tpcb' } keys %work);
my @modes = qw(simple extended prepared);
my $round = 5000;
my $directly = 10; # one of so many is also run without the proxy
my $refill = 'delete from pool; insert into pool select i, 1 + i % 8, 0, '
	. "'v' || i from generate_series(1, 80) i";

# tx: transactions in all; clients; level: evidence.commit; say.
sub new
{
	my ($class, %o) = @_;
	return bless { tx => 20000, clients => 16, level => 'before_commit',
		seed => int rand 2 ** 40, wrong => [], %o }, $class;
}

sub say { my ($self, @text) = @_; $self->{say}->(@text) }

sub wrong
{
	my ($self, $text) = @_;
	push @{ $self->{wrong} }, $text;
	$self->say("WRONG: $text") if @{ $self->{wrong} } <= 20;
}

# --- the load ---

# In rounds, at whose beginning the pool is what it was at first: some kinds of
# work are done sooner than others, and what they leave would grow, until all
# the rest meets in the same rows.  What failed, by kind of failure.
sub load
{
	my ($self, $endpoint, $tx) = @_;
	my $begin = time;
	my %failed;
	for (my $left = $tx; $left > 0; $left -= $round) {
		$endpoint->safe_psql($refill) if $left < $tx;
		$self->load_round($endpoint, $left < $round ? $left : $round, \%failed);
		$self->say(sprintf '%d of %d after %d s', $tx - $left + $round, $tx,
			time - $begin) if $tx > $round;
	}
	return { %failed, seconds => time - $begin };
}

# All kinds of work at once, as one pgbench per kind and protocol.
sub load_round
{
	my ($self, $endpoint, $tx, $failed) = @_;
	my $dir = new_dir('load');
	my %running;
	for my $kind (sort keys %work) {
		my $file = "$dir/" . $kind =~ s/\W+/_/gr;
		spew($file, $work{$kind}) if defined $work{$kind};
		my $clients = int($self->{clients} * $share{$kind} / @modes + 0.5);
		$clients = 1 if $clients < 1;
		for my $mode (@modes) {
			my $each = int($tx * $share{$kind} / @modes / $clients) || 1;
			open my $out, '>', "$file.$mode.out" or croak $!;
			my $pid = spawn([pg_bin('pgbench'), '-n', '-M', $mode,
				'-c', $clients, '-t', $each, '--failures-detailed',
				# By the clock two of a microsecond are the same.
				'--random-seed=' . $self->{seed}++,
				'-h', $endpoint->host, '-p', $endpoint->port, '-U',
				'postgres', defined $work{$kind} ? ('-f', $file)
				: ('-b', 'tpcb-like'), 'postgres'], stdout => $out,
				stderr => $out, env => { PGAPPNAME =>
				"$kind, $mode" });
			$running{$pid} = "$file.$mode.out";
		}
	}
	for my $pid (keys %running) {
		my $name = (split m{/}, $running{$pid})[-1] =~ s/\.out$//r;
		my $rc = reap($pid, 3600);
		my $text = slurp($running{$pid});
		$self->wrong("pgbench: $rc\n$text") if !defined $rc || $rc;
		while ($text =~ /number of (\w+) failures: (\d+)/g) {
			$failed->{$1} += $2;
			$failed->{of}{"$1: $name"} += $2 if $2;
		}
	}
}

# --- the truth ---

# A tuple of test_decoding as {column => text}, without NULLs.
sub _tuple
{
	my ($text) = @_;
	my %row;
	while ($text =~ /\G\s*("(?:[^"]|"")+"|[^\s\[]+)\[[^\]]*\]:('(?:[^']|'')*'|\S+)/gc) {
		my ($name, $value) = ($1, $2);
		next if $value eq 'null';
		if ($value =~ s/^'//) {
			$value =~ s/'$//;
			$value =~ s/''/'/g;
		}
		$row{$name} = $value;
	}
	return \%row;
}

sub _count
{
	my ($counts, $table, $row, $n) = @_;
	my $key = $json->encode([$table, $row]);
	$counts->{$key} += $n;
	delete $counts->{$key} unless $counts->{$key};
}

# Reads all changes: {xid => {[table, row] => how many more}}, in order of
# commit; that each change of a row begins where the one before it ended.
sub decode
{
	my ($self, $server) = @_;
	my (%truth, %state, $changes);
	for (;;) {
		my @lines = split /\n/, $server->safe_psql('select data from '
			. "pg_logical_slot_get_changes('truth', null, 20000)",
			conn => { client_encoding => 'UTF8' });
		last unless @lines;
		my $xid;
		for (@lines) {
			if (/^BEGIN (\d+)/) {
				$xid = $1;
			} elsif (/^table public\.(?:pgw_fence|.*: TRUNCATE)/) {
				next;
			} elsif (/^table (\S+): ([A-Z]+): (.*)$/) {
				$self->_change($truth{$xid} //= {}, \%state, $1, $2, $3);
				$changes++;
			}
		}
	}
	$self->{changes} = $changes;
	return \%truth;
}

sub _change
{
	my ($self, $counts, $state, $table, $what, $text) = @_;
	my ($old, $new);
	if ($what eq 'INSERT') {
		$new = _tuple($text);
	} elsif ($what eq 'DELETE') {
		$old = _tuple($text);
	} elsif ($text =~ /^old-key: (.*) new-tuple: (.*)$/) {
		($old, $new) = (_tuple($1), _tuple($2));
	} else {
		croak "no old row: $table $what $text";
	}
	_count($counts, $table, $old, -1) if $old;
	_count($counts, $table, $new, 1) if $new;
	return if $table =~ /history/;
	# What was overwritten is what the last one left: no update is lost.
	my ($key) = grep { defined } map { ($old // $new)->{$_} }
		$table =~ /pgbench_(.)/ ? "$1id" : 'id';
	my $was = $old ? $json->encode($old) : '';
	my $known = $state->{"$table $key"};
	$self->wrong("$table $key: a change of $was begins where none ended: $known")
		if defined $known && $known ne $was;
	$state->{"$table $key"} = $new ? $json->encode($new) : '';
}

# --- the records ---

sub _claimed
{
	my ($self, $proxy, $t) = @_;
	my %counts;
	my $list = $proxy->part($t->{record}{tables}) // [];
	my $rows = $proxy->part($t->{record}{rows}) // [];
	for my $i (0 .. $#$list) {
		for (['before', -1], ['after', 1]) {
			my ($which, $n) = @$_;
			for my $row (@{ $rows->[$i]{$which} }) {
				_count(\%counts, $list->[$i]{name}, { map {
					my $v = $row->{$_}[1];
					defined $v ? ($_ => $proxy->text($v)) : ()
				} keys %$row }, $n);
			}
		}
	}
	return \%counts;
}

sub _difference
{
	my ($claimed, $truth) = @_;
	return map { my $c = $claimed->{$_} // 0; my $t = $truth->{$_} // 0;
		$c == $t ? () : "claimed $c, truth $t: $_" }
		sort keys %{ { %$claimed, %$truth } };
}

sub compare
{
	my ($self, $proxy, $truth) = @_;
	my %seen;
	for my $t ($proxy->transactions) {
		my ($r, $v) = ($t->{record}, $t->{verdict});
		next if ($t->{query} // '') =~ /pgw_fence/;
		next unless ($t->{outcome}{outcome} // '') eq 'committed';
		my $kind = $r->{application_name};
		my $class = $r->{capture} . ($r->{capture_reason}
			? ":$r->{capture_reason}" : '');
		my $verdict = $v->{verdict} eq 'unverifiable'
			? "unverifiable:$v->{reason}" : $v->{verdict};
		$self->{kinds}{$kind}{$class}++;
		$self->{classes}{$class}++;
		$self->{verdicts}{$verdict}++;
		$self->wrong("tx $t->{tx_id} ($kind) $verdict: $t->{query}")
			if $v->{verdict} =~ /mismatch|error/;
		next unless ($r->{xid} // '') =~ /^[1-9]/;
		$seen{ $r->{xid} }++ and $self->wrong("two records of $r->{xid}");
		next if $r->{capture} ne 'exact';
		my @d = _difference($self->_claimed($proxy, $t),
			$truth->{ $r->{xid} } // {});
		$self->wrong("tx $t->{tx_id} xid $r->{xid} ($kind) is not exact: "
			. "$t->{query}\n\t" . join "\n\t", @d[0 .. ($#d < 5 ? $#d : 5)])
			if @d;
	}
	$self->{records} = keys %seen;
	for my $xid (grep { %{ $truth->{$_} } && !$seen{$_} } keys %$truth) {
		$self->wrong("no record of xid $xid: "
			. join ', ', (sort keys %{ $truth->{$xid} })[0]);
	}
}

# TPC-B's own invariant: the sums of all balances are those of the history.
sub sums
{
	my ($self, $server) = @_;
	my $sums = $server->safe_psql('select string_agg(distinct s::text, $$,$$) '
		. 'from (select sum(abalance) s from pgbench_accounts union all '
		. 'select sum(tbalance) from pgbench_tellers union all select '
		. 'sum(bbalance) from pgbench_branches union all select sum(delta) '
		. 'from pgbench_history) x');
	$self->wrong("the sums of TPC-B differ: $sums") if $sums =~ /,/;
}

sub report
{
	my ($self, $direct, $through) = @_;
	$self->say(sprintf '%d transactions with changes, %d changes, %d records',
		$self->{transactions}, $self->{changes}, $self->{records});
	for (['direct', $direct], ['through pgwitness', $through]) {
		my ($name, $f) = @$_;
		$self->say(sprintf '%-18s %6.1f s, serialization failures %d, '
			. 'deadlocks %d', $name, @$f{qw(seconds serialization deadlock)});
		$self->say("\t$_ $f->{of}{$_}") for sort keys %{ $f->{of} };
	}
	for my $kind (sort keys %{ $self->{kinds} }) {
		my $c = $self->{kinds}{$kind};
		my $all = 0;
		$all += $_ for values %$c;
		$self->say(sprintf '%-28s %7d  %s', $kind, $all, join ', ', map {
			sprintf '%s %.2f %%', $_, 100 * $c->{$_} / $all } sort {
			$c->{$b} <=> $c->{$a} } keys %$c);
	}
	$self->say('verdicts: ' . join ', ', map { "$_ $self->{verdicts}{$_}" }
		sort keys %{ $self->{verdicts} });
	$self->say(scalar @{ $self->{wrong} } . ' wrong');
}

# Key predicates: TPC-B and single-row statements.
sub key_share
{
	my ($self) = @_;
	my ($exact, $all) = (0, 0);
	for my $kind (grep { /^(?:tpcb|key|insert)/ } keys %{ $self->{kinds} }) {
		my $c = $self->{kinds}{$kind};
		$all += $_ for values %$c;
		$exact += $c->{exact} // 0;
	}
	return $all ? $exact / $all : 0;
}

# The number of things that are wrong.
sub run
{
	my ($self) = @_;
	my $c = PGW::Cluster->new(sql => $tables, conf => "wal_level = logical\n"
		. "max_connections = 120\nshared_buffers = 64MB");
	my ($rc, undef, $err) = $c->pgbench('-i', '-q', '-s', 1);
	croak $err if $rc;
	# Some of the same load without us, for what it fails with by itself.
	my $direct = $self->load($c, int($self->{tx} / $directly) || 1);
	my $p = PGW::Proxy->new($c, conf => { log => { row_data => 'on' },
		evidence => { commit => $self->{level} } });
	$c->safe_psql('truncate pgbench_history; update pgbench_accounts set '
		. 'abalance = 0; update pgbench_tellers set tbalance = 0; update '
		. "pgbench_branches set bbalance = 0; delete from pool;$tables"
		=~ s/create table .*?;//sr . join '', map { ";alter table $_ replica "
		. 'identity full' } qw(pool pgbench_accounts pgbench_tellers
		pgbench_branches pgbench_history));
	$c->safe_psql(q{select pg_create_logical_replication_slot('truth',
		'test_decoding')});
	my $through = $self->load($p, $self->{tx});
	$p->settled(seconds => 60 + $self->{tx} / 50);
	my $truth = $self->decode($c);
	$self->{transactions} = grep { %$_ } values %$truth;
	$self->compare($p, $truth);
	$self->sums($c);
	$self->wrong("$through->{serialization} serialization failures")
		if $through->{serialization} && !$direct->{serialization};
	my $share = $self->key_share;
	$self->wrong(sprintf 'only %.3f %% of key predicates are exact',
		100 * $share) if $share < 0.999;
	$self->report($direct, $through);
	return scalar @{ $self->{wrong} };
}

1;
