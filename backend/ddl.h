/*
 * ddl.h: DDL that a transaction ran, told to replayd once it has committed.
 *
 * Replay runs it again in its copies of the definitions (replayd/barrier.h).
 * Nothing waits for this: what is lost here costs replayd a look at the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DDL_H
#define PGW_DDL_H

#include "analyze.h"
#include "record.h"
#include "session.h"

/*
 * A statement that is about to be sent, if it is DDL; text is what st's spans
 * are of.  Asks the server for the settings that it runs with: the session must
 * be in sync, or the pipeline light, and the transaction not a failed one.
 */
void ddl_note(struct session *s, const char *text,
	const struct analyzed_statement *st);

/* Several statements of one message, the same. */
void ddl_note_several(struct session *s, const char *text,
	const struct analysis *a);

/* The transaction has ended so; comes before its outcome. */
void ddl_publish(struct session *s, enum record_outcome outcome);

#endif
