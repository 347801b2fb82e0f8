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

enum publish {
	PUBLISH_DONE,
	/* The disk is in trouble and evidence.on_spool_full = reject: nothing
	 * was or will be recorded; roll back, no outcome follows. */
	PUBLISH_REFUSED,
	/* The session must end (shutdown, damaged lane): do not commit, and do
	 * not tell the client. */
	PUBLISH_STOP
};

/*
 * Sends the record and waits until it is durable (evidence.commit = async:
 * until it is in the lane).  Below before_commit it is not refused.
 */
PGW_MUSTCHECK enum publish publish_record(struct session *s,
	const struct record *r);

/*
 * Sends what is about to be sent with its commit; waits only for room.  The
 * next publish_record() replaces it.
 */
PGW_MUSTCHECK enum publish publish_intent(struct session *s,
	const struct record *r);

/* Sends DDL that has been committed; waits only for room. */
void publish_ddl(struct session *s, const struct record *r);

/* Sends the outcome of the last record; waits only for room. */
void publish_outcome(struct session *s, enum record_outcome outcome,
	uint64_t xid, const char *reason);

#endif
