/*
 * publish.h: handing records and outcomes to replayd through this child's
 * lane.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PUBLISH_H
#define PGW_PUBLISH_H

#include <stdbool.h>

#include "attr.h"
#include "record.h"
#include "session.h"

/*
 * Sends the record and waits until it is durable.  False: the session must
 * end (shutdown); the transaction must not be committed.
 */
PGW_MUSTCHECK bool publish_record(struct session *s, const struct record *r);

/* Sends the outcome of the last record; waits only for room. */
void publish_outcome(struct session *s, enum record_outcome outcome,
	uint64_t xid, const char *reason);

#endif
