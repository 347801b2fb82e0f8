# A short make truth: contended load, each record against logical decoding
# (test/truth/README).
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/../truth';
use Test::More;
use Truth;

my $t = Truth->new(tx => 3000, say => sub { note(@_) });
$t->run;
cmp_ok($t->{transactions}, '>', 1000, 'there was a load');
is_deeply($t->{wrong}, [], 'every record is what the server wrote');
done_testing;
