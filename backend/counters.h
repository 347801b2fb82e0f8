/*
 * counters.h: what a statement whose target has triggers changed beside the
 * rows that it returned.
 *
 * The server counts for each table what a transaction inserts, updates and
 * deletes, whoever asked for it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COUNTERS_H
#define PGW_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyze.h"
#include "attr.h"
#include "exchange.h"
#include "session.h"

/* One table's, or how much they have grown: less than 0 behind a TRUNCATE. */
struct counter {
	uint32_t oid;
	const char *schema;
	const char *name;
	int64_t inserted, updated, deleted;
};

struct counters {
	bool known;		/* track_counts is on, and the answer was whole */
	struct counter *tables;	/* the target, and all that are not 0 */
	size_t n, cap;
};

/* The session's transaction has written to it: that may be counted for long. */
void counters_note(struct session *s, uint32_t oid);

/* Queues the question; oid: the target. */
void counters_put(struct session *s, uint32_t oid);
/* The answer, in the transaction's arena. */
PGW_MUSTCHECK enum exchange_end counters_read(struct session *s,
	struct counters *c, struct exchange_error *error,
	struct buf *raw_error);

/* Between both answers the statement's own n rows of the target were changed,
 * and no other of it. */
PGW_MUSTCHECK bool counters_are_own(const struct counters *before,
	const struct counters *after, uint32_t oid, enum stmt_kind kind,
	size_t n);

/*
 * How many rows of it were inserted and updated, but for what was inserted and
 * taken back, as others were faster.  False: that is not known, or not all.
 */
PGW_MUSTCHECK bool counters_upserted(const struct counters *before,
	const struct counters *after, uint32_t oid, size_t *inserted,
	size_t *updated);

/* It was changed between both. */
PGW_MUSTCHECK bool counters_changed(const struct counters *before,
	const struct counters *after, uint32_t oid);

/*
 * The next other table that was changed between both; *at begins with 0.  False:
 * there is none.
 */
PGW_MUSTCHECK bool counters_next_other(const struct counters *before,
	const struct counters *after, uint32_t oid, size_t *at,
	struct counter *change);

#endif
