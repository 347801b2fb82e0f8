# Runs a case's statements directly and through the proxy, and compares: what
# the client got, and what the record says with what became of the database.
#
# Each case has a schema of its own per protocol, in a database for the direct
# run and in one for the witnessed run; so names are the same in both.  The
# application_name says which records are its own.
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Matrix;
use strict;
use warnings;
use Carp qw(croak);
use JSON::PP ();
use PGW::Util qw(wait_until slurp);
use PGW::Wire;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;

# Every row of every table of such schemas as ["schema.table", {column: text}],
# the texts as the canonical settings give them, NULL as null; without temporary
# tables, with all large objects.  Of '%' it is the whole database, without
# foreign tables, which the direct runs change, too.
my $dump_function = <<'EOS';
create schema pgw_matrix;
create function pgw_matrix.dump(schemas name) returns setof text
language plpgsql as $$
declare t record;
begin
	for t in select format('%I.%I', n.nspname, c.relname) as quoted,
		n.nspname || '.' || c.relname as name, string_agg(quote_literal(
			a.attname), ',' order by a.attnum) as names,
		string_agg(format('case when %1$I is distinct from null then '
			'format(''%%s'', %1$I) end', a.attname), ',' order by
			a.attnum) as vals
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
			and not a.attisdropped
		where (c.relkind = 'r' or c.relkind = 'f' and schemas <> '%') and c.relpersistence <> 't'
		and n.nspname !~ '^(pg_|information_schema)'
		and n.nspname like schemas
		and c.relname <> 'pgw_fence' group by 1, 2
	loop
		return query execute format('select json_build_array(%L::text, '
			'json_object(array[%s]::text[], array[%s]::text[]))::text '
			'from only %s', t.name, coalesce(t.names, ''),
			coalesce(t.vals, ''), t.quoted);
	end loop;
	return query select json_build_array('pg_catalog.pg_largeobject',
		json_build_object('loid', loid::text, 'pageno', pageno::text,
		'data', data::text))::text from pg_largeobject;
end $$;
EOS
my $canonical = join ' ', map { "-c $_" } 'datestyle=ISO,MDY',
	'intervalstyle=postgres', 'timezone=UTC', 'extra_float_digits=1',
	'bytea_output=hex', 'lc_monetary=C', 'search_path=pg_catalog';

# cluster: the server; cases: [{name, set, run ...}], see integration/matrix.t.
sub new
{
	my ($class, $cluster, @cases) = @_;
	my $self = bless { cluster => $cluster, runs => [] }, $class;
	my $n = 0;
	for my $case (@cases) {
		$n++;
		for my $mode (@{ $case->{modes} // ['simple', 'extended'] }) {
			push @{ $self->{runs} }, { case => $case, mode => $mode,
				schema => sprintf('m%03d%s', $n,
				$mode eq 'simple' ? 's' : 'e') };
		}
	}
	$cluster->safe_psql('create database direct template postgres',
		dbname => 'template1');
	my $set = join '', map { $self->_set_up($_) } @{ $self->{runs} };
	for ('direct', 'postgres') {
		$cluster->safe_psql("$dump_function$set", dbname => $_);
	}
	return $self;
}

sub runs { @{ $_[0]{runs} } }

# {s} is the run's schema, {n} 1 or 2.
sub _fill
{
	my ($run, $text) = @_;
	$text =~ s/\{s\}/$run->{schema}/g;
	$text =~ s/\{n\}/$run->{mode} eq 'simple' ? 1 : 2/ge;
	return $text;
}

sub _set_up
{
	my ($self, $run) = @_;
	return "create schema $run->{schema};\nset search_path = "
		. "$run->{schema}, public;\n" . _fill($run, $run->{case}{set})
		. "\n;\nreset search_path;\nreset role;\n";
}

# {line => how many} of what is in the witnessed database's schemas like that.
sub dump_rows
{
	my ($self, $schemas) = @_;
	my %lines;
	$lines{$_}++ for $self->_look("select pgw_matrix.dump('$schemas')");
	return \%lines;
}

# The first column of what the server says to that.
sub _look
{
	my ($self, $sql) = @_;
	my $w = $self->{look} //= $self->{cluster}->wire(startup => {
		options => $canonical, client_encoding => 'UTF8' });
	return map { croak fields($_)->{M} if $_->[0] eq 'E';
		$_->[0] eq 'D' ? (columns($_))[0] : () } $w->ask(Query($sql));
}

sub _count
{
	my ($counts, $table, $row, $n) = @_;
	my $key = $json->encode([$table, { map { $_ => $row->{$_} }
		grep { defined $row->{$_} } keys %$row }]);
	$counts->{$key} += $n;
	delete $counts->{$key} unless $counts->{$key};
}

