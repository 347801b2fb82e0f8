/*
 * tls_files.c: contexts of TLS from the files of the configuration.
 *
 * As PostgreSQL reads ssl_cert_file and its kin, and as libpq reads
 * sslrootcert and its: what is refused there is refused here, in like words.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/stat.h>

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"
#include "tls_int.h"

#define ALPN_BYTES ((unsigned)sizeof(TLS_ALPN) - 1)

/* Where an error goes. */
struct load {
	const struct config *config;
	char *error;
	size_t size;
};

static bool fail(struct load *l, const char *path, const char *fmt, ...)
    PGW_PRINTF(3, 4);

static bool
fail(struct load *l, const char *path, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(l->error, l->size, "%s: ", path);

	if (n < 0 || (size_t)n >= l->size)
		return false;
	va_start(ap, fmt);
	vsnprintf(l->error + n, l->size - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

/* With OpenSSL's first reason. */
static bool
fail_ssl(struct load *l, const char *path, const char *what)
{
	unsigned long e = ERR_get_error();
	const char *why = ERR_reason_error_string(e);

	if (ERR_SYSTEM_ERROR(e))
		why = strerror(ERR_GET_REASON(e));
	ERR_clear_error();
	return fail(
	    l, path, "cannot load %s: %s", what, why != NULL ? why : "unknown");
}

/* PostgreSQL's check_ssl_key_file_permissions(). */
static bool
check_key_mode(struct load *l, const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return fail(
		    l, path, "cannot read private key: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(l, path, "private key is not a regular file");
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fail(l, path,
		    "private key must be owned by the user pgwitness runs as "
		    "or by root");
	if ((st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO))) ||
	    (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)))
		return fail(l, path,
		    "private key is open to group or others; chmod 0600 it, "
		    "or 0640 if it belongs to root");
	return true;
}

/* A key with a passphrase: nobody is there to be asked. */
static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)arg = true;
	return -1;
}

static SSL_CTX *
new_context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (ctx == NULL)
		log_fatal("tls", "cannot make a TLS context");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION |
				     SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
				     SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	return ctx;
}

static bool
load_pair(struct load *l, SSL_CTX *ctx, const char *cert, const char *key)
{
	bool asked = false, ok;

	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return fail_ssl(l, cert, "certificate");
	if (!check_key_mode(l, key))
		return false;
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
	ok = SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1 &&
	     SSL_CTX_check_private_key(ctx) == 1;
	SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
	if (ok)
		return true;
	if (asked)
		return fail(l, key,
		    "private key has a passphrase; nobody is asked for it "
		    "here");
	switch (ERR_GET_REASON(ERR_peek_error())) {
	case X509_R_KEY_VALUES_MISMATCH:
	case X509_R_KEY_TYPE_MISMATCH:
		return fail(l, key,
		    "private key does not belong to certificate \"%s\"", cert);
	default:
		return fail_ssl(l, key, "private key");
	}
}

/* --- for clients --- */

/* A client that speaks ALPN must mean this protocol (ALPACA). */
static int
select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
    const unsigned char *in, unsigned inlen, void *arg)
{
	unsigned char *selected;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&selected, outlen,
		(const unsigned char *)TLS_ALPN, ALPN_BYTES, in,
		inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = selected;
	return SSL_TLSEXT_ERR_OK;
}

/* RFC 5929, 4.1: the certificate under the hash of its signature. */
static void
note_end_point(struct tls_files *f)
{
	X509 *own = SSL_CTX_get0_certificate(f->accept);
	const EVP_MD *md = NULL;
	int nid;

	if (X509_get_signature_info(own, &nid, NULL, NULL, NULL) == 1)
		md = nid == NID_md5 || nid == NID_sha1
			 ? EVP_sha256()
			 : EVP_get_digestbynid(nid);
	if (md == NULL ||
	    X509_digest(own, md, f->end_point, &f->end_point_len) != 1)
		f->end_point_len = 0;
	ERR_clear_error();
}

static bool
load_client_ca(struct load *l, SSL_CTX *ctx)
{
	const char *path = l->config->ssl_ca_file;
	STACK_OF(X509_NAME) * names;

	if (path[0] == '\0')
		return true;
	names = SSL_load_client_CA_file(path);
	if (names == NULL ||
	    SSL_CTX_load_verify_locations(ctx, path, NULL) != 1)
		return fail_ssl(l, path, "authorities of clients");
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, NULL);
	return true;
}

static bool
load_accept(struct load *l, struct tls_files *f)
{
	const struct config *c = l->config;

	if (c->ssl == SSL_OFF)
		return true;
	f->accept = new_context(TLS_server_method());
	SSL_CTX_set_num_tickets(f->accept, 0);
	SSL_CTX_set_dh_auto(f->accept, 1);
	SSL_CTX_set_alpn_select_cb(f->accept, select_alpn, NULL);
	if (!load_pair(l, f->accept, c->ssl_cert_file, c->ssl_key_file) ||
	    !load_client_ca(l, f->accept))
		return false;
	note_end_point(f);
	return true;
}

