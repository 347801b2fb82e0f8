/*
 * upsert.c: INSERT ... VALUES ... ON CONFLICT of one table.
 *
 * Why the images are exact.  What came back is what the statement left.  A row
 * of VALUES that did not come back met one that it left as it was (DO NOTHING,
 * or DO UPDATE WHERE); the columns that conflict are unique, so a row that was
 * found and did not come back explains at least one of those, and if there are
 * as many of both, each.  Rows that came back and were found before were
 * updated, as their xmax says, too: so nothing was updated that was not found.
 * (ON CONFLICT locks the version before, and heap_update() passes that xmax on;
 * one that is inserted has none.  Where RETURNING may not know it, as behind
 * the root of a partitioned table, the server's counters say how many there
 * were.)  What was found is what was overwritten: in a block of ours (of
 * REPEATABLE READ) the server refuses to update what the snapshot does not
 * show, in the client's own the rows are locked when they are read.
 *
 * A value that means another one in its column than beside it ('5 ' in an
 * integer, 5.5) finds no row: then the statement is not explained.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "upsert.h"

#include <string.h>

#include "block.h"
#include "capture_int.h"
#include "counters.h"
#include "txn.h"

static const char refused[] = "on_conflict";

/* --- which columns --- */

/* The columns by which rows are found: those of its conflict target, or of the
 * primary key. */
static size_t
n_keys(const struct capture *c)
{
	return c->stmt->n_conflict_columns > 0 ? c->stmt->n_conflict_columns
					       : c->table->shape.n_key;
}

static const char *
key_column(const struct capture *c, size_t i)
{
	const struct rowenc_shape *sh = &c->table->shape;

	return c->stmt->n_conflict_columns > 0 ? c->stmt->conflict_columns[i]
					       : sh->columns[sh->key[i]].name;
}

/* Where in a row of VALUES the column's value is; n_values: nowhere. */
static size_t
place_of(const struct capture *c, const char *column)
{
	const struct analyzed_statement *st = c->stmt;
	const struct rowenc_shape *sh = &c->table->shape;
	size_t n = st->n_columns > 0 ? st->n_columns : sh->n_columns;

	for (size_t i = 0; i < n && i < st->n_values; i++)
		if (strcmp(st->n_columns > 0 ? st->columns[i]
					     : sh->columns[i].name,
			column) == 0)
			return i;
	return st->n_values;
}

/* The value of the i-th of those columns in that row; NULL: it is not given. */
static const struct analyzed_value *
key_value(const struct capture *c, size_t row, size_t i)
{
	const struct analyzed_statement *st = c->stmt;
	size_t place = place_of(c, key_column(c, i));
	const struct analyzed_value *v;

	if (place == st->n_values || st->values == NULL)
		return NULL;
	v = &st->values[row * st->n_values + place];
	return v->constant ? v : NULL;
}

bool
upsert_finds_rows(const struct capture *c)
{
	for (size_t row = 0; row < c->stmt->n_rows; row++)
		for (size_t i = 0; i < n_keys(c); i++)
			if (key_value(c, row, i) == NULL)
				return false;
	return true;
}

/* DO UPDATE moves no row to another key, and nothing follows from it. */
static bool
updates_in_place(const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;
	const struct rowenc_shape *sh = &c->table->shape;

	for (unsigned i = 0; i < sh->n_columns; i++)
		if ((sh->columns[i].key != 0 ||
			c->table->columns[i].cascades) &&
		    (sh->columns[i].generated != 0 ||
			capture_names(st->conflict_sets, st->n_conflict_sets,
			    sh->columns[i].name)))
			return false;
	return true;
}

const char *
upsert_refusal(struct session *s, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;
	const struct catalog_table *t = c->table;

	if (!st->insert_values || st->values == NULL || !st->conflict_plain ||
	    t->shape.n_key == 0 || t->triggers || t->user_code)
		return refused;
	if (st->conflict_update &&
	    (!updates_in_place(c) || !upsert_finds_rows(c)))
		return refused;
	/* Looking for rows would make other SERIALIZABLE ones fail. */
	return s->status == PQ_IN_BLOCK && block_is_serializable(s) ? refused
								    : NULL;
}

/* --- before --- */

void
upsert_put_where(struct buf *sql, const struct capture *c)
{
	for (size_t row = 0; row < c->stmt->n_rows; row++) {
		buf_put_str(sql, row == 0 ? "(" : "\n) OR (");
		for (size_t i = 0; i < n_keys(c); i++) {
			const struct span *v = &key_value(c, row, i)->text;

			if (i > 0)
				buf_put_str(sql, "\nAND ");
			catalog_put_name(
			    sql, c->stmt->target_ref, key_column(c, i));
			buf_put_str(sql, " OPERATOR(pg_catalog.=) (");
			buf_put(sql, c->text + v->at, v->len);
			buf_put_str(sql, "\n)");
		}
	}
	buf_put_str(sql, ")");
}

void
upsert_mark_params(const struct capture *c, bool *used)
{
	for (size_t row = 0; row < c->stmt->n_rows; row++)
		for (size_t i = 0; i < n_keys(c); i++) {
			uint16_t param = key_value(c, row, i)->param;

			if (param != 0 && param <= c->values.n)
				used[param - 1] = true;
		}
}

/* --- after --- */

void
upsert_put_updated(struct buf *sql, const struct capture *c)
{
	buf_put_str(sql, ", CAST(");
	catalog_put_name(sql, c->stmt->target_ref, "xmax");
	buf_put_str(sql, " AS pg_catalog.text)");
}

bool
upsert_is_updated(const struct exchange_value *xmax)
{
	return xmax->len != 1 || *xmax->data != '0';
}

/* By what the rows say, or the server's counters. */
static bool
count_both(const struct capture *c, size_t *inserted, size_t *updated)
{
	if (!capture_says_updated(c))
		return counters_upserted(
		    &c->before, &c->after, c->table->oid, inserted, updated);
	*inserted = c->n_returned - c->n_updated;
	*updated = c->n_updated;
	return true;
}

enum upsert_end
upsert_judge(const struct capture *c, const struct rowenc_ids *returned)
{
	size_t rows = c->stmt->n_rows, found = 0, inserted, updated;

	for (size_t i = 0; i < c->n_pre; i++)
		found += rowenc_ids_have(returned, &c->pre[i]);
	if (c->n_returned > rows || capture_tag_rows(c) != c->n_returned ||
	    !count_both(c, &inserted, &updated) ||
	    inserted + updated != c->n_returned)
		return UPSERT_UNEXPLAINED;
	/* Found, but gone by then, so that one was inserted in its place. */
	if (updated < found)
		return UPSERT_MOVED;
	/* In a block of ours the server would have refused it: it is one that
	 * was not looked for. */
	if (updated > found)
		return c->own_block ? UPSERT_UNEXPLAINED : UPSERT_MOVED;
	return rows - c->n_returned == c->n_pre - found ? UPSERT_EXPLAINED
							: UPSERT_UNEXPLAINED;
}

struct rowenc_row *
upsert_left(struct session *s, const struct capture *c,
    const struct rowenc_ids *returned, size_t *n)
{
	struct rowenc_row *left = arena_alloc(
	    s->txn->arena, (c->n_pre + c->n_returned + 1) * sizeof(*left));

	*n = 0;
	for (size_t i = 0; left != NULL && i < c->n_returned; i++)
		left[(*n)++] = c->returned[i];
	for (size_t i = 0; left != NULL && i < c->n_pre; i++)
		if (!rowenc_ids_have(returned, &c->pre[i]))
			left[(*n)++] = c->pre[i];
	return left;
}
