# Half a minute of make torture: every process of pgwitness killed under load,
# and the server, and nothing lost, nothing wrong, nobody hanging
# (test/torture/README).
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/../torture';
use Test::More;
use Torture;

my $t = Torture->new(kills => 60, minutes => 0.5, rate => 150, settle => 600,
	deadline => 240,
	seed => $ENV{SEED} // 1, say => sub { note(@_) });
$t->run;
my $j = $t->{judge};
cmp_ok(scalar @{ $j->{acks} }, '>', 50, 'commits were acknowledged');
is($j->{hangs} // 0, 0, 'no client hung');
is($t->{disturbed} // 0, 0, 'sessions of other children went on');
is_deeply($j->{violations}, [], 'clients, server and evidence log agree');
done_testing;
