/*
 * auth.h: admitting a client by the proxy itself ([proxy] auth_method other
 * than passthrough).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_AUTH_H
#define PGW_AUTH_H

#include <stdbool.h>

#include "attr.h"
#include "scram.h"
#include "session.h"

/*
 * True: the client is admitted.  False: it has been told why not, or is gone.
 * An unknown user and a wrong password look the same.
 */
PGW_MUSTCHECK bool auth_client(struct session *s);

/*
 * Checks a password against a secret of auth_file: SCRAM-SHA-256$... or md5...
 * as in pg_authid.rolpassword, or the password itself.  It takes the time of a
 * SCRAM secret like `like` whatever it is.
 */
PGW_MUSTCHECK bool auth_check_secret(const char *user, const char *password,
	const char *secret, const struct scram_secret *like);

#endif
