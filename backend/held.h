/*
 * held.h: the client's Bind, and the Describe behind it, while the Execute that
 * comes next may put another in their place (joined.c).
 *
 * They are held back only if nothing is unanswered, and never longer than until
 * something else is sent: pipeline_catch_up() sends them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_HELD_H
#define PGW_HELD_H

#include <stdbool.h>
#include <stddef.h>

#include "attr.h"

struct message;
struct named;
struct prepared;
struct session;

/* A Bind of the portal without a name. */
struct held {
	bool bind;
	bool described;		/* and a Describe of the portal */
	struct named *named;	/* the portal that it makes */
};

/*
 * The Bind m can be held back: its portal is executed next, and the statement p
 * was run by one of ours the last time, with as many values.
 */
PGW_MUSTCHECK bool held_takes(const struct session *s, const struct message *m,
	const struct prepared *p);

/* Sends what is held back. */
void held_send(struct session *s);

/* Another one has been bound in its place (m says so): answers the client. */
void held_answer(struct session *s, struct held *h, const struct message *m);

/* Another one has failed in its place. */
void held_fail(struct session *s, struct held *h);

#endif
