/*
 * schema.h: a worker's copies of the server's databases, one for each.
 *
 * A job may run in a copy only if each of its tables is defined there as it was
 * where the job was captured: by its fingerprint, if the dump had that and no
 * DDL has changed the table since, or by names (include/definition_sql.h).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCHEMA_H
#define PGW_SCHEMA_H

#include <stdbool.h>

#include "attr.h"
#include "buf.h"
#include "config.h"
#include "copy.h"
#include "reason.h"
#include "record.h"

struct schema;

/* index: the worker's. */
PGW_MUSTCHECK struct schema *schema_new(const struct config *c,
	unsigned index);
/* Closes connections; the copies stay until the next cluster_start(). */
void schema_free(struct schema *s);

/*
 * The copy on which the job can run, made or made anew where needed (then it
 * blocks for seconds).  NULL if there is none: *reason of the verdict, NONE if
 * SIGTERM is pending.
 */
PGW_MUSTCHECK struct schema_copy *schema_copy_for(struct schema *s,
	const struct record *r, enum reason *reason);

/*
 * Makes the copy of r's database from a bundle (blueprint.h); the server is
 * not asked then.  False: logged.
 */
PGW_MUSTCHECK bool schema_copy_from(struct schema *s, const struct record *r,
	const char *dir);

/* The same if it is there and fits already, else NULL; never blocks. */
PGW_MUSTCHECK struct schema_copy *schema_copy_ready(struct schema *s,
	const struct record *r);

/*
 * True if types or functions that r may have seen are not those of the dump, or
 * nobody can say; the copy is then made anew by the next schema_copy_for().
 * Asks the server, unless it did after r was made.  mismatch: the verdict would
 * be one, for which the copy must be as the server's dump.
 */
PGW_MUSTCHECK bool schema_is_stale(struct schema *s, struct schema_copy *copy,
	const struct record *r, bool mismatch);

/*
 * DDL that was seen: runs it in the copy of r's database.  May block as
 * schema_copy_for() does.  False: SIGTERM is pending.
 */
PGW_MUSTCHECK bool schema_ddl(struct schema *s, const struct record *r);

/*
 * The queue has come to what was made then, or nothing is in it: appends
 * messages to the recorder of what was changed and no DDL explains (drift.h).
 */
void schema_settle(struct schema *s, int64_t made_us, struct buf *messages);
/*
 * Nothing has come for a while: compares the copies that were used since with
 * the server, and makes those anew that are not like it.  May block.
 */
void schema_look(struct schema *s);
/* There is something that one of these two may have to do later. */
PGW_MUSTCHECK bool schema_waits(const struct schema *s);

/* True if there is a schema of this name, with tables. */
PGW_MUSTCHECK bool schema_has_namespace(struct schema_copy *copy,
	const char *name);

#endif
