/*
 * copyin.h: the conversation of a COPY FROM STDIN, in either protocol.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COPYIN_H
#define PGW_COPYIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "session.h"

struct copyin {
	struct session *s;
	bool extended;		/* an Execute: no ReadyForQuery ends it */
	/* What the client sends, without the messages around it. */
	struct buf data;
	size_t limit;		/* bytes that may be kept */
	bool dropped;		/* there was more */
	unsigned syncs;		/* Syncs among it */
	/* What the server answers. */
	uint8_t format;
	struct buf complete;	/* CommandComplete */
	bool failed;		/* the client has its ErrorResponse */
	/* copyin.c's own */
	bool in;		/* the server takes copy data */
	bool ready;		/* all is said */
	bool ended;		/* CopyDone, CopyFail, or no copy data */
	bool foreign;		/* ... that */
	bool stopped;		/* more is there than may be queued */
};

/*
 * Relays it, from what starts it, which is queued for the server, to its end.
 * False: the session must end; a client that left before the end of its data is
 * rolled back by that.
 */
PGW_MUSTCHECK bool copyin_run(struct copyin *c);

/*
 * The rest of a message of the client's that was under way when it failed:
 * amid that nothing can be sent.  False as above.
 */
PGW_MUSTCHECK bool copyin_finish_message(struct copyin *c);

/*
 * The server ignores Sync while it takes copy data; those that it read behind
 * an error it answers, and which these are, only it can say.  How many; in an
 * extended protocol's batch the server does not skip any more then.  False: the
 * session must end.
 */
PGW_MUSTCHECK bool copyin_count_syncs(struct session *s, unsigned *n);

/* The same for s->copy_syncs, with what it means for the client. */
PGW_MUSTCHECK bool copyin_settle_syncs(struct session *s);

/*
 * What is no copy data ends the session if the server still takes such.  Else it
 * would be run: only its type is sent, which is all that the server reads then.
 * A ReadyForQuery says that it does not: copyin_violation().
 */
void copyin_put_foreign(struct session *s, char type);
void copyin_violation(struct session *s);

#endif
