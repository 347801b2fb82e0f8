/*
 * capture.h: one INSERT, UPDATE or DELETE run with its rows read before and
 * after, in one write, inside the client's transaction.
 *
 * The statement gets RETURNING ROW(t.*) spliced in; what that adds to the
 * answer is taken out again on the way to the client.  A simple Query becomes
 * Parse/Bind/Describe/Execute under the unnamed name.  Of an Execute the
 * portal is replaced: closed, and bound under the same name to the spliced
 * statement.
 *
 * Where the rows are found by a predicate and the transaction is that one
 * statement, all of it runs in a block of ours, in REPEATABLE READ: what was
 * read before is then what the statement finds, or the server refuses it with
 * 40001 and nobody has seen an answer (block.h).
 *
 * Files: capture.c decides, capture_put.c writes, capture_take.c reads; joined.c
 * has all in one statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CAPTURE_H
#define PGW_CAPTURE_H

#include <stdbool.h>

#include "analyze.h"
#include "aside.h"
#include "attr.h"
#include "catalog.h"
#include "counters.h"
#include "facts.h"
#include "scope.h"
#include "session.h"

/* The values of the statement's parameters, in either protocol. */
struct capture_values {
	const struct record_param *params;
	size_t n;
	/* SQL EXECUTE of the statement of this name; NULL: of none. */
	const char *prepared;
};

/* How the client executes the statement in the extended protocol. */
struct capture_bind {
	uint32_t statement;	/* of a name: which one of the session's */
	const char *portal;	/* the client's name for it */
	/* Others ran since its Bind: let the server say if it is still there. */
	bool check;
	uint16_t n_formats;	/* of results, as in the Bind */
	const uint8_t *formats;
	uint32_t max_rows;
	uint64_t messages;	/* Bind and Execute; 0: others were between */
	bool first;		/* nothing ran since the last Sync */
	bool sync_follows;	/* the client's Sync is there already */
};

struct textmap;

/* A table of the scope, read as a whole before and after. */
struct capture_image {
	const struct catalog_table *table;
	bool write;
	bool in_utc;
	struct rowenc_row *pre, *post;
	size_t n_pre, cap_pre, n_post, cap_post;
};

/* What may be tried for exactness; each includes the ones before it. */
enum capture_effort {
	CAPTURE_PLAIN,
	CAPTURE_BLOCK,
	CAPTURE_WHOLE,
	CAPTURE_JOINED	/* what gives the same for less */
};

struct capture {
	const struct catalog_table *table; /* NULL: whole, and no one target */
	const struct analyzed_statement *stmt;
	const char *text;	/* the whole message's text */
	size_t len;
	const struct capture_bind *bind; /* NULL: a simple Query */
	struct capture_values values;
	bool autocommit;	/* no transaction block is open */
	bool alone;		/* and it ends with this statement */
	bool own_block;		/* which runs in a block of ours */
	bool hold;		/* its commit waits for the record */
	bool sync_sent;		/* with the statement: the commit, or in a
				 * client's block the client's own one */
	bool key_equality;	/* WHERE names one row by its primary key */
	bool key_changes;	/* UPDATE assigns a key column */
	bool savepoint;		/* the pre-capture stands under a savepoint */
	bool sure;		/* it cannot deallocate what we keep */
	int kept_pre, kept_run;	/* the pre-capture, the statement: kept.h */
	/*
	 * One statement does it all, with literals as parameters (joined.c);
	 * when that was parsed last: what the server says.
	 */
	bool joined;
	bool parses;		/* it was not there */
	struct textmap *map;	/* what is the client's in its text, if wanted */
	const char *parsed;
	/* Its row has the moment, and the settings, too; or these are
	 * remembered, and the server has not read its configuration since; else
	 * they are asked for behind it. */
	bool tells;
	bool asks;
	bool told;
	size_t n_given;		/* values that are the client's own */
	unsigned n_own;		/* columns of ours in its answer */
	int plain_run;		/* in a client's block: without facts */
	int learns;		/* what may be joined next time, or KEPT_NONE */
	int watch;		/* watch.c's, or KEPT_NONE: then `parsed`, too */
	bool in_utc;		/* timestamptz columns need conversion */
	bool settles;		/* it asks before it what the settings are */

	/*
	 * In a block of ours, tables that are read as a whole: those that the
	 * statement reads; or all that it may touch, its target too (`whole`),
	 * and then it runs as the client wrote it.  In the client's own block
	 * (`visiting`) that is believed if nobody else's transaction ended
	 * meanwhile.
	 */
	bool visiting;
	const char *snapshot[2];	/* before and after all of it */
	bool scoped;		/* the scope is known, and looked at */
	/* Its target's triggers are not known yet: what they touch is looked at,
	 * and the statement may run again with that. */
	bool learning;
	struct scope scope;
	struct capture_image *images;
	size_t n_images;
	size_t n_locks;		/* statements that lock it */
	bool whole;

