/*
 * dump.h: from a server database to an empty copy of it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DUMP_H
#define PGW_DUMP_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "attr.h"
#include "config.h"

/* Files of one worker, overwritten with each dump. */
struct dump {
	const struct config *config;
	bool again;			/* said before what is left out */
	char archive[4096];
	char list[4096];
	char errors[4096];
};

void dump_init(struct dump *d, const struct config *c, unsigned index);

/*
 * pg_dump --schema-only in the snapshot that conn's transaction exported.
 * False: logged.
 */
PGW_MUSTCHECK bool dump_take(const struct dump *d, PGconn *conn,
	const char *snapshot);

/*
 * Restores the archive over the replay role's connection parameters.  What
 * cannot be restored is left out and logged; the archive stays.  False: nothing
 * was restored.
 */
PGW_MUSTCHECK bool dump_restore(const struct dump *d, PGconn *conn);

#endif
