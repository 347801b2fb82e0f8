/*
 * compare.h: rows that the record claims against rows that replay calculated.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COMPARE_H
#define PGW_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "attr.h"
#include "record.h"
#include "verdict.h"

/* What one table of the record became in replay. */
struct compare_table {
	struct rowenc_row *rows;
	size_t n_rows;
	size_t cap;
};

/*
 * True if the record's roots are those of its own rows; sorts its rows.
 * False: not, or at the arena's limit.
 */
PGW_MUSTCHECK bool compare_record_roots(struct record *r, struct arena *a);

/*
 * calculated[] is parallel to r->tables, of which compare_record_roots() has
 * been true: where rows are the same, so are the roots over them.  Sets the verdict's kind, root and
 * mismatches.  False: arena limit.
 */
PGW_MUSTCHECK bool compare_tables(const struct record *r,
	struct compare_table *calculated, struct arena *a, struct verdict *v);

/*
 * The first statement after which a row that differs in the end is another one
 * than before it; -1: none, as where a claimed row never comes into being, or
 * tables have no key.  states[statement * r->n_tables + table], for all but
 * the last statement, after which it is calculated[].  Sorts all of them.
 */
int32_t compare_first_statement(const struct record *r,
	struct compare_table *states, struct compare_table *calculated);

#endif
