/*
 * query.h: what happens to a simple Query.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_QUERY_H
#define PGW_QUERY_H

#include "attr.h"
#include "session.h"
#include "statement.h"
#include "wire.h"

/*
 * Captures, records or refuses the whole Query message m, or leaves it to be
 * forwarded; the session is in sync.
 */
PGW_MUSTCHECK enum statement_step query_simple(struct session *s,
	const struct message *m);

#endif
