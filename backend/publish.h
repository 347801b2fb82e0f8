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
 * Sends the record and waits until it is durable (evidence.commit = async:
 * until it is in the lane).  False: the session must end (shutdown); the
 * transaction must not be committed, or the client not be told.
 */
PGW_MUSTCHECK bool publish_record(struct session *s, const struct record *r);

/*
 * Sends what is about to be sent with its commit; waits only for room.  The
 * next publish_record() replaces it.  False: as above.
 */
PGW_MUSTCHECK bool publish_intent(struct session *s, const struct record *r);

/* Sends the outcome of the last record; waits only for room. */
void publish_outcome(struct session *s, enum record_outcome outcome,
	uint64_t xid, const char *reason);

#endif
