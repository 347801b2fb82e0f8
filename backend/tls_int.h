/*
 * tls_int.h: shared by tls_files.c, which makes the contexts, and tls.c, which
 * uses them.  Nobody else includes it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TLS_INT_H
#define PGW_TLS_INT_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "tlsfiles.h"

/* The protocol's name in ALPN, as PostgreSQL 17 wants it. */
#define TLS_ALPN "\x0apostgresql"

struct tls_files {
	SSL_CTX *accept;	/* for clients; NULL: ssl = off */
	SSL_CTX *connect;	/* for the server; NULL: never encrypted */
	bool verifies;		/* the server's certificate is checked */
	/* Data of tls-server-end-point for our certificate; 0: it has none. */
	unsigned char end_point[EVP_MAX_MD_SIZE];
	unsigned end_point_len;
};

/* As X509_check_host() and X509_check_ip(), as libpq takes a name. */
bool tls_name_matches(X509 *certificate, const char *host);

#endif
