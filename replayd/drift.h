/*
 * drift.h: what is defined otherwise in a dump than in the copy before it, to
 * which all DDL was done that was seen.  What no such DDL explains was done
 * behind the proxy's back.
 *
 * DDL that was committed before the dump, but comes later in the queue, is in
 * the dump, not in the old copy.  So the answer waits until the queue has come
 * to what is younger than the dump.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DRIFT_H
#define PGW_DRIFT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "config.h"
#include "copy.h"

/* What is younger than the dump by this comes behind all DDL in it. */
#define DRIFT_US INT64_C(3000000)

/*
 * The server has the tables of fresh now; copy still is what it was.  conn: to
 * the server.
 */
void drift_begin(const struct config *c, struct schema_copy *copy,
	const struct schema_copy *fresh, PGconn *conn);
/* drift_begin() would find something. */
PGW_MUSTCHECK bool drift_looks_so(const struct config *c,
	struct schema_copy *copy, const struct schema_copy *fresh, PGconn *conn);
/* The copy is the dump's now. */
void drift_restored(const struct config *c, struct schema_copy *copy);

/* DDL that was seen, but is not in the copy, unless the dump has it. */
void drift_note_ddl(struct schema_copy *copy, const struct record *r);

/* The queue has come to what was made then.  Appends a message to the recorder
 * (worker.h) for each table. */
void drift_settle(struct schema_copy *copy, int64_t made_us,
	struct buf *messages);
/* It has not come so far; nothing else may come to it. */
PGW_MUSTCHECK bool drift_waits(const struct schema_copy *copy);

void drift_forget(struct schema_copy *copy);

#endif
