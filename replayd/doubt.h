/*
 * doubt.h: transactions whose end nobody saw.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DOUBT_H
#define PGW_DOUBT_H

#include "resolver.h"
#include "track.h"

/*
 * x has no outcome and will hear of none.  Without xid nobody can be asked,
 * also of one that was prepared.  x may be gone after it.
 */
void doubt_put(struct track *t, struct txn *x);
/* Asks for the transactions in doubt that could not be asked before. */
void doubt_ask(struct track *t);
/* The resolver is gone, with what it had not answered. */
void doubt_ask_again(struct track *t);
void doubt_answer(struct track *t, const struct resolver_answer *a);

/* x is open since an earlier start. */
void doubt_resume(struct track *t, const struct txn *x);
/*
 * x is new: does another have its xid?  A pair that is missed, because one is
 * no longer open or its slot was used again, ends as unknown (resolver.c).  x
 * may be gone after it.
 */
void doubt_find_reused(struct track *t, struct txn *x);

#endif
