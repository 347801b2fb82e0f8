/*
 * compare.c: rows first; where they differ, a merge by row key that names rows
 * and columns.
 *
 * Owns nothing: all it makes lives in the job's arena.  Called by replay.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "compare.h"

#include <stdio.h>
#include <string.h>

/* Roots come in pairs: of each table, then of the database. */
static void
collect_roots(const struct record *r, struct merkle_hash *out)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		out[2 * i] = r->tables[i].pre_root;
		out[2 * i + 1] = r->tables[i].post_root;
	}
	out[2 * r->n_tables] = r->pre_root;
	out[2 * r->n_tables + 1] = r->post_root;
}

bool
compare_record_roots(struct record *r, struct arena *a)
{
	size_t n = 2 * r->n_tables + 2;
	struct merkle_hash *claimed = arena_alloc(a, n * sizeof(*claimed));
	struct merkle_hash *own = arena_alloc(a, n * sizeof(*own));

	if (claimed == NULL || own == NULL)
		return false;
	collect_roots(r, claimed);
	record_set_roots(r);
	collect_roots(r, own);
	return memcmp(claimed, own, n * sizeof(*own)) == 0;
}

/* --- the merge --- */

struct diff {
	const struct record_table *table;
	const char *name; /* "schema.table" */
	struct arena *arena;
	struct verdict *verdict;
	struct rowenc_value *claimed; /* scratch, one per column */
	struct rowenc_value *calculated;
	bool failed; /* arena limit, or a row not of shape */
};

static const char *
diff_text(struct diff *d, const struct rowenc_value *value)
{
	const char *text;

	if (value->data == NULL)
		return NULL;
	text = arena_memdup(d->arena, value->data, value->len);
	if (text == NULL)
		d->failed = true;
	return text;
}

static void
diff_row_key(struct diff *d, const struct rowenc_value *values,
    struct verdict_mismatch *m)
{
	const struct rowenc_shape *s = &d->table->shape;
	size_t n = s->n_key > 0 ? s->n_key : s->n_columns;

	m->row = arena_zalloc(d->arena, (n + 1) * sizeof(*m->row));
	if (m->row == NULL) {
		d->failed = true;
		return;
	}
	m->n_row = n;
	for (size_t i = 0; i < n; i++) {
		size_t column = s->n_key > 0 ? s->key[i] : i;

		m->row[i].column = s->columns[column].name;
		m->row[i].value = diff_text(d, &values[column]);
	}
}

/* The next mismatch, its row named; NULL if there is no room for it. */
static struct verdict_mismatch *
diff_add(struct diff *d, const struct rowenc_value *row)
{
	struct verdict *v = d->verdict;
	struct verdict_mismatch *m;

	if (v->n_mismatches == VERDICT_MAX_MISMATCHES) {
		v->more = true;
		return NULL;
	}
	m = &v->mismatches[v->n_mismatches++];
	memset(m, 0, sizeof(*m));
	m->table = d->name;
	diff_row_key(d, row, m);
	return m;
}

/* One side only has the row. */
static void
diff_lone_row(struct diff *d, const struct rowenc_row *row, bool claimed)
{
	struct verdict_mismatch *m;

	if (!rowenc_decode(&d->table->shape, row, d->claimed)) {
		d->failed = true;
		return;
	}
	m = diff_add(d, d->claimed);
	if (m == NULL)
		return;
	m->claimed = claimed ? "present" : NULL;
	m->calculated = claimed ? NULL : "present";
}

