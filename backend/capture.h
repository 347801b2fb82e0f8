/*
 * capture.h: one INSERT, UPDATE or DELETE run with its rows read before and
 * after, in one write, inside the client's transaction.
 *
 * The statement becomes Parse/Bind/Describe/Execute under the unnamed name,
 * with RETURNING ROW(t.*) spliced in; what that adds to the answer is taken
 * out again on the way to the client.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CAPTURE_H
#define PGW_CAPTURE_H

#include <stdbool.h>

#include "analyze.h"
#include "attr.h"
#include "catalog.h"
#include "facts.h"
#include "session.h"

struct capture {
	const struct catalog_table *table;
	const struct analyzed_statement *stmt;
	const char *text;	/* the whole message's text */
	size_t len;
	bool autocommit;	/* no transaction block is open */
	bool hold;		/* its commit waits for the record */
	bool key_equality;	/* WHERE names one row by its primary key */
	bool key_changes;	/* UPDATE assigns a key column */
	bool savepoint;		/* the pre-capture stands under a savepoint */
	bool in_utc;		/* timestamptz columns need conversion */
	unsigned strip;		/* columns to take off the client's rows */

	/* What was read, in the transaction's arena. */
	struct rowenc_row *pre, *post;
	size_t n_pre, cap_pre, n_post, cap_post;
	bool undecodable;	/* a row was not of the table's shape */
	bool forwarded;		/* something of the answer is on its way */
	struct buf held;	/* CommandComplete */
	struct buf error;	/* the ErrorResponse that ended it */
	struct exchange_error why;
	struct facts facts;	/* autocommit only */
};

/*
 * Looks the target up and fills *c.  NULL: it can be captured; otherwise the
 * reason why not (for `capture_reason`).
 */
PGW_MUSTCHECK const char *capture_prepare(struct session *s,
	struct capture *c, const struct analyzed_statement *stmt,
	const char *text, size_t len);

enum capture_end {
	/* The statement ran and its images are in c->pre and c->post.
	 * c->hold: no Sync was sent, the transaction is still open.
	 * Otherwise the commit may have failed: c->error is not empty. */
	CAPTURED,
	/* Its own error, in c->error; the status is s->status. */
	CAPTURE_STATEMENT_ERROR,
	/* The capture failed and left no trace: forward the statement. */
	CAPTURE_UNDONE,
	CAPTURE_CONNECTION_LOST
};

PGW_MUSTCHECK enum capture_end capture_run(struct session *s,
	struct capture *c);

/* Puts pre and post into the transaction, as statement number `statement`. */
void capture_apply(struct session *s, const struct capture *c,
	uint32_t statement);

void capture_free(struct capture *c);

#endif
