/*
 * rowtext.h: a table's row as one column of a query, and back to canonical
 * bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ROWTEXT_H
#define PGW_ROWTEXT_H

#include <stdbool.h>

#include "attr.h"
#include "catalog.h"
#include "exchange.h"

/*
 * The session prints texts that become canonical ones: its client_encoding is
 * UTF8, or there is no conversion in SQL_ASCII.
 */
PGW_MUSTCHECK bool rowtext_encoding_ok(const struct session *s);

/* timestamptz columns must be converted: TimeZone is not UTC. */
PGW_MUSTCHECK bool rowtext_needs_utc(const struct session *s,
	const struct catalog_table *t);

/*
 * Appends ROW(ref.*), or what is the same in UTC; of a table whose texts depend
 * on settings as text, or NULL if one of these is another one right then.
 */
void rowtext_put(struct buf *b, const struct catalog_table *t, const char *ref,
	bool in_utc);
/* Likewise as text, cheaper; where no user's cast of the table's type can be
 * meant (CATALOG_USER_OPERATORS). */
void rowtext_put_text(
    struct buf *b, const struct catalog_table *t, const char *ref, bool in_utc);

/* It is that NULL. */
PGW_MUSTCHECK bool rowtext_is_withheld(
    const struct catalog_table *t, const struct exchange_value *text);

/*
 * The text of that as a canonical row in the arena; scratch may be the same, or
 * is reset by the caller.  False: arena limit, or another shape.
 */
PGW_MUSTCHECK bool rowtext_decode(struct arena *a, struct arena *scratch,
	const struct catalog_table *t, bool in_utc,
	const struct exchange_value *text, struct rowenc_row *out);

#endif
