/*
 * inputs.h: what calls that give another result each time gave, as the
 * captured rows show it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_INPUTS_H
#define PGW_INPUTS_H

#include <stdint.h>

#include "attr.h"
#include "capture.h"
#include "session.h"

/*
 * The function whose results alone are the values of this column in the rows
 * that the statement makes; NULL: there is none, or they cannot be recorded.
 */
PGW_MUSTCHECK const char *inputs_call(
	struct session *s, const struct capture *c, unsigned column);

/* True if the statement gives the column its default, in some row. */
PGW_MUSTCHECK bool inputs_default(
	const struct capture *c, unsigned column);

/* The captured rows are there: records what their columns say. */
void inputs_take(struct session *s, const struct capture *c,
	uint32_t statement);

/*
 * The same for rows that were inserted into a table which the statement does
 * not name; ordered: as they were made.
 */
void inputs_take_aside(struct session *s, const struct catalog_table *table,
	const struct rowenc_row *rows, size_t n, bool ordered,
	uint32_t statement);

/* The same for the asides of an INSERT into a partitioned table. */
void inputs_take_routed(struct session *s, const struct capture *c,
	uint32_t statement);

#endif
