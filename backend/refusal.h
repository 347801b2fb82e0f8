/*
 * refusal.h: statements and commits that pgwitness does not let pass.
 *
 * Each gives the client an ErrorResponse in place of an answer and leaves the
 * transaction as an error leaves it.  False: the session must end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_REFUSAL_H
#define PGW_REFUSAL_H

#include <stdbool.h>

#include "attr.h"
#include "commit.h"
#include "session.h"

#define REFUSAL_DISK \
	"pgwitness cannot record this transaction: its disk is full or " \
	"failing"

/* A statement that was not sent, as its transaction cannot be recorded. */
PGW_MUSTCHECK bool refusal_disk(struct session *s);

/* By [features]: what could not be captured or verified does not pass. */
PGW_MUSTCHECK bool refusal_feature(struct session *s, const char *what,
	const char *reason);

/* Takes back a transaction whose commit is still held, for want of a record. */
PGW_MUSTCHECK bool refusal_commit(struct session *s, enum settled why);

#endif
