/*
 * auth.h: admitting a client by the proxy itself ([proxy] auth_method trust or
 * password).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_AUTH_H
#define PGW_AUTH_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"

/*
 * True: the client is admitted.  False: it has been told why not, or is gone.
 * An unknown user and a wrong password look the same.
 */
PGW_MUSTCHECK bool auth_client(struct session *s);

/*
 * Checks a password against a secret of auth_file: "SCRAM-SHA-256$..." as in
 * pg_authid.rolpassword, or the password itself.  For the unit test.
 */
PGW_MUSTCHECK bool auth_check_secret(const char *password, const char *secret);

#endif