static bool
same_value(const struct rowenc_value *a, const struct rowenc_value *b)
{
	if (a->data == NULL || b->data == NULL)
		return a->data == NULL && b->data == NULL;
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void
diff_columns(struct diff *d, const struct rowenc_row *claimed,
    const struct rowenc_row *calculated)
{
	const struct rowenc_shape *s = &d->table->shape;
	struct verdict_mismatch *m;

	if (!rowenc_decode(s, claimed, d->claimed) ||
	    !rowenc_decode(s, calculated, d->calculated)) {
		d->failed = true;
		return;
	}
	for (unsigned i = 0; i < s->n_columns; i++) {
		if (same_value(&d->claimed[i], &d->calculated[i]))
			continue;
		m = diff_add(d, d->claimed);
		if (m == NULL)
			return;
		m->column = s->columns[i].name;
		m->claimed = diff_text(d, &d->claimed[i]);
		m->calculated = diff_text(d, &d->calculated[i]);
	}
}

static int
compare_bytes(const uint8_t *a, size_t na, const uint8_t *b, size_t nb)
{
	size_t n = na < nb ? na : nb;
	int c = n > 0 ? memcmp(a, b, n) : 0;

	return c != 0 ? c : (na > nb) - (na < nb);
}

/* By key; rows of a table without one are the same only in all they hold. */
static int
compare_identity(const struct rowenc_shape *s, const struct rowenc_row *a,
    const struct rowenc_row *b)
{
	return s->n_key == 0
		   ? rowenc_compare(a, b)
		   : compare_bytes(a->id, a->id_len, b->id, b->id_len);
}

/* Both sides are sorted by rowenc_compare(). */
static void
diff_merge(struct diff *d, const struct compare_table *calculated)
{
	const struct record_table *t = d->table;
	size_t i = 0;
	size_t k = 0;

	while ((i < t->n_after || k < calculated->n_rows) && !d->failed &&
	       !d->verdict->more) {
		int c = i == t->n_after ? 1
			: k == calculated->n_rows
			    ? -1
			    : compare_identity(&t->shape, &t->after[i].row,
				  &calculated->rows[k]);

		if (c < 0) {
			diff_lone_row(d, &t->after[i++].row, true);
		} else if (c > 0) {
			diff_lone_row(d, &calculated->rows[k++], false);
		} else {
			if (rowenc_compare(
				&t->after[i].row, &calculated->rows[k]) != 0)
				diff_columns(
				    d, &t->after[i].row, &calculated->rows[k]);
			i++;
			k++;
		}
	}
}

static bool
diff_table(const struct record_table *t, const struct compare_table *calculated,
    struct arena *a, struct verdict *v)
{
	size_t size = strlen(t->schema) + strlen(t->table) + 2;
	size_t n = t->shape.n_columns + 1;
	char *name = arena_alloc(a, size);
	struct diff d = { .table = t, .arena = a, .verdict = v };

	d.claimed = arena_alloc(a, n * sizeof(*d.claimed));
	d.calculated = arena_alloc(a, n * sizeof(*d.calculated));
	if (name == NULL || d.claimed == NULL || d.calculated == NULL)
		return false;
	snprintf(name, size, "%s.%s", t->schema, t->table);
	d.name = name;
	diff_merge(&d, calculated);
	return !d.failed;
}

/* Both sorted. */
static bool
same_rows(const struct record_table *t, const struct compare_table *calculated)
{
	if (t->n_after != calculated->n_rows)
		return false;
	for (size_t i = 0; i < t->n_after; i++) {
		if (rowenc_compare(&t->after[i].row, &calculated->rows[i]) != 0)
			return false;
	}
	return true;
}

bool
compare_tables(const struct record *r, struct compare_table *calculated,
    struct arena *a, struct verdict *v)
{
	struct rowenc_table *tables = arena_alloc(
	    a, (r->n_tables + 1) * sizeof(*tables));
	bool same = true;
	bool ok = true;

	v->mismatches = arena_alloc(
	    a, VERDICT_MAX_MISMATCHES * sizeof(*v->mismatches));
	if (tables == NULL || v->mismatches == NULL)
		return false;
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct record_table *t = &r->tables[i];

		tables[i].schema = t->schema;
		tables[i].table = t->table;
		tables[i].root = t->post_root;
		rowenc_sort(calculated[i].rows, calculated[i].n_rows);
		if (same_rows(t, &calculated[i]))
			continue;
		same = false;
		rowenc_table_root(
		    calculated[i].rows, calculated[i].n_rows, &tables[i].root);
		if (ok)
			ok = diff_table(t, &calculated[i], a, v);
	}
	v->post_root_calculated = r->post_root;
	if (!same)
		rowenc_database_root(
		    tables, r->n_tables, &v->post_root_calculated);
	v->has_root = true;
	v->kind = same ? VERDICT_VERIFIED : VERDICT_MISMATCH;
	return ok;
}

