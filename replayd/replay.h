/*
 * replay.h: one recorded transaction, run again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_REPLAY_H
#define PGW_REPLAY_H

#include <stdbool.h>

#include "arena.h"
#include "attr.h"
#include "config.h"
#include "reason.h"
#include "record.h"
#include "schema.h"
#include "verdict.h"

struct replay;

/* index: the worker's; workers' copies are apart. */
PGW_MUSTCHECK struct replay *replay_new(const struct config *c,
	unsigned index);
void replay_free(struct replay *p);

/* What the record itself says against a replay; NONE: nothing. */
enum reason replay_refusal(const struct record *r);

/* For batch.c, which runs many at once: what replay_run() does first. */
struct schema *replay_schema(const struct replay *p);
void replay_verdict_init(struct verdict *v, uint64_t tx_id);
/* False: *v says why there is nothing to replay.  Sorts the rows of r. */
PGW_MUSTCHECK bool replay_is_wanted(const struct replay *p, struct record *r,
	struct arena *a, struct verdict *v);

/*
 * Fills *v but for tx_id; its strings live in the arena, in r, or for ever.
 * Sorts the rows of r.  May block for statement_timeout and for a new copy of
 * the database.  False: SIGTERM is pending, there is no verdict.
 */
PGW_MUSTCHECK bool replay_run(struct replay *p, struct record *r,
	struct arena *a, struct verdict *v);

#endif
