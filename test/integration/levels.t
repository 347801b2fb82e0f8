# evidence.commit: the same evidence at each level; what differs is when it is
# durable (the crashes are test/torture's).
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;

my $c = PGW::Cluster->new;
my $setup = q{
	drop table if exists t, late;
	create table t (id int primary key, v text);
	create table late (id int primary key, u int unique deferrable
		initially deferred);
	insert into t select i, 'v' from generate_series(1, 9) i;
	insert into late values (1, 1), (2, 2);
};

for my $level (qw(before_commit before_ack async)) {
	my $held = $level eq 'before_commit';
	$c->safe_psql($setup);
	my $p = PGW::Proxy->new($c, conf => { evidence => { commit => $level } });

	my $run = sub {
		my ($name, $sql) = @_;
		my @tx = $p->witness($sql);
		is(@tx, 1, "$level: $name: one record")
			or diag(map { describe_tx($_) . "\n" } @tx);
		return $tx[0];
	};
	is_verified($run->('INSERT', "insert into t values (20, 'x')"),
		"$level: INSERT");
	is_verified($run->('UPDATE', "update t set v = 'y' where id = 20"),
		"$level: UPDATE");
	my @tx = $p->witness("begin;\nupdate t set v = 'a' where id = 1;\n"
		. "insert into t values (21, 'b');\ndelete from t where id = 2;\n"
		. 'commit;');
	is(@tx, 1, "$level: a block is one record");
	is_verified($tx[0], "$level: block");
	is_verified($run->('COPY', "copy t from stdin;\n30\tx\n31\ty\n\\.\n"),
		"$level: COPY");
	is_named($run->('TRUNCATE', 'truncate late'), "$level: TRUNCATE");
	$c->safe_psql('insert into late values (1, 1), (2, 2)');

	# Below before_commit an intent exists, so the failure leaves `aborted`.
	for my $bad (['duplicate key', "insert into t values (1, 'dup')"],
		['deferred constraint', 'update late set u = 1 where id = 2'])
	{
		my ($rc, $out, $err) = $p->psql($bad->[1]);
		my ($drc, $dout, $derr) = $c->psql($bad->[1]);
		is($err, $derr, "$level: $bad->[0]: the server's own error");
		my @bad = $p->settled;
		my $sent = !$held || $bad->[0] eq 'deferred constraint';
		is(@bad, $sent ? 1 : 0, "$level: $bad->[0]: "
			. ($sent ? 'an aborted record' : 'no record'))
			or diag(map { describe_tx($_) . "\n" } @bad);
		is($bad[0]{outcome}{outcome}, 'aborted', "$level: $bad->[0]: aborted")
			if $sent && @bad;
	}
	my ($rc, $out, $err) = $p->psql("begin;\n"
		. "update late set u = 1 where id = 2;\ncommit;");
	like($err, qr/late_u_key/, "$level: a deferred constraint fails at COMMIT");
	@tx = $p->settled;
	is(@tx, 1, "$level: its commit was sent: a record");
	is($tx[0]{outcome}{outcome}, 'aborted', "$level: it is aborted");

	$p->safe_psql("begin;\nupdate t set v = 'r' where id = 3;\nrollback;");
	@tx = $p->settled;
	is(@tx, 0, "$level: ROLLBACK claims nothing");
	no_mismatches($p);
	one_outcome_and_verdict($p);
	my ($vrc, $vout) = $p->verify;
	is($vrc, 0, "$level: the log verifies") or diag($vout);
	$p->stop;
}

done_testing;
