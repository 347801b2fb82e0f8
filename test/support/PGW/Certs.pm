# Certificates for tests, made by openssl: authorities and what they issue.
#
#	my $ca = PGW::Certs->new('ca');
#	my $server = $ca->issue('server', 'localhost', 'IP:127.0.0.1');
#	$ca->cert; $server->cert; $server->key	# paths of PEM files
#
# SPDX-License-Identifier: PostgreSQL
package PGW::Certs;
use strict;
use warnings;
use Carp qw(croak);
use PGW::Util qw(run new_dir);

my $serial = 0;

sub _openssl
{
	my ($rc, $out, $err) = run(['openssl', @_]);
	croak "openssl @_: $err" if $rc;
	return $out;
}

sub _new_key
{
	my ($self) = @_;
	_openssl('genpkey', '-algorithm', 'EC', '-pkeyopt',
		'ec_paramgen_curve:P-256', '-out', $self->key);
}

# An authority that signs itself.
sub new
{
	my ($class, $name) = @_;
	my $self = bless { path => new_dir('certs') . "/$name" }, $class;
	$self->_new_key;
	_openssl('req', '-x509', '-new', '-sha256', '-key', $self->key, '-subj',
		"/CN=$name", '-days', 30, '-out', $self->cert);
	return $self;
}

# A certificate for common name $cn, with alternative names if given.
sub issue
{
	my ($ca, $name, $cn, $alt) = @_;
	my $self = bless { path => new_dir('certs') . "/$name" }, ref $ca;
	$self->_new_key;
	_openssl('req', '-new', '-key', $self->key, '-subj', "/CN=$cn",
		($alt ? ('-addext', "subjectAltName=$alt") : ()),
		'-out', "$self->{path}.csr");
	_openssl('x509', '-req', '-sha256', '-in', "$self->{path}.csr", '-CA',
		$ca->cert, '-CAkey', $ca->key, '-set_serial', ++$serial, '-days',
		30, '-copy_extensions', 'copy', '-out', $self->cert);
	return $self;
}

sub cert { "$_[0]{path}.crt" }
sub key { "$_[0]{path}.key" }

# postgresql.conf lines that make a server use it.
sub server_conf
{
	my ($self, %o) = @_;
	return "ssl = on\nssl_cert_file = '" . $self->cert . "'\n"
		. "ssl_key_file = '" . $self->key . "'\n"
		. ($o{ca} ? "ssl_ca_file = '" . $o{ca}->cert . "'\n" : '');
}

# [proxy] that makes pgwitness use it.
sub proxy_conf
{
	my ($self, %o) = @_;
	return (ssl => $o{ssl} // 'on', ssl_cert_file => $self->cert,
		ssl_key_file => $self->key,
		($o{ca} ? (ssl_ca_file => $o{ca}->cert) : ()));
}

1;
