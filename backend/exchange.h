/*
 * exchange.h: the proxy's own statements on the client's server connection.
 *
 * Each is Parse/Bind/Execute/Close under the name "pgwitness", never the
 * unnamed one, and closed before anything else can see it.  Answers are read
 * in the order in which the statements were put.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EXCHANGE_H
#define PGW_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "record.h"
#include "session.h"

#define EXCHANGE_NAME "pgwitness"
#define EXCHANGE_MAX_PARAMS 4

/* Queues one statement; params are text, NULL for SQL NULL. */
void exchange_put(struct session *s, const char *sql,
	const char *const *params, size_t n_params);

/*
 * The same with values as a client bound them, n of record_param's: types and
 * formats count, and a value may be left out by being NULL.
 */
void exchange_put_bound(struct session *s, const char *sql,
	const struct record_param *params, size_t n);

/*
 * The same for a statement that stays prepared under its name; sql NULL: it is
 * there already.
 */
void exchange_put_kept(struct session *s, const char *name, const char *sql,
	const struct record_param *params, size_t n);

/*
 * The steps of these, for the statement of another name ("" is the unnamed
 * one).  put_bind leaves the result formats to the caller:
 * exchange_put_params() and then the formats go between begin and end.
 */
void exchange_put_parse(struct wire *w, const char *name, const char *sql,
	size_t len, const struct record_param *params, size_t n);
void exchange_put_params(struct wire *w, const struct record_param *params,
	size_t n);
void exchange_put_execute(struct wire *w, const char *portal,
	uint32_t max_rows);
void exchange_put_close_one(struct wire *w, char what, const char *name);

/*
 * Queues Close for the portal and the statement of this name; closing a
 * statement alone would leave its portal.
 */
void exchange_put_close(struct session *s, const char *name);

enum exchange_end {
	EXCHANGE_DONE,
	EXCHANGE_ERROR,		/* the server skips all up to the next Sync */
	EXCHANGE_LOST		/* connection lost, or the session must end */
};

/* Called for each DataRow; false: ignore the rest (the answer is still read). */
typedef bool (*exchange_row_fn)(void *arg, const struct message *row);

/* SQLSTATE and text of the last error that exchange_read() met. */
struct exchange_error {
	char sqlstate[6];
	char message[256];
};

/* An ErrorResponse that was kept, as exchange_read() keeps one. */
void exchange_keep_error(const struct buf *raw, struct exchange_error *error,
	struct buf *raw_error);

/*
 * Reads the answer to one exchange_put().  raw_error: where to keep the whole
 * ErrorResponse, for relaying it, or NULL.
 */
PGW_MUSTCHECK enum exchange_end exchange_read(struct session *s,
	exchange_row_fn row, void *arg, struct exchange_error *error,
	struct buf *raw_error);

/* Queues Sync. */
void exchange_put_sync(struct session *s);
/*
 * Reads up to ReadyForQuery and sets s->status.  An error in between (a
 * deferred constraint at commit) is kept in raw_error, if given.  Returns
 * EXCHANGE_ERROR if there was one.
 */
PGW_MUSTCHECK enum exchange_end exchange_read_ready(struct session *s,
	struct exchange_error *error, struct buf *raw_error);

/*
 * One statement and its Sync.  In the middle of a client's batch a Flush: the
 * pipeline must be light then, and an error is the client's, see s->skipping.
 * A Flush, too, if s->holding: then an error is left in s->lookup_error, and the
 * server skips all up to the next Sync.
 */
PGW_MUSTCHECK enum exchange_end exchange_query(struct session *s,
	const char *sql, const char *const *params, size_t n_params,
	exchange_row_fn row, void *arg, struct exchange_error *error);

/* The same for what put() queues; it gets arg, too. */
typedef void (*exchange_put_fn)(struct session *s, void *arg);
PGW_MUSTCHECK enum exchange_end exchange_ask(struct session *s,
	exchange_put_fn put, exchange_row_fn row, void *arg,
	struct exchange_error *error);

/*
 * After look-ups: true if one of them met an error that is the client's.  It
 * has been relayed, and what it asked for must not go to the server.
 */
PGW_MUSTCHECK bool exchange_relay_lookup_error(struct session *s);

/* A DataRow's columns; false if it has not exactly n.  NULL data: SQL NULL. */
struct exchange_value {
	const uint8_t *data;
	size_t len;
};
struct exchange_value exchange_value(struct rd *r);
PGW_MUSTCHECK bool exchange_row_values(const struct message *row,
	struct exchange_value *values, size_t n);
/* A bool's text; not so if it is NULL. */
static inline bool
exchange_is_true(const struct exchange_value *v)
{
	return v->data != NULL && v->len == 1 && v->data[0] == 't';
}

#endif