/* --- for the server --- */

/* The configured path, or libpq's own in the home directory. */
static const char *
or_at_home(const char *path, const char *name, char *out, size_t size)
{
	const char *home = getenv("HOME");
	const struct passwd *pw;

	if (path[0] != '\0')
		return path;
	if (home == NULL || home[0] == '\0') {
		pw = getpwuid(geteuid());
		home = pw != NULL ? pw->pw_dir : "/nonexistent";
	}
	snprintf(out, size, "%s/.postgresql/%s", home, name);
	return out;
}

static bool
is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

static bool
load_crl(struct load *l, SSL_CTX *ctx)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	char at_home[PATH_MAX];
	const char *path = or_at_home(
	    l->config->backend_sslcrl, "root.crl", at_home, sizeof(at_home));

	if (path == at_home && !is_there(path))
		return true;
	if (X509_STORE_load_locations(store, path, NULL) != 1)
		return fail_ssl(l, path, "revoked certificates");
	X509_STORE_set_flags(
	    store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return true;
}

/* Where the file is there it is used, below verify-ca as well: as libpq. */
static bool
load_root(struct load *l, struct tls_files *f)
{
	char at_home[PATH_MAX];
	const char *path = or_at_home(l->config->backend_sslrootcert,
	    "root.crt", at_home, sizeof(at_home));

	if (!is_there(path)) {
		if (l->config->backend_sslmode < SSLMODE_VERIFY_CA)
			return true;
		return fail(l, path,
		    "root certificate file does not exist; give sslrootcert "
		    "in [backend], or change sslmode to not verify the "
		    "server's certificate");
	}
	if (SSL_CTX_load_verify_locations(f->connect, path, NULL) != 1)
		return fail_ssl(l, path, "root certificate");
	SSL_CTX_set_verify(f->connect, SSL_VERIFY_PEER, NULL);
	f->verifies = true;
	return load_crl(l, f->connect);
}

static bool
load_own(struct load *l, SSL_CTX *ctx)
{
	char cert_at_home[PATH_MAX], key_at_home[PATH_MAX];
	const char *cert = or_at_home(l->config->backend_sslcert,
	    "postgresql.crt", cert_at_home, sizeof(cert_at_home));
	const char *key = or_at_home(l->config->backend_sslkey,
	    "postgresql.key", key_at_home, sizeof(key_at_home));

	if (cert == cert_at_home && !is_there(cert))
		return true;
	return load_pair(l, ctx, cert, key);
}

static bool
load_connect(struct load *l, struct tls_files *f)
{
	const struct config *c = l->config;

	if (c->backend_host[0] == '/' || c->backend_sslmode == SSLMODE_DISABLE)
		return true;
	f->connect = new_context(TLS_client_method());
	SSL_CTX_set_alpn_protos(
	    f->connect, (const unsigned char *)TLS_ALPN, ALPN_BYTES);
	return load_root(l, f) && load_own(l, f->connect);
}

struct tls_files *
tls_files_load(const struct config *c, char *error, size_t error_size)
{
	struct load l = { c, error, error_size };
	struct tls_files *f = mem_zalloc(1, sizeof(*f));

	ERR_clear_error();
	if (load_accept(&l, f) && load_connect(&l, f))
		return f;
	ERR_clear_error();
	tls_files_free(f);
	return NULL;
}

void
tls_files_free(struct tls_files *f)
{
	if (f == NULL)
		return;
	SSL_CTX_free(f->accept);
	SSL_CTX_free(f->connect);
	free(f);
}

/* --- names --- */

bool
tls_name_matches(X509 *certificate, const char *host)
{
	return X509_check_ip_asc(certificate, host, 0) == 1 ||
	       X509_check_host(certificate, host, 0,
		   X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

bool
tls_files_may_be_servers(const struct tls_files *f, const struct config *c)
{
	X509_STORE_CTX *check;
	STACK_OF(X509) * chain;
	X509 *own;
	bool ok;

	if (f->accept == NULL || f->connect == NULL || !f->verifies)
		return true;
	own = SSL_CTX_get0_certificate(f->accept);
	SSL_CTX_get0_chain_certs(f->accept, &chain);
	check = X509_STORE_CTX_new();
	ok = check != NULL &&
	     X509_STORE_CTX_init(
		 check, SSL_CTX_get_cert_store(f->connect), own, chain) == 1 &&
	     X509_verify_cert(check) == 1;
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return ok && (c->backend_sslmode != SSLMODE_VERIFY_FULL ||
			 tls_name_matches(own, c->backend_host));
}