# {[table, row] as JSON => how many more afterwards}
sub difference
{
	my ($before, $after) = @_;
	my %d;
	for (keys %{ { %$before, %$after } }) {
		my $n = ($after->{$_} // 0) - ($before->{$_} // 0) or next;
		my ($table, $row) = @{ $json->decode($_) };
		_count(\%d, $table, $row, $n);
	}
	return \%d;
}

# The bytes of one statement: a text, [text, values ...] for $1 ..., or
# {copy => text, data => bytes}.
sub _message
{
	my ($run, $statement) = @_;
	my ($sql, @values) = ref $statement eq 'ARRAY' ? @$statement : $statement;
	my @data;
	if (ref $sql eq 'HASH') {
		@data = ((map { CopyData($_) } $sql->{data}), CopyDone);
		$sql = $sql->{copy};
	}
	$sql = _fill($run, $sql);
	return (Parse($sql), Bind(\@values), Describe('P'), Execute, @data, Sync)
		if $run->{mode} eq 'extended';
	$sql =~ s/\$(\d+)/defined $values[$1 - 1] ? "'" . $values[$1 - 1]
		=~ s|'|''|gr . "'" : 'null'/gex if ref $statement eq 'ARRAY';
	return (Query($sql), @data);
}

# A message without what two servers would have different: OIDs, lines of the
# server's source, and what the README says that a client can notice.
sub _masked
{
	my ($m) = @_;
	my ($type, $body) = @$m;
	if ($type eq 'T') {
		$body =~ s/\G([^\0]*)\0(....)(..)(....)(.{8})/"$1 " . (unpack('N',
			$4) < 16384 ? unpack('N', $4) : 'own') . ' ' . unpack('H*',
			$5) . ';'/gsex if $body =~ s/^..//s;
	} elsif ($type eq 'E' || $type eq 'N') {
		$body =~ s/\0F[^\0]*\0L[^\0]*\0R[^\0]*\0/\0/;
		$body =~ s/\bOID \d+|\bmatrix_\d+/own/g;
	}
	return "$type $body";
}

# Runs the statements in one session and gives all messages.
sub _play
{
	my ($self, $endpoint, $database, $run) = @_;
	my $w = $endpoint->wire(startup => {
		user => $run->{case}{user} // 'postgres', database => $database,
		application_name => $run->{schema}, options => '-c search_path='
			. "$run->{schema},public $run->{case}{options}" });
	my @seen;
	for (@{ $run->{case}{run} }) {
		push @seen, '# ' . (ref $_ ? ref $_ eq 'HASH' ? $_->{copy}
			: $_->[0] : $_), map { _masked($_) }
			$w->ask(_message($run, $_));
	}
	$w->send(Terminate);
	push @seen, map { _masked($_) } $w->read_all;
	$w->close;
	# Its last transaction, which drops its temporary tables, is another one
	# beside the next case.
	wait_until('the session to end', sub { !$self->_look(
		"select 1 from pg_stat_activity where pid = $w->{pid}") });
	return \@seen;
}

# Runs one case, directly and witnessed; `changed` is what became of the rows.
sub play
{
	my ($self, $proxy, $run) = @_;
	$run->{case}{options} //= '';
	$run->{direct} = $self->_play($self->{cluster}, 'direct', $run);
	my $before = $self->dump_rows($run->{schema});
	$run->{seen} = $self->_play($proxy, 'postgres', $run);
	$run->{changed} = difference($before,
		$self->dump_rows($run->{schema}));
}

# The run's transactions, and what their images say became of the rows.
sub judge
{
	my ($self, $proxy, $run, @transactions) = @_;
	my @tx = grep { $_->{record}{application_name} eq $run->{schema} }
		@transactions;
	my %claimed;
	for my $t (grep { $_->{record}{capture} eq 'exact'
		&& $_->{outcome}{outcome} eq 'committed' } @tx) {
		my $tables = $proxy->part($t->{record}{tables});
		my $rows = $proxy->part($t->{record}{rows});
		for my $i (0 .. $#$tables) {
			my $name = join '.', @{ $tables->[$i] }{qw(schema table)};
			for (['before', -1], ['after', 1]) {
				my ($which, $n) = @$_;
				_count(\%claimed, $name, _values($proxy, $_), $n)
					for @{ $rows->[$i]{$which} };
			}
		}
	}
	$run->{tx} = \@tx;
	$run->{claimed} = \%claimed;
	$run->{all_exact} = !grep { $_->{record}{capture} ne 'exact'
		&& $_->{outcome}{outcome} eq 'committed' } @tx;
}

# {column: [type, text]} as {column: text}
sub _values
{
	my ($proxy, $row) = @_;
	return { map { my $v = $proxy->part($row->{$_});
		$_ => $proxy->text($v->[1]) } keys %$row };
}

# What the table in test/README says of a run: its records' classes, in order,
# each once.
sub class
{
	my ($run) = @_;
	my (@classes, %seen);
	for my $t (@{ $run->{tx} }) {
		my ($r, $o, $v) = map { $_ // {} } @$t{qw(record outcome verdict)};
		my $c = $r->{capture} . ($r->{capture_reason}
			? ":$r->{capture_reason}" : '');
		$c .= ' ' . ($v->{verdict} eq 'unverifiable' ? $v->{reason}
			: $v->{verdict}) if $v->{verdict} && $r->{capture} eq 'exact';
		$c .= ' ' . $o->{outcome} if $o->{outcome} ne 'committed';
		push @classes, $c unless $seen{$c}++;
	}
	return join(', ', @classes) || 'none';
}

# {case => [class as simple Query, in the extended protocol]} of the table in
# test/README: lines of a tab, the name, tabs, the class or both.
sub table
{
	my ($class, $path) = @_;
	my ($text) = slurp($path) =~ /^Statement matrix\n-+\n(.*?)(?:^\S[^\n]*\n-|\z)/ms
		or croak "no statement matrix in $path";
	my %table;
	my $word = qr/none|exact|incomplete|race|unsupported/;
	while ($text =~ /^\t(\S[^\t]*)\t+($word\b.*)$/mg) {
		my ($name, @c) = ($1, split m{ / }, $2);
		$table{$name} = [@c == 1 ? (@c, @c) : @c];
	}
	return \%table;
}

1;
