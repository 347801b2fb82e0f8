/*
 * restored.h: what the restore of a copy left out.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_RESTORED_H
#define PGW_RESTORED_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "attr.h"
#include "schema.h"

/*
 * Marks the tables of which the copy, to which conn is connected, has not as
 * many parts as the server (schema_sql.h), or which it has not at all; logs
 * them.  False: the copy's catalog cannot be read, logged.
 */
PGW_MUSTCHECK bool restored_check(PGconn *conn, struct schema_copy *copy);

#endif
