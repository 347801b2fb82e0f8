/*
 * extended.h: the client's messages of the extended query protocol.
 *
 * Each is forwarded as it is, but for the Execute of an INSERT, UPDATE,
 * DELETE or COPY, which is captured, and what commits a captured transaction (Sync,
 * or the Execute of a COMMIT), which is held until the record is durable.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EXTENDED_H
#define PGW_EXTENDED_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"
#include "wire.h"

enum extended_answer {
	EXTENDED_TAKEN,		/* forwarded, or done with */
	EXTENDED_TAKEN_SYNC,	/* and so is the Sync behind it */
	EXTENDED_TAKEN_ITSELF,	/* off the client's queue, with what is behind */
	/* Not before the server has answered what was sent; a Flush asks it. */
	EXTENDED_WAIT,
	EXTENDED_STOP		/* the session must end */
};

/*
 * Parse, Bind, Describe, Execute, Close or Sync.  sync_follows: the next
 * message of the client is a Sync, and it is there.
 */
PGW_MUSTCHECK enum extended_answer extended_message(struct session *s,
	const struct message *m, bool sync_follows);

/* A message of this type, too long to look at, is forwarded as it comes. */
PGW_MUSTCHECK enum extended_answer extended_oversized(struct session *s,
	char type);

#endif
