/*
 * pipeline.h: the client's messages that the server has not answered yet, in
 * order, and what each answer means for the session.
 *
 * Every message that is forwarded and has an answer is put here first, so that
 * it is always known which message an answer belongs to.  Only what the proxy
 * asks and reads by itself (exchange.c, capture.c) is not here: it is sent and
 * read while nothing of the client's is unanswered.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PIPELINE_H
#define PGW_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>

#include "analyze.h"
#include "attr.h"
#include "portal.h"
#include "session.h"

/* NAMEDATALEN: the server cuts longer names off. */
#define PIPELINE_NAME 64

struct pipeline_entry {
	char type;		/* PqMsg_Parse ... PqMsg_Sync, PqMsg_Query;
				 * PqMsg_CopyDone: the end of copy data, which
				 * has no answer */
	bool own;		/* the client does not see the answer */
	unsigned strip;		/* so many columns too many */
	uint64_t number;	/* session.ran at a Query, or at the Bind of the
				 * portal that is described; or 0 */
	enum stmt_kind kind;	/* Execute: what runs */
	bool chain;		/* COMMIT AND CHAIN */
	/* Whose SAVEPOINT, RELEASE, ROLLBACK TO; "": not known. */
	char savepoint[PIPELINE_NAME];
	struct named *named;	/* what it put under a name, or NULL */
};

struct pipeline;
struct pipeline *pipeline_new(void);
void pipeline_free(struct pipeline *p);

/* The entry stays until the next push or answer. */
struct pipeline_entry *pipeline_push(struct session *s, char type);
/* For a statement about a savepoint. */
void pipeline_set_savepoint(struct pipeline_entry *e,
	const struct analyzed_statement *st);
/* Queues the client's message for the server, as this entry. */
void pipeline_forward(struct session *s, const struct message *m,
	const struct pipeline_entry *entry);

/* Nothing of the client's is under way: own requests may be sent, with Sync. */
bool pipeline_in_sync(const struct session *s);

/* Nothing is unanswered. */
bool pipeline_is_empty(const struct session *s);
/* Only Parse, Bind, Describe and Close are unanswered. */
bool pipeline_is_light(const struct session *s);
/* Only these, and the Execute of SELECT. */
bool pipeline_only_reads(const struct session *s);
/* How many ReadyForQuery messages are owed. */
size_t pipeline_owed_ready(const struct session *s);
/* The oldest; NULL if there is none. */
struct pipeline_entry *pipeline_front(const struct session *s);

/*
 * Takes a message of the server for what it is (the transaction's status, the
 * portals, the queue).  True: the client is to see it, as it is, or without
 * its last *strip columns.
 */
bool pipeline_answer(struct session *s, const struct message *m, unsigned *strip);

/* What a Sync of the client's means, when it is on its way. */
void pipeline_end_batch(struct session *s);

/* An error of the proxy's own making: the server skips as after any other. */
void pipeline_fail(struct session *s);

/*
 * Reads and relays the answers to what is unanswered, which must be light;
 * asks for them with a Flush.  False: connection lost, or the session must end.
 * Afterwards look at s->skipping.
 */
PGW_MUSTCHECK bool pipeline_catch_up(struct session *s);

#endif
