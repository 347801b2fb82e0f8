/*
 * query.h: what happens to a simple Query, and how transactions end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_QUERY_H
#define PGW_QUERY_H

#include <stdbool.h>

#include "analyze.h"
#include "attr.h"
#include "publish.h"
#include "session.h"
#include "wire.h"

/*
 * Forwards, captures, records or refuses the whole Query message m; the
 * session is in sync.  False: the session must end.
 */
PGW_MUSTCHECK bool query_simple(struct session *s, const struct message *m);

/*
 * The transaction as known so far, as a durable record whose outcome is owed.
 * Nothing happens if that was done before.
 */
PGW_MUSTCHECK enum publish query_publish_intent(struct session *s);

/*
 * The same where a refusal cannot be answered in place: then the client is
 * told 53100 and the session ends, as it does when false is returned.
 */
PGW_MUSTCHECK bool query_must_publish(struct session *s);

/* ReadyForQuery came from the server: s->status is new. */
void query_ready(struct session *s);

/* The transaction has ended, seen by a command tag: its outcome goes out. */
void query_transaction_end(struct session *s);

/* CommandComplete and ErrorResponse of forwarded statements. */
void query_command_complete(struct session *s, const struct message *m);
void query_error(struct session *s);

/*
 * Why a statement may change rows in a way that is not captured; NULL: it
 * cannot.  INSERT, UPDATE and DELETE count.  may_ask: catalog look-ups are
 * possible now.
 */
const char *query_unsupported(struct session *s,
	const struct analyzed_statement *st, bool may_ask);

/* What a statement that is forwarded means for caches and settings. */
void query_note(struct session *s, const struct analyzed_statement *st);

#endif
