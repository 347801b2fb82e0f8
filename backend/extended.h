/*
 * extended.h: the extended query protocol passes through unharmed; statements
 * that may change rows are recorded, as unsupported, before they execute.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EXTENDED_H
#define PGW_EXTENDED_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"
#include "wire.h"

struct extended;

struct extended *extended_new(void);

/*
 * Looks at a Parse, Bind, Close or Execute message before it is forwarded.
 * EXTENDED_WAIT: the message must not go on before the server has answered
 * what was sent, for which it may need a Flush.  EXTENDED_STOP: the session must end.
 */
enum extended_answer { EXTENDED_FORWARD, EXTENDED_WAIT, EXTENDED_STOP };
PGW_MUSTCHECK enum extended_answer extended_message(struct session *s,
	struct extended *x, const struct message *m);

/* A Parse passed that was too long to look at: no statement is known. */
void extended_forget(struct extended *x);

/*
 * The server's answers: CommandComplete (before query_ready() or anything else
 * uses the transaction), ErrorResponse, ReadyForQuery with status I or not.
 */
void extended_command_complete(struct session *s, struct extended *x,
	const struct message *m);
void extended_error(struct extended *x);
void extended_ready(struct extended *x, bool idle);

#endif
