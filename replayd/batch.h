/*
 * batch.h: many recorded transactions run again, several in one write.
 *
 * The quick way to `verified`, and to nothing else.  Up to BATCH_GROUP jobs go
 * to the copy with one Sync at their end, each in a transaction of its own
 * that is rolled back, and groups follow each other without waiting.  An error
 * makes the server skip the rest of its group: what was skipped is sent again.
 * What failed, differs, takes long, is large, brings COPY data or has no copy
 * yet is run alone, by replay_run(), which decides.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BATCH_H
#define PGW_BATCH_H

#include <stdbool.h>

#include "attr.h"
#include "replay.h"
#include "spool.h"
#include "verdict.h"
#include "worker.h"

#define BATCH_GROUP 16			/* jobs between two Syncs */

struct batch;

/* Neither p nor spool is owned. */
PGW_MUSTCHECK struct batch *batch_new(const struct config *c,
	struct replay *p);
void batch_free(struct batch *b);

/* Room for another one; it has room again after batch_pop(). */
bool batch_has_room(const struct batch *b);
bool batch_is_empty(const struct batch *b);
void batch_push(struct batch *b, const struct worker_job *job);

/*
 * Goes on until at least one more job is done or sent again.  May block as
 * replay_run() does.  False: SIGTERM is pending.
 */
PGW_MUSTCHECK bool batch_step(struct batch *b);

/* When the record of the last job, or DDL, was made. */
int64_t batch_made_us(const struct batch *b);

/* The oldest job is done. */
PGW_MUSTCHECK bool batch_is_done(const struct batch *b);
/*
 * Its verdict, NULL if it was DDL; valid until batch_pop(), which forgets that
 * job.
 */
const struct verdict *batch_verdict(const struct batch *b);
void batch_pop(struct batch *b);

#endif
