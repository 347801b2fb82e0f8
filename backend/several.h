/*
 * several.h: several statements in one simple Query, captured.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SEVERAL_H
#define PGW_SEVERAL_H

#include <stdbool.h>
#include <stddef.h>

#include "analyze.h"
#include "attr.h"
#include "buf.h"
#include "session.h"
#include "statement.h"
#include "wire.h"

/* While one of them runs. */
struct part {
	size_t before;		/* characters of the message before its text */
	struct buf *complete;	/* where its CommandComplete waits, or NULL */
};

/* All of them can run one by one, and one may be captured then. */
PGW_MUSTCHECK bool several_takes(const struct session *s,
	const struct analysis *a);

/* What query.c does with a Query of one statement. */
typedef enum statement_step (*several_fn)(struct session *s,
	const struct message *m, const struct analysis *a);

/* Runs and answers those of the Query m.  a is gone behind it. */
PGW_MUSTCHECK enum statement_step several_run(struct session *s,
	const struct message *m, const struct analysis *a, several_fn single);

/*
 * Queues for the client an ErrorResponse, or what ends a statement; of one of
 * several with its position in all of the text, and maybe later.
 */
void several_put_error(struct session *s, const struct buf *raw);
void several_put_complete(struct session *s, const void *raw, size_t len);

#endif
