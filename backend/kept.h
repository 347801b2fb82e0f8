/*
 * kept.h: statements of ours that stay prepared on the server, because parsing
 * and planning them is most of what they cost.
 *
 * Closed before the client can look at pg_prepared_statements, and from then
 * on not kept any more.  What SQL may have deallocated (session_doubt()) is
 * prepared again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_KEPT_H
#define PGW_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"

struct session;
struct record_param;

#define KEPT_NONE (-1)
#define KEPT_NAME_BYTES 32
#define KEPT_MARK_BYTES 64
/* The first ones have names of their own, the others come by their text. */
enum {
	KEPT_FACTS,
	KEPT_QUICK_FACTS,
	KEPT_FINGERPRINTS,
	KEPT_QUICK_FINGERPRINTS,
	KEPT_NAMES,
	/* Far more than one statement of the client's can take. */
	KEPT_ALL = KEPT_NAMES + 64
};

struct kept {
	struct kept_statement {
		bool used;	  /* it may be there */
		bool asked;	  /* its answer will come */
		bool there;	  /* it has come */
		uint64_t doubts;  /* the session's then */
		int64_t began_us; /* when it was asked for, monotonic */
		int64_t ran_us;	  /* since it was parsed, all its runs */
		uint8_t *key;	  /* what it is, if it came by its text */
		size_t key_len;
		uint64_t placed;  /* the clock's then: no other one has it */
		char mark[KEPT_MARK_BYTES]; /* kept_set_mark() */
		bool last;	  /* kept_set_last() */
	} statements[KEPT_ALL];
	/* Of those that came by their text: what they are, and when they were
	 * used last. */
	uint32_t hashes[KEPT_ALL];
	uint64_t last[KEPT_ALL], clock;
	struct buf key;		  /* of the one that is looked for */
	bool shy;		  /* the client looks at them */
};

/*
 * The place for a statement of this text and types, or of what stands for its
 * text.  owner: whose it is; it is another one for another owner.  KEPT_NONE:
 * it shall not be kept.
 */
int kept_place(struct session *s, uint64_t owner, const char *sql, size_t len,
	const struct record_param *params, size_t n);

/* The same, but that KEPT_NONE is for what is seen for the first time, too. */
int kept_find(struct session *s, uint64_t owner, const char *sql, size_t len,
	const struct record_param *params, size_t n);

/*
 * It is run now: true if it is there, else it must be closed and parsed again.
 * Nothing that runs behind it in the same write may raise a doubt.
 */
PGW_MUSTCHECK bool kept_begin(struct session *s, int which);
const char *kept_name(int which, char name[KEPT_NAME_BYTES]);

/* As exchange_put_bound(), which reads the answer, too. */
void kept_put(struct session *s, int which, const char *sql,
	const struct record_param *params, size_t n);

/* How that, or what was begun, ended, if it was asked. */
void kept_answered(struct session *s, int which, bool done);

/* Which one has the place, now or still. */
uint64_t kept_placed(const struct session *s, int which);

/* What its owner notes of it, up to the limit; "" at first, and after an error.
 */
const char *kept_mark(const struct session *s, int which);
void kept_set_mark(struct session *s, int which, const char *mark);

/* Its owner's guess: COMMIT comes behind it, as it did the last time. */
bool kept_is_last(const struct session *s, int which);
/* Not if another one has the place since: kept_placed(). */
void kept_set_last(struct session *s, int which, uint64_t placed, bool last);

/*
 * A text of the client's that comes next: nothing of ours is there to be seen
 * by it.  False: the session must end.
 */
PGW_MUSTCHECK bool kept_hide(struct session *s, const char *text, size_t len);

#endif
