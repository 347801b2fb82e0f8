/*
 * joined.h: rows before, statement, rows after and facts in one statement of
 * ours, which stays prepared with the client's literals as parameters.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_JOINED_H
#define PGW_JOINED_H

#include "attr.h"
#include "capture.h"

/* Of ours: two images, facts, when it was parsed. */
#define JOINED_COLUMNS (2 + FACTS_COLUMNS + 1)

/* Sets c->joined and what belongs to it, if the statement can be captured so. */
void joined_prepare(struct session *s, struct capture *c);

/* Queues its Parse, if it is not there; the name that it has then. */
const char *joined_put_parse(struct session *s, struct capture *c,
	char name[KEPT_NAME_BYTES]);

/* A literal for which it has a parameter: behind the client's own ones, in
 * order. */
bool joined_is_parameter(const struct capture *c,
	const struct analyzed_literal *l);
/* The client's text, with these. */
void joined_put_text(struct buf *sql, const struct capture *c,
	struct span span);

/* The columns of ours behind the images. */
void joined_take_columns(struct session *s, struct capture *c,
	const struct exchange_value *own);

/*
 * In a client's block it found no row: nothing is changed, and nothing said.  It
 * may be that the target's name means another table now.
 */
PGW_MUSTCHECK bool joined_found_nothing(const struct capture *c);

/* Of an error there: the place is one in the client's text. */
void joined_mend_error(struct session *s, struct capture *c);

/* All that it changed is noted. */
void joined_end(struct session *s, const struct capture *c);

/* The client's text has run there: next time ours may. */
void joined_learn(struct session *s, const struct capture *c);

/* What capture_put_facts() asked behind it, because it had to be parsed. */
PGW_MUSTCHECK enum exchange_end joined_read_facts(
	struct session *s, struct capture *c);

/*
 * Whether the table was what it was taken for, into c->facts; asks if the
 * server has parsed it anew, or found no row to say that with.  ended: outside of the statement's transaction.
 */
PGW_MUSTCHECK enum exchange_end joined_look(struct session *s,
	struct capture *c, bool ended);

#endif