/* --- which statement --- */

/* What one table was after each statement. */
struct history {
	const struct record *record;
	struct compare_table *states;
	struct compare_table *calculated;
	size_t table;
};

static const struct compare_table *
history_after(const struct history *h, size_t statement)
{
	return statement + 1 == h->record->n_statements
		   ? &h->calculated[h->table]
		   : &h->states[statement * h->record->n_tables + h->table];
}

/* The row of this identity; NULL: there is none. */
static const struct rowenc_row *
find_row(const struct compare_table *c, const struct rowenc_row *id)
{
	size_t low = 0, high = c->n_rows;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = compare_bytes(
		    c->rows[mid].id, c->rows[mid].id_len, id->id, id->id_len);

		if (order == 0)
			return &c->rows[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* The row that is loaded just before the statement. */
static const struct rowenc_row *
loaded_row(
    const struct record_table *t, size_t statement, const struct rowenc_row *id)
{
	for (size_t i = 0; i < t->n_before; i++) {
		const struct rowenc_row *row = &t->before[i].row;

		if (t->before[i].statement == statement &&
		    compare_bytes(row->id, row->id_len, id->id, id->id_len) ==
			0)
			return row;
	}
	return NULL;
}

static int32_t
first_change(const struct history *h, const struct rowenc_row *id)
{
	const struct record_table *t = &h->record->tables[h->table];
	const struct rowenc_row *was = NULL;

	for (size_t i = 0; i < h->record->n_statements; i++) {
		const struct rowenc_row *loaded = loaded_row(t, i, id);
		const struct rowenc_row *is = find_row(history_after(h, i), id);

		if (loaded != NULL)
			was = loaded;
		if ((was == NULL) != (is == NULL) ||
		    (was != NULL && rowenc_compare(was, is) != 0))
			return (int32_t)i;
		was = is;
	}
	return -1;
}

/* Of the rows that differ, as many as a verdict names. */
static int32_t
first_in_table(const struct history *h, int32_t best)
{
	const struct record_table *t = &h->record->tables[h->table];
	const struct compare_table *c = &h->calculated[h->table];
	size_t i = 0, k = 0;

	for (unsigned n = 0;
	     n < VERDICT_MAX_MISMATCHES && (i < t->n_after || k < c->n_rows);) {
		const struct rowenc_row *a = i < t->n_after ? &t->after[i].row
							    : NULL;
		const struct rowenc_row *b = k < c->n_rows ? &c->rows[k] : NULL;
		int order = a == NULL   ? 1
			    : b == NULL ? -1
					: compare_identity(&t->shape, a, b);
		int32_t first;

		i += order <= 0;
		k += order >= 0;
		if (order == 0 && rowenc_compare(a, b) == 0)
			continue;
		n++;
		first = first_change(h, order > 0 ? b : a);
		if (first >= 0 && (best < 0 || first < best))
			best = first;
	}
	return best;
}

int32_t
compare_first_statement(const struct record *r, struct compare_table *states,
    struct compare_table *calculated)
{
	struct history h = { r, states, calculated, 0 };
	int32_t best = -1;

	for (; h.table < r->n_tables; h.table++) {
		if (r->tables[h.table].shape.n_key == 0)
			continue;
		for (size_t i = 0; i < r->n_statements; i++) {
			const struct compare_table *c = history_after(&h, i);

			rowenc_sort(c->rows, c->n_rows);
		}
		best = first_in_table(&h, best);
	}
	return best;
}
