/*
 * commitment.h: a transaction's record: its images in canonical order and the
 * roots over them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COMMITMENT_H
#define PGW_COMMITMENT_H

#include <stdbool.h>

#include "attr.h"
#include "facts.h"
#include "record.h"
#include "session.h"
#include "txn.h"

/*
 * Fills *r from the transaction; all memory is the transaction's arena.  f is
 * NULL for an intent (made before the images were known).
 */
void commitment_make(struct session *s, struct txn *t, struct facts *f,
	struct record *r);

/* The transaction's DDL alone (RECORD_DDL). */
void commitment_ddl(const struct session *s, const struct txn *t,
	struct record *r);

#endif
