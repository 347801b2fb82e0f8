# Runs a driver's program against a server and through pgwitness before the
# same server, compares what it printed, and holds the evidence log against
# what the server says was committed (logical decoding of its WAL).
#
# SPDX-License-Identifier: PostgreSQL
package Drivers;
use strict;
use warnings;
use File::Basename qw(dirname);
use Test::More;
use PGW::Certs;
use PGW::Changes;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Util qw(run slurp);

my $dir = dirname(__FILE__);
my $built = ($ENV{PGW_BUILD} // 'build') . '/drivers';

# Every program has all of these, or says why its driver cannot.
my @all = qw(connect crud returning null numeric timestamptz bytea jsonb
	array binary prepared batch transaction savepoint cursor copy_in copy_out
	copy_fail notify notice cancel error large pipeline);

my %programs = (
	(map { $_ => ['/usr/bin/python3', "$dir/${_}_checks.py"] }
		qw(asyncpg pg8000 psycopg2 psycopg3)),
	(map { $_ => ['node', "$dir/${_}_checks.js"] } qw(pg postgres)),
	dbd => [$^X, "$dir/dbd_checks.pl"],
	jdbc => ['java', '-Dfile.encoding=UTF-8', '-Dstdout.encoding=UTF-8',
		'JdbcChecks'],
	libpqxx => ["$built/libpqxx_checks"],
	php => ['php', "$dir/php_checks.php"],
	pgbench => [$^X, "$dir/pgbench_checks.pl"],
	ruby => ['ruby', "$dir/ruby_checks.rb"],
);
# pgbench has its own, and does several things at a time.
my %own = (pgbench => [qw(initialize simple extended prepared builtin)]);

sub _checks { my ($name) = @_; return @{ $own{$name} // \@all } }

sub names { return sort keys %programs }

sub new
{
	my ($class) = @_;
	my $c = PGW::Cluster->new(conf => "wal_level = logical\n"
		. "max_replication_slots = 2\n", sql => slurp("$dir/schema.sql"));
	my $tls = $ENV{TLS};
	my $cert = $tls && PGW::Certs->new('ca')->issue('proxy', 'localhost');
	my $self = bless { server => $c, table => [], tls => $tls,
		proxy => PGW::Proxy->new($c, conf => { proxy => $tls
		? { $cert->proxy_conf(ssl => 'require') } : {} }) }, $class;
	$self->{changes} = PGW::Changes->new($c);
	return $self;
}

sub _reset
{
	my ($self) = @_;
	$self->{server}->safe_psql('truncate item, account, line, blob');
	$self->{changes}->take;
}

# What the program printed, and its checks: {name => ok, skip or not ok}.
sub _run
{
	my ($self, $name, $endpoint, $how) = @_;
	my ($rc, $out, $err) = run(['timeout', '-k', '5', '240',
		@{ $programs{$name} }, _checks($name)], seconds => 300, env => {
		PGHOST => '127.0.0.1', PGPORT => $endpoint->port,
		PGUSER => 'postgres', PGDATABASE => 'postgres',
		PGSSLMODE => $self->{tls} && $endpoint == $self->{proxy}
			? 'require' : 'prefer',
		PYTHONDONTWRITEBYTECODE => 1,
		NODE_PATH => "$built/node_modules", CLASSPATH =>
		"$built:/usr/share/java/postgresql.jar" });
	my %result;
	for (split /\n/, $out) {
		/^(not )?ok \d+ - (\w+)( # SKIP .*)?/ or next;
		$result{$2} = $1 ? 'not ok' : $3 ? "skipped$3" : 'ok';
	}
	my @bad = grep { ($result{$_} // 'absent') !~ /^(ok|skipped)/ } _checks($name);
	is("@bad", '', "$name, $how: checks pass") or diag($err
		|| substr($out, -2000));
	is($rc, 0, "$name, $how: ends well");
	return ($out, \%result);
}

# The first line that differs.
sub _difference
{
	my ($a, $b) = map { [split /\n/] } @_;
	my $n = @$a > @$b ? @$a : @$b;
	for (0 .. $n - 1) {
		my ($x, $y) = map { $_ // '(nothing)' } $a->[$_], $b->[$_];
		return substr("line $_: '$x'", 0, 300) . substr(" or '$y'", 0, 300)
			if $x ne $y;
	}
	return '';
}

sub _some { return @_ > 9 ? "@_[0 .. 8] and " . (@_ - 9) . ' more' : "@_" }
sub _count { my %n; $n{$_}++ for @_; return join ', ', map { "$n{$_} $_" }
	sort { $n{$b} <=> $n{$a} || $a cmp $b } keys %n }

# Those of nothing but INSERT, UPDATE and DELETE with values of their own, one
# to a message: what the checks of these names, and of columns, do.
sub _plain
{
	my $checks = join '|', qw(crud returning null binary prepared transaction
		pipeline price made data doc tags nums);
	return grep {
		($_->{record}{application_name} // '') =~ / (?:$checks)$|^pgbench$/
			&& ($_->{record}{capture_reason} // '')
			ne 'multiple_statements'
			&& !grep { $_->{type} !~ /^(?:INSERT|UPDATE|DELETE)$/ }
			@{ $_->{record}{query_sequence} }
	} @_;
}

sub _kind
{
	my ($t) = @_;
	my ($r, $v) = map { $_ // {} } @$t{qw(record verdict)};
	return join ' ', $r->{capture} // 'none', $r->{capture_reason} // (),
		$v->{verdict} // (), $v->{reason} // ();
}

# Of the xids that no record has, those that no intent stands for either: an
# intent is made before there is an xid.  A program that does one thing after
# the other has it in the log where the xid lies among the xids.
sub _unexplained
{
	my ($in_order, $missing, @committed) = @_;
	my @with = grep { $_->{record}{xid} } @committed;
	my @without = grep { !$_->{record}{xid} } @committed;
	my @bad;
	for my $xid (@$missing) {
		my ($from, $to) = (0, 'inf');
		for ($in_order ? @with : ()) {
			$from = $_->{tx_id} if $_->{record}{xid} < $xid
				&& $_->{tx_id} > $from;
			$to = $_->{tx_id} if $_->{record}{xid} > $xid
				&& $_->{tx_id} < $to;
		}
		shift @without while @without && $without[0]{tx_id} < $from;
		@without && $without[0]{tx_id} < $to ? shift @without
			: push @bad, $xid;
	}
	return @bad;
}

# Exactly the transactions that the server committed are in the log as such.
sub _complete
{
	my ($self, $name, @tx) = @_;
	my @committed = grep { ($_->{outcome}{outcome} // '') eq 'committed' } @tx;
	my %recorded;
	$recorded{$_}++ for grep { defined } map { $_->{record}{xid} } @committed;
	my @changed = sort { $a <=> $b } $self->{changes}->take;
	my @missing = _unexplained(!$own{$name}, [grep { !$recorded{$_} }
		@changed], @committed);
	is(_some(@missing), '', "$name: what changed rows has a record");
	my @twice = grep { $recorded{$_} > 1 } sort keys %recorded;
	is("@twice", '', "$name: and one only");
	cmp_ok(scalar @changed, '>', 20, "$name: that was something");
	my @bad = grep { ($_->{verdict}{verdict} // '')
		!~ /^(verified|unverifiable)$/ } @committed;
	is(@bad, 0, "$name: no mismatch, no error") or diag(map {
		describe_tx($_) . "\n" } @bad);
	return @committed;
}

sub check
{
	my ($self, $name) = @_;
	$self->_reset;
	my ($direct, $d) = $self->_run($name, $self->{server}, 'direct');
	$self->_reset;
	$self->{proxy}->mark;
	my ($proxied, $p) = $self->_run($name, $self->{proxy}, 'through the proxy');
	is(_difference($direct, $proxied), '', "$name: sees the same");
	my @tx = eval { $self->{proxy}->settled(seconds => 120) };
	is($@, '', "$name: all records settle");
	my @committed = $self->_complete($name, @tx);
	my @plain = _plain(@committed);
	my @exact = grep { $_->{record}{capture} eq 'exact'
		&& $_->{verdict}{verdict} eq 'verified' } @plain;
	my @rest = grep { my $t = $_; !grep { $_ == $t } @exact } @plain;
	is(@rest, 0, "$name: plain DML is captured exactly and verified")
		or diag(map { describe_tx($_) . "\n" } @rest[0 .. ($#rest < 9
			? $#rest : 9)]);
	my ($version) = $direct =~ /^# (.*)/;
	my @passed = map { my $r = $_; scalar grep { $_ eq 'ok' } values %$r } $d, $p;
	push @{ $self->{table} }, sprintf "%-16s %d of %d directly, %d through "
		. "pgwitness; plain DML verified: %d of %d\n\t%s", $version // $name,
		$passed[0], scalar(_checks($name)), $passed[1], scalar @exact,
		scalar @plain, _count(map { _kind($_) } @committed);
}

# The end; gives the table of what was seen.
sub finish
{
	my ($self) = @_;
	my $p = $self->{proxy};
	no_mismatches($p);
	one_outcome_and_verdict($p);
	is($p->stop('TERM'), 0, 'stops');
	my ($rc, $out, $err) = $p->verify('--final');
	is($rc, 0, 'witnessctl verify --final') or diag($out, $err);
	return join "\n", '', @{ $self->{table} };
}

1;
