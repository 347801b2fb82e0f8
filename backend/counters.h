/*
 * counters.h: did a statement whose target has triggers change other rows than
 * those that it returned?
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

struct counters {
	bool known;		/* track_counts is on, and the answer was whole */
	int64_t inserted, updated, deleted; /* of the target */
	const char *others;	/* of all others that are not 0 */
};

/* Queues the question; oid: the target. */
void counters_put(struct session *s, uint32_t oid);
/* The answer, in the transaction's arena. */
PGW_MUSTCHECK enum exchange_end counters_read(struct session *s,
	struct counters *c, struct exchange_error *error,
	struct buf *raw_error);

/* Between both answers the statement's own n rows were changed, no other. */
PGW_MUSTCHECK bool counters_are_own(const struct counters *before,
	const struct counters *after, enum stmt_kind kind, size_t n);

#endif
