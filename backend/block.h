/*
 * block.h: a transaction block of the proxy's own around one statement that
 * the client sent outside of any.
 *
 * REPEATABLE READ, and locks on the tables before the first snapshot: without
 * them a concurrent ALTER TABLE that rewrites one would make the statement see
 * an empty table.  LOCK, SHOW and SET take no snapshot.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BLOCK_H
#define PGW_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "exchange.h"
#include "session.h"

/* Of one statement; the server's own timeouts usually end it long before. */
#define BLOCK_MAX_ATTEMPTS 50
/* What may wait for the end of a statement. */
#define BLOCK_MAX_ANSWER ((size_t)16 * 1024 * 1024)

/*
 * Queues its begin.  in_batch: the client's Parse and Bind, which took a
 * snapshot, end with a Sync first; all they are owed has been answered.
 */
void block_put_begin(struct session *s, bool in_batch, int64_t timeout_ms);

/*
 * The answers.  *serializable: by default the session is, and a block of ours
 * would be less.
 */
PGW_MUSTCHECK enum exchange_end block_read_begin(struct session *s,
    bool in_batch, int64_t timeout_ms, bool *serializable,
    struct exchange_error *error, struct buf *raw_error);

/* Queues the lock; target as it stands in SQL. */
void block_put_lock(
    struct session *s, const char *target, size_t len, bool only);

/*
 * Ends it without a trace, whatever state it is in.  *timeout_ms: what
 * statement_timeout is, 0 none.  EXCHANGE_ERROR: a cancel, or the like, came in
 * between, raw_error has it.
 */
PGW_MUSTCHECK enum exchange_end block_undo(
    struct session *s, int64_t *timeout_ms, struct buf *raw_error);

/*
 * The client's own block is SERIALIZABLE, or it cannot be known.  Asked once in
 * it, by what takes no snapshot.
 */
PGW_MUSTCHECK bool block_is_serializable(struct session *s);

/* Ends it, of which the client has its error.  False: the connection is lost. */
PGW_MUSTCHECK bool block_roll_back(struct session *s);

/* BEGIN, COMMIT ... and Sync; its error in raw_error, if given. */
PGW_MUSTCHECK enum exchange_end block_run(
    struct session *s, const char *sql, struct buf *raw_error);

#endif
