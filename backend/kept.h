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

struct session;

enum kept_name { KEPT_FACTS, KEPT_QUICK_FACTS, KEPT_NAMES };

struct kept {
	struct {
		bool asked;	  /* its answer will come */
		bool there;	  /* it has come */
		uint64_t doubts;  /* the session's then */
	} statements[KEPT_NAMES];
	bool used;		  /* one of them may be there */
	bool shy;		  /* the client looks at them */
};

/* As exchange_put(), which reads the answer, too. */
void kept_put(struct session *s, enum kept_name name, const char *sql,
	const char *const *params, size_t n_params);
/* How that ended, if it was asked. */
void kept_answered(struct session *s, enum kept_name name, bool done);

/*
 * A text of the client's that comes next: nothing of ours is there to be seen
 * by it.  False: the session must end.
 */
PGW_MUSTCHECK bool kept_hide(struct session *s, const char *text, size_t len);

#endif
