# Which transactions changed rows: the server's WAL, by logical decoding, says
# it, and the evidence log must know each of them.  The server needs wal_level
# = logical.
#
#	my $changes = PGW::Changes->new($cluster);	# from now on
#	my @xids = $changes->take;
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Changes;
use strict;
use warnings;
use Exporter 'import';
use PGW::Wire;

our @EXPORT_OK = qw(unwitnessed);

sub new
{
	my ($class, $cluster) = @_;
	my $self = bless { wire => $cluster->wire }, $class;
	$self->_ask("select pg_create_logical_replication_slot('changes', "
		. "'test_decoding')");
	return $self;
}

sub _ask
{
	my ($self, $sql) = @_;
	my @m = $self->{wire}->ask(Query($sql));
	for (@m) { die fields($_)->{M} if $_->[0] eq 'E' }
	return map { [columns($_)] } grep { $_->[0] eq 'D' } @m;
}

# The xids since the last call, in order of their commits; without the fences
# of PGW::Proxy.
sub take
{
	my ($self) = @_;
	return map { $_->[0] } $self->_ask('select xid from '
		. "pg_logical_slot_get_changes('changes', null, null, "
		. "'skip-empty-xacts', '1') where data like 'table %' group by "
		. "xid having not bool_or(data like 'table public.pgw_fence:%') "
		. 'order by max(lsn)');
}

# Of these xids those that no record stands for.  An intent is made before
# there is an xid: it stands for one, and for any number where what it is
# about can commit by itself.
my %many = map { $_ => 1 } qw(call do multiple_statements not_parsed
	mixed_protocols function_call);
sub unwitnessed
{
	my ($xids, @transactions) = @_;
	my @there = grep { ($_->{outcome}{outcome} // '') ne 'aborted' }
		@transactions;
	my %known = map { $_->{record}{xid} => 1 } grep { $_->{record}{xid} }
		@there;
	my @intents = grep { !$_->{record}{xid} } @there;
	return if grep { $many{ $_->{record}{capture_reason} // '' } } @intents;
	my @missing = grep { !$known{$_} } @$xids;
	splice @missing, 0, scalar @intents;
	return @missing;
}

1;
