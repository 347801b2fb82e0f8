/*
 * commit.h: how a transaction with statements to record ends: its intent, its
 * record before the commit, its outcome.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COMMIT_H
#define PGW_COMMIT_H

#include <stdbool.h>

#include "attr.h"
#include "facts.h"
#include "pipeline.h"
#include "publish.h"
#include "session.h"

/*
 * The transaction as known so far, as a durable record whose outcome is owed.
 * Nothing happens if that was done before.
 */
PGW_MUSTCHECK enum publish commit_intent(struct session *s);

/*
 * The same where a refusal cannot be answered in place: then the client is
 * told 53100 and the session ends, as it does when false is returned.
 */
PGW_MUSTCHECK bool commit_must_publish(struct session *s);

/*
 * Below before_commit: what is about to be sent with its commit.  A child that
 * dies before its record leaves `capture_lost`.
 */
PGW_MUSTCHECK enum publish commit_announce(struct session *s);

enum settled {
	SETTLED_RECORDED,	/* durable; the commit may go */
	SETTLED_NOTHING,	/* nothing was changed; likewise */
	/* The transaction must be taken back: refusal_commit(). */
	SETTLED_REJECT,		/* by features.on_capture_failure */
	SETTLED_DISK,
	SETTLED_STOP		/* the session must end */
};
PGW_MUSTCHECK enum settled commit_settle(struct session *s, struct facts *f);

enum commit_step {
	COMMIT_GO,	/* forward what commits */
	COMMIT_SENT,	/* it was sent with the question */
	COMMIT_REFUSED,	/* the client has its answer */
	COMMIT_SKIPPED,	/* the server skips it, as it did what is before it */
	COMMIT_STOP
};
/*
 * Asks for the facts and makes the record of a transaction whose commit is at
 * hand: m is the COMMIT or PREPARE TRANSACTION (a Query, or an Execute) and
 * entry what it is in the pipeline; both NULL if a Sync will commit.  *sync: the
 * client's Sync follows m; afterwards: it was sent.
 */
PGW_MUSTCHECK enum commit_step commit_hold(struct session *s,
	const struct message *m, const struct pipeline_entry *entry,
	bool *sync);

enum own_end {
	OWN_COMMITTED,
	OWN_ERROR,	/* in *error; a block that is left is to be rolled back */
	OWN_REFUSED,	/* the client has its answer */
	OWN_LOST
};
/*
 * A block that the proxy has opened around what the client sent: its record,
 * then the COMMIT, of which the client is told by the caller.
 */
PGW_MUSTCHECK enum own_end commit_own_block(
	struct session *s, struct buf *error);

/* ReadyForQuery came from the server: s->status is new. */
void commit_ready(struct session *s);
/* The same, and the ReadyForQuery for the client is the proxy's own: what was
 * set aside for it comes first.  Nothing while s->one_answer. */
void commit_answer_ready(struct session *s);
/* The transaction has ended: its outcome goes out, all is forgotten. */
void commit_end(struct session *s);
/* CommandComplete of a forwarded statement. */
void commit_command_complete(struct session *s, const struct message *m);

#endif