	/*
	 * An INSERT into a partitioned table: it runs as the client wrote it, and
	 * its rows are among the asides.
	 */
	bool routed;
	/*
	 * INSERT ... ON CONFLICT: the rows that it can meet are found before
	 * (upsert.h).  explains: what that does not show may be tried as a whole;
	 * moved: others came between, it is to run again.
	 */
	bool upsert;
	size_t n_updated; /* rows that say so: capture_says_updated() */
	bool explains;
	bool moved;
	/* The target has triggers: other rows that they changed are to be known. */
	bool counted;
	struct counters before, after;
	struct asides asides;
	/* What RETURNING gave: of a DELETE not what is left. */
	struct rowenc_row *returned;
	size_t n_returned;

	/* What was read, in the transaction's arena. */
	struct rowenc_row *pre, *post;
	size_t n_pre, cap_pre, n_post, cap_post;
	struct scope_check check;
	bool undecodable;	/* a row was not of the table's shape ... */
	bool withheld;		/* ... or was not printed: settings */
	bool forwarded;		/* something of the answer is on its way */
	struct wire answer;	/* own_block: what of it waits for the end */
	bool too_long;		/* own_block: more than may wait */
	bool serializable;	/* by default: no block of ours may be less */
	bool suspended;		/* PortalSuspended instead of an end */
	/* RowDescription: notices of the statement itself come before it. */
	struct buf description;
	struct buf held;	/* CommandComplete, or PortalSuspended */
	struct buf error;	/* the ErrorResponse that ended it */
	struct exchange_error why;
	struct facts facts;	/* autocommit, or what it asks before it */
};

/* A column of ours says of each row that an upsert gives whether it was
 * updated. */
static inline bool
capture_says_updated(const struct capture *c)
{
	return c->upsert && c->table->quick != NULL;
}

/* The counters are asked before and after it. */
static inline bool
capture_asks_counters(const struct capture *c)
{
	return c->counted || (c->upsert && !capture_says_updated(c));
}

/* The client's: a Query; or Bind and Execute, if nothing was between. */
static inline uint64_t
capture_messages(const struct capture *c)
{
	return c->bind == NULL ? 1 : c->bind->messages;
}

/* The statement runs as the client wrote it. */
static inline bool
capture_is_plain(const struct capture *c)
{
	return c->whole || c->routed;
}

/* Its Sync goes with the statement; what is asked behind it is all known. */
static inline bool
capture_syncs(const struct capture *c)
{
	return c->sync_sent || (c->bind == NULL && !c->hold && !c->counted);
}

/*
 * Looks the target up and fills *c.  NULL: it can be captured; otherwise the
 * reason why not (for `capture_reason`).
 */
PGW_MUSTCHECK const char *capture_prepare(struct session *s,
	struct capture *c, const struct analyzed_statement *stmt,
	const char *text, size_t len, const struct capture_bind *bind,
	const struct capture_values *values, enum capture_effort effort);

/*
 * Queues all of it.  timeout_ms: what is left of statement_timeout for a block
 * of ours, 0: as it is set.
 */
void capture_put(struct session *s, struct capture *c, int64_t timeout_ms);

/* Queues the facts again, now that all tables that took part are known. */
void capture_put_facts(struct session *s, const struct capture *c);

enum capture_end {
	/* The statement ran and its images are in c->pre and c->post.
	 * c->hold: no Sync was sent, the transaction is still open.
	 * Otherwise the commit may have failed: c->error is not empty. */
	CAPTURED,
	/* Its own error, in c->error.  The status is s->status, or if no Sync
	 * was sent the server skips all up to the client's. */
	CAPTURE_STATEMENT_ERROR,
	/* The capture failed and left no trace: forward the statement.  Where
	 * it was autocommit, portals are gone. */
	CAPTURE_UNDONE,
	/* All of it was rolled back and nobody was told of anything: try it
	 * again, or with less effort.  Behind 40001 and 40P01 its error is in
	 * c->error, if that shall be the end. */
	CAPTURE_SERIALIZATION,
	CAPTURE_WIDER,
	CAPTURE_LESS,
	CAPTURE_CONNECTION_LOST
};

/*
 * Reads the answers; nothing else may be unanswered.  *timeout_ms: as it was
 * put; after a block that was rolled back, what statement_timeout is.
 */
PGW_MUSTCHECK enum capture_end capture_take(struct session *s,
	struct capture *c, int64_t *timeout_ms);

/*
 * A suspended portal of ours goes on, with the client's Execute m: its rows
 * are relayed as the client's own, an ErrorResponse is left in error.
 */
PGW_MUSTCHECK enum capture_end capture_fetch(struct session *s,
	const struct message *m, struct buf *error);

/* By the counters nothing was changed that is not captured. */
PGW_MUSTCHECK bool capture_knows_triggers(const struct capture *c);

/* Puts pre and post into the transaction, as statement number `statement`. */
void capture_apply(struct session *s, const struct capture *c,
	uint32_t statement);

void capture_free(struct capture *c);

#endif
