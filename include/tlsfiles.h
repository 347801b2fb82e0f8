/*
 * tlsfiles.h: what TLS needs from files: certificates, keys, authorities of
 * [proxy] ssl_* and [backend] ssl*.
 *
 * The postmaster reads them at the start and at reload, -n with the same
 * function; children inherit them, so that no child opens a key.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TLSFILES_H
#define PGW_TLSFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "attr.h"
#include "config.h"

struct tls_files;

/* NULL if one cannot be used; then error holds one line that names it. */
PGW_MUSTCHECK struct tls_files *tls_files_load(const struct config *c,
	char *error, size_t error_size);
void tls_files_free(struct tls_files *f);

/*
 * False if our certificate certainly is not the server's: the server's would
 * be refused by sslrootcert, or by its name.
 */
bool tls_files_may_be_servers(const struct tls_files *f,
	const struct config *c);

#endif
