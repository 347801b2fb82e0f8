/*
 * copy.h: COPY FROM STDIN, captured.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COPY_H
#define PGW_COPY_H

#include "analyze.h"
#include "attr.h"
#include "session.h"
#include "statement.h"
#include "wire.h"

/*
 * Runs the COPY in the Query m, or by the Execute m, relays its data, and
 * answers it; or adds it to the record as unsupported.  The session is in sync,
 * or all that is before m in its batch is answered; there look at s->skipping if
 * it is to be forwarded.  STATEMENT_TAKEN: m is off the client's queue, and so
 * is the data.
 */
PGW_MUSTCHECK enum statement_step copy_run(struct session *s,
	const struct message *m, const char *text,
	const struct analyzed_statement *st);

#endif
