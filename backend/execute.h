/*
 * execute.h: SQL's EXECUTE.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EXECUTE_H
#define PGW_EXECUTE_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"

/*
 * True if the prepared statement of this name, if any, only reads, by its text, for
 * which the server is asked.  What an analysis gave before is gone then.
 */
PGW_MUSTCHECK bool execute_only_reads(struct session *s, const char *name);

#endif
