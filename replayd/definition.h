/*
 * definition.h: how a copy's tables are defined, by names
 * (include/definition_sql.h).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DEFINITION_H
#define PGW_DEFINITION_H

#include <stdbool.h>

#include "attr.h"
#include "config.h"
#include "copy.h"

/* Of one table now.  False: there is none of this name, or logged. */
PGW_MUSTCHECK bool definition_ask(const struct config *c,
	struct schema_copy *copy, const char *schema, const char *table,
	char out[SCHEMA_FINGERPRINT_BYTES]);

/*
 * The lines themselves, over a connection to a copy (copy_catalog()) or to the
 * server after definition_settings(); the caller's to free().  NULL: there is
 * none of this name, or logged.
 */
PGW_MUSTCHECK char *definition_text(PGconn *conn, const char *schema,
	const char *table);
PGW_MUSTCHECK bool definition_settings(PGconn *conn);

/*
 * Before the copy changes: each table keeps what it is now, so that its
 * fingerprint is still believed if that is the same afterwards.
 */
PGW_MUSTCHECK bool definition_keep(const struct config *c,
	struct schema_copy *copy);

#endif
