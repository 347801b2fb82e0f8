# What is remembered of settings from one transaction to the next: at random, by
# statements of three protocols, and by a model of what each row was printed with.
# SEED=, SESSIONS=
use strict;
use warnings;
use Test::More;
use PGW::Check;
use PGW::Cluster;
use PGW::Proxy;
use PGW::Wire;

my $c = PGW::Cluster->new(sql => q{
	create table other (id int primary key, b bytea, n int);
	insert into other select i, '\x0102', i from generate_series(1, 40) i;
	create table log (who int, b bytea);
	create function to_escape() returns text language plpgsql stable as
		$f$begin return set_config('bytea_output', 'escape', false); end$f$;
	create function to_hex() returns text language plpgsql stable as
		$f$begin return set_config('bytea_output', 'hex', false); end$f$;
	create function planned(text, bool) returns text language plpgsql immutable as
		$f$begin return set_config('bytea_output', $1, $2); end$f$;
	create function checked(int) returns bool language plpgsql stable as
		$f$begin return $1 < 1000 or to_escape() is not null; end$f$;
	create domain few as int check (checked(value));
	create view v as select id, n, b from other where to_escape() is not null;
});
my $p = PGW::Proxy->new($c);
my $few = $c->safe_psql("select 'few'::regtype::oid");
my @modes = ('simple', 'extended', 'prepared');
srand($ENV{SEED} // 7);
sub one { return $_[rand @_] }

# A session; what bytea_output is now, and once the transaction has committed.
package Player {
	use PGW::Wire;

	sub new
	{
		my ($class, $k) = @_;
		return bless { k => $k, mode => main::one(@modes), now => 'hex',
			wire => $p->wire, queue => [], said => [] }, $class;
	}

	# Statements of the extended protocol may wait for others, to be sent as one.
	sub flush
	{
		my ($self) = @_;
		return unless @{ $self->{queue} };
		my @m = $self->{wire}->ask(@{ $self->{queue} }, Sync);
		$self->{queue} = [];
		my ($e) = grep { $_->[0] eq 'E' } @m;
		die join('; ', @{ $self->{said} }), ': ', fields($e)->{M} if $e;
	}

	sub bytes
	{
		my ($self, $said, @bytes) = @_;
		push @{ $self->{said} }, $said;
		push @{ $self->{queue} }, @bytes;
		$self->flush if rand() < 0.8 && !$self->{holds};
	}

	sub say
	{
		my ($self, $sql) = @_;
		my $mode = $self->{holds} ? 'extended'
			: rand() < 0.9 ? $self->{mode} : main::one(@modes);
		return $self->bytes("$sql /* $mode */",
			$self->{wire}->statement($mode, $sql)) if $mode ne 'simple';
		$self->flush;
		push @{ $self->{said} }, $sql;
		$self->{wire}->run('simple', $sql);
	}

	sub set { my ($self, $v, $local) = @_;
		$self->{now} = $v; $self->{later} = $v unless $local }

	sub other { return $_[0]{now} eq 'hex' ? 'escape' : 'hex' }

	# Something that changes the setting.
	sub disturb
	{
		my ($self) = @_;
		my $v = $self->other;
		my $local = int rand 2;
		my $how = int rand($v eq 'hex' ? 5 : 8);
		if ($how == 0) { $self->say("set bytea_output = $v"); $self->set($v) }
		if ($how == 1) { $self->say("set local bytea_output = $v");
			$self->set($v, 1) }
		if ($how == 2) { $self->say("select to_$v()"); $self->set($v) }
		if ($how == 3) { $self->planned($v, $local) }
		if ($how == 4) { $self->planned($v, $local, Parse('update other '
				. "set n = 3 where id = $self->{k}"), Bind([])) }
		if ($how == 5) { $self->say('select n from v where id = 1');
			$self->set('escape') }
		if ($how == 6) {
			$self->bytes('SELECT by few', Parse('select n from other '
				. 'where id = $1', types => [$few]), Bind([1001]),
				Describe('P'), Execute);
			$self->set('escape');
		}
		if ($how == 7) {
			$self->set('escape');
			$self->bytes('UPDATE by few', Parse('update other set n = $1 '
				. 'where id = $2', types => [$few, 23]),
				Bind([1001, $self->{k}]), Describe('P'), Execute);
			$self->wrote;
		}
	}

	# A Bind that changes it; another one's may be before it, and its Execute is
	# behind it.
	sub planned
	{
		my ($self, $v, $local, @other) = @_;
		my $sql = "select planned('$v', " . ($local ? 'true)' : 'false)');
		$self->set($v, $local);
		$self->bytes("Bind of $sql" . (@other ? ' in an UPDATE' : ''), @other,
			Parse($sql, name => 'planned'),
			Bind([], name => 'planned', portal => 'planned'),
			Close('P', 'planned'), Close('S', 'planned'),
			(@other ? Execute : ()));
		$self->wrote if @other;
	}

	sub wrote
	{
		my ($self) = @_;
		$self->{rows}++;
		$self->{hex} &&= $self->{now} eq 'hex';
	}

	# A statement that is captured, or a SELECT of its table.
	sub work
	{
		my ($self, $reads) = @_;
		my $id = $self->{k} + 12 * int rand 3;
		return $self->say('select n, b from other where id = '
			. (1 + int rand 3)) if $reads;
		$self->say(rand() < 0.7 ? "update other set n = n + 1 where id = $id"
			: "insert into log (who, b) values ($self->{k}, null)");
		$self->wrote;
	}

	# Returns whether it may be exact; nothing if it wrote nothing.
	sub transaction
	{
		my ($self) = @_;
		my $n = 1 + int rand 3;
		# Not two in a row: the one behind it believes what it left.
		my $disturbed = !$self->{disturbed} && rand() < 0.7
			? main::one(0, int rand $n + 1) : -1;
		my $marked = rand() < 0.15 ? int rand $n : -1;
		my $mark;
		@$self{qw(later rows hex said)} = ($self->{now}, 0, 1, []);
		my $before = $self->{now};
		# Of one batch: what a Bind before it did is in its transaction.
		$self->{holds} = !$self->{disturbed} && rand() < 0.15;
		$self->{disturbed} = $self->{holds} || $disturbed >= 0;
		$self->planned($self->other, 1) if $self->{holds};
		$self->say($self->{holds} || rand() < 0.9 ? 'begin'
			: 'begin isolation level repeatable read');
		$self->{holds} = 0;
		for my $i (0 .. $n) {
			if ($i == $marked) {
				$self->say('savepoint a');
				$mark = { map { ($_ => $self->{$_}) }
					qw(now later rows hex) };
			}
			$self->disturb if $i == $disturbed;
			if ($mark && rand() < 0.3) {
				$self->say('rollback to a');
				%$self = (%$self, %$mark);
			} elsif ($mark && rand() < 0.3) {
				$self->say('release a');
				$mark = undef;
			}
			$self->work($self->{rows} && rand() < 0.4);
		}
		my $commits = rand() < 0.85;
		$self->say($commits ? 'commit' : 'rollback');
		$self->flush;
		$self->{now} = $commits ? $self->{later} : $before;
		return $commits && $self->{rows} ? $self->{hex} : ();
	}

	# The same of a statement alone.
	sub alone
	{
		my ($self) = @_;
		my $before = $self->{now};
		@$self{qw(rows hex said)} = (0, 1, []);
		$self->{holds} = rand() < 0.2;
		$self->planned($self->other, 1) if $self->{holds};
		$self->work(0);
		$self->flush;
		$self->{holds} = 0;
		$self->{now} = $before;
		return $self->{hex};
	}

	sub between
	{
		my ($self) = @_;
		my ($sql, $v) = @{ main::one(['set bytea_output = escape', 'escape'],
			['select to_escape()', 'escape'],
			['reset bytea_output', 'hex'], ['select to_hex()', 'hex']) };
		$self->{said} = [];
		$self->say($sql);
		$self->flush;
		$self->{now} = $v;
	}
}

my ($wrong, $exact, $could, $all) = (0, 0, 0, 0);
for my $k (1 .. $ENV{SESSIONS} // 12) {
	my $s = Player->new($k);
	my @want;
	for (1 .. 60) {
		$s->between if rand() < ($s->{now} eq 'hex' ? 0.05 : 0.2);
		my @hex = rand() < 0.2 ? $s->alone : $s->transaction;
		push @want, map { [$_, join '; ', @{ $s->{said} }] } @hex;
	}
	$s->{wire}->send(Terminate);
	my @got = grep { $_->{record} && ($_->{outcome}{outcome} // '') eq 'committed' }
		$p->settled;
	is(scalar(@got), scalar(@want), "session $k ($s->{mode}): records");
	for my $i (0 .. $#want) {
		my ($hex, $said) = @{ $want[$i] };
		my $is = ($got[$i]{record}{capture} // '') eq 'exact';
		$all++;
		$exact += $is;
		$could += $hex;
		next if !$is || $hex;
		$wrong++;
		diag("wrong: $said");
	}
}
is($wrong, 0, 'none is exact whose rows were printed under another setting');
cmp_ok($exact, '>', $could / 2, "many are: $exact of $could that could, of $all");
no_mismatches($p);
is($p->stop, 0, 'stops');
done_testing;
