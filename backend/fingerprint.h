/*
 * fingerprint.h: whether tables are still what they were taken for, asked of
 * the server's catalogs.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_FINGERPRINT_H
#define PGW_FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "attr.h"
#include "catalog.h"
#include "exchange.h"

/* So many tables are asked for by a statement that stays prepared. */
#define FINGERPRINT_FEW 4

/*
 * Queues the question.  quick: by catalog_table.quick, which all of them have;
 * they are few then.
 */
void fingerprint_put(struct session *s,
	const struct catalog_table *const *tables, size_t n, bool quick);

/* Its answer: one row of one column, for fingerprint_is_of(). */
PGW_MUSTCHECK enum exchange_end fingerprint_read(struct session *s, bool quick,
	exchange_row_fn row, void *arg, struct exchange_error *error,
	struct buf *raw_error);

/* The answer says of this table that it is what it was taken for. */
PGW_MUSTCHECK bool fingerprint_is_of(
	const char *answer, bool quick, const struct catalog_table *t);

/*
 * Asks at once, as exchange_query() does: it is what it was taken for, and the
 * user has the rights on it that were found.
 */
PGW_MUSTCHECK bool fingerprint_holds(
	struct session *s, const struct catalog_table *t);

/*
 * Nothing that is known of the table can change without its fingerprint, but
 * that users made operators: of what users' functions do, and what else is in a
 * definition, that knows nothing.
 */
PGW_MUSTCHECK bool fingerprint_tells_all(const struct catalog_table *t);

#endif
