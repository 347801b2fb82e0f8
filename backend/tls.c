/*
 * tls.c: TLS on one socket, as recv() and send() see it.
 *
 * OpenSSL's error queue must be empty before a call: a leftover would be taken
 * for that call's error.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "tls_int.h"

struct tls {
	SSL *ssl;
	bool adopted;
	bool recv_wants_write;
	bool send_wants_read;
	bool failed; /* nothing more may be done with it */
	char error[200];
};

bool
tls_accepts(const struct tls_files *f)
{
	return f->accept != NULL;
}

bool
tls_connects(const struct tls_files *f)
{
	return f->connect != NULL;
}

static struct tls *
new_tls(SSL *ssl)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (t == NULL || ssl == NULL)
		log_fatal("out_of_memory", "no memory for TLS");
	t->ssl = ssl;
	return t;
}

struct tls *
tls_accept(const struct tls_files *f, int fd)
{
	struct tls *t = new_tls(SSL_new(f->accept));

	SSL_set_fd(t->ssl, fd);
	SSL_set_accept_state(t->ssl);
	return t;
}

static bool
is_address(const char *host)
{
	unsigned char a[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, a) == 1 ||
	       inet_pton(AF_INET6, host, a) == 1;
}

/* What the macro SSL_set_tlsext_host_name() does, without its cast. */
static void
set_host_name(SSL *ssl, const char *host)
{
	SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
	    (void *)(uintptr_t)host);
}

struct tls *
tls_connect(const struct tls_files *f, int fd, const char *host)
{
	struct tls *t = new_tls(SSL_new(f->connect));

	SSL_set_fd(t->ssl, fd);
	SSL_set_connect_state(t->ssl);
	if (!is_address(host))
		set_host_name(t->ssl, host);
	return t;
}

struct tls *
tls_adopt(void *ssl)
{
	struct tls *t = new_tls(ssl);

	t->adopted = true;
	SSL_set_mode(t->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
				 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return t;
}

void
tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	if (!t->adopted) {
		if (!t->failed && SSL_is_init_finished(t->ssl))
			(void)SSL_shutdown(t->ssl);
		SSL_free(t->ssl);
	}
	ERR_clear_error();
	free(t);
}

bool
tls_established(const struct tls *t)
{
	return SSL_is_init_finished(t->ssl) && !t->failed;
}

static void
note_error(struct tls *t)
{
	unsigned long e = ERR_get_error();
	const char *why = ERR_reason_error_string(e);
	long verify = SSL_get_verify_result(t->ssl);

	t->failed = true;
	if (verify != X509_V_OK &&
	    ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		snprintf(t->error, sizeof(t->error), "%s: %s", why,
		    X509_verify_cert_error_string(verify));
	else
		snprintf(t->error, sizeof(t->error), "%s",
		    why != NULL ? why : strerror(errno));
	ERR_clear_error();
}

/* rc of SSL_read() or SSL_write() that was not positive. */
static ssize_t
not_done(struct tls *t, int rc, bool *other_way, int other)
{
	int saved = errno;
	int error = SSL_get_error(t->ssl, rc);

	*other_way = error == other;
	switch (error) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		ERR_clear_error();
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		t->failed = true;
		ERR_clear_error();
		errno = saved;
		if (!SSL_is_init_finished(t->ssl))
			snprintf(t->error, sizeof(t->error), "%s",
			    saved != 0 ? strerror(saved) : "unexpected eof");
		return saved != 0 ? -1 : 0;
	default:
		note_error(t);
		errno = EPROTO;
		return -1;
	}
}

ssize_t
tls_recv(struct tls *t, void *p, size_t n)
{
	size_t got;
	int rc;

	if (t->failed)
		return 0;
	t->recv_wants_write = false;
	errno = 0;
	ERR_clear_error();
	rc = SSL_read_ex(t->ssl, p, n, &got);
	return rc == 1 ? (ssize_t)got
		       : not_done(
			     t, rc, &t->recv_wants_write, SSL_ERROR_WANT_WRITE);
}

ssize_t
tls_send(struct tls *t, const void *p, size_t n)
{
	size_t sent;
	int rc;

	if (t->failed) {
		errno = EPROTO;
		return -1;
	}
	t->send_wants_read = false;
	errno = 0;
	ERR_clear_error();
	rc = SSL_write_ex(t->ssl, p, n, &sent);
	if (rc == 1)
		return (ssize_t)sent;
	if (not_done(t, rc, &t->send_wants_read, SSL_ERROR_WANT_READ) == 0)
		errno = EPIPE;
	return -1;
}

bool
tls_recv_wants_write(const struct tls *t)
{
	return t->recv_wants_write;
}

bool
tls_send_wants_read(const struct tls *t)
{
	return t->send_wants_read;
}

bool
tls_has_pending(const struct tls *t)
{
	return SSL_has_pending(t->ssl) == 1;
}

const char *
tls_error(const struct tls *t)
{
	return t->error;
}

void
tls_describe(const struct tls *t, char *out, size_t size)
{
	snprintf(out, size, "%s %s", SSL_get_version(t->ssl),
	    SSL_get_cipher_name(t->ssl));
}

bool
tls_has_alpn(const struct tls *t)
{
	const unsigned char *name;
	unsigned len;

	SSL_get0_alpn_selected(t->ssl, &name, &len);
	return len > 0;
}

bool
tls_name_is(const struct tls *t, const char *host)
{
	X509 *certificate = SSL_get0_peer_certificate(t->ssl);

	return certificate != NULL && tls_name_matches(certificate, host);
}

bool
tls_is_own_certificate(const struct tls_files *f, const struct tls *t)
{
	X509 *theirs = SSL_get0_peer_certificate(t->ssl);

	return theirs != NULL && f->accept != NULL &&
	       X509_cmp(theirs, SSL_CTX_get0_certificate(f->accept)) == 0;
}

size_t
tls_end_point(const struct tls_files *f, const unsigned char **data)
{
	*data = f->end_point;
	return f->end_point_len;
}
