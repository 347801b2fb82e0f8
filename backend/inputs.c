/*
 * inputs.c: values of sequences, uuids, clocks, out of captured rows.
 *
 * Rows come in the order of RETURNING, which for INSERT ... VALUES is that of
 * the calls.  Where it need not be, a difference in replay means nothing: the
 * record's doubt.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "inputs.h"

#include <stdlib.h>
#include <string.h>

#include "catalog.h"
#include "txn.h"

static const struct analyzed_call *
find_call(const struct capture *c, unsigned column)
{
	const struct analyzed_statement *st = c->stmt;
	const char *name = c->table->shape.columns[column].name;

	for (size_t i = 0; i < st->n_calls; i++) {
		const struct analyzed_call *call = &st->calls[i];

		if (call->column != NULL ? strcmp(call->column, name) == 0
					 : call->position == column)
			return call;
	}
	return NULL;
}

/* INSERT and COPY: the client brings values for it. */
static bool
is_given(const struct capture *c, unsigned column)
{
	const struct analyzed_statement *st = c->stmt;
	const struct rowenc_column *col = &c->table->shape.columns[column];

	if (st->overriding_user && col->identity != 0)
		return false;
	for (size_t i = 0; i < st->n_columns; i++)
		if (strcmp(st->columns[i], col->name) == 0)
			return true;
	if (st->n_columns > 0)
		return false;
	/* Without a list the first ones; of a SELECT's nobody knows how many.
	 */
	return st->kind == STMT_COPY_FROM || !st->insert_values ||
	       column < st->n_values;
}

static bool
is_assigned(const struct capture *c, unsigned column)
{
	for (size_t i = 0; i < c->stmt->n_columns; i++)
		if (strcmp(c->stmt->columns[i],
			c->table->shape.columns[column].name) == 0)
			return true;
	return false;
}

bool
inputs_default(const struct capture *c, unsigned column)
{
	const struct analyzed_statement *st = c->stmt;
	const struct analyzed_call *call = find_call(c, column);
	bool inserts = st->kind == STMT_INSERT || st->kind == STMT_COPY_FROM;

	if (call != NULL)
		return call->name == NULL;
	if (inserts && !is_given(c, column))
		return true;
	return st->default_mixed && (inserts || is_assigned(c, column));
}

const char *
inputs_call(struct session *s, const struct capture *c, unsigned column)
{
	const struct analyzed_statement *st = c->stmt;
	const struct catalog_column *col = &c->table->columns[column];
	const struct rowenc_column *shape = &c->table->shape.columns[column];
	const struct analyzed_call *call = find_call(c, column);

	/* A value may be used up for a row that is not made. */
	if (shape->generated != 0 || st->on_conflict)
		return NULL;
	if (call != NULL && call->name != NULL &&
	    !(st->overriding_user && shape->identity != 0))
		return catalog_recordable(call->name,
			   catalog_function(s, call->schema, call->name, false))
			   ? call->name
			   : NULL;
	if (call != NULL)
		return col->default_call;
	if (st->kind == STMT_INSERT && !is_given(c, column))
		return col->default_call;
	return NULL;
}

/*
 * One column's values, in the order of the rows, of the table that the
 * statement names.  False: arena limit.
 */
static bool
take_column(struct session *s, const struct catalog_table *table,
    const struct rowenc_row *rows, size_t n, uint32_t statement,
    unsigned column, const char *what)
{
	struct arena *a = s->txn->arena;
	const struct rowenc_shape *sh = &table->shape;
	struct rowenc_value *row = arena_alloc(
	    a, ((size_t)sh->n_columns + 1) * sizeof(*row));
	struct record_value *values = arena_alloc(a, (n + 1) * sizeof(*values));
	struct record_input in = { .statement = statement,
		.what = what,
		.origin = INPUT_CLAIM,
		.schema = table->schema,
		.table = table->name,
		.column = sh->columns[column].name,
		.values = values,
		.n_values = n };

	if (row == NULL || values == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!rowenc_decode(sh, &rows[i], row))
			return false;
		values[i].value = row[column].data;
		values[i].len = row[column].len;
	}
	return txn_add_input(s->txn, &in);
}

void
inputs_take(struct session *s, const struct capture *c, uint32_t statement)
{
	bool ordered = c->stmt->kind == STMT_INSERT && c->stmt->insert_values;

	if (c->stmt->kind == STMT_DELETE)
		return;
	for (unsigned i = 0; i < c->table->shape.n_columns; i++) {
		const char *what = inputs_call(s, c, i);

		if (what == NULL)
			continue;
		if (!ordered && c->n_post > 1)
			txn_doubt(s->txn, REASON_ORDER);
		/* What was called may not be what came to lie in the row. */
		if (c->counted)
			txn_doubt(s->txn, REASON_TRIGGER_INPUT);
		if (!take_column(
			s, c->table, c->post, c->n_post, statement, i, what))
			txn_degrade(
			    s->txn, CAPTURE_INCOMPLETE, "max_capture_bytes");
	}
}

void
inputs_take_aside(struct session *s, const struct catalog_table *table,
    const struct rowenc_row *rows, size_t n, bool ordered, uint32_t statement)
{
	for (unsigned i = 0; i < table->shape.n_columns; i++) {
		const char *what = table->columns[i].default_call;

		if (what == NULL || table->shape.columns[i].generated != 0)
			continue;
		if (!ordered && n > 1)
			txn_doubt(s->txn, REASON_ORDER);
		/* Maybe it was not called for each of them. */
		txn_doubt(s->txn, REASON_TRIGGER_INPUT);
		if (!take_column(s, table, rows, n, statement, i, what))
			txn_degrade(
			    s->txn, CAPTURE_INCOMPLETE, "max_capture_bytes");
	}
}

/* --- rows that went into partitions --- */

struct routed_row {
	const struct catalog_table *partition;
	const struct rowenc_row *row;
	int64_t order;
	size_t at;
};

/* The row's value of the column of that name.  False: arena limit. */
static bool
routed_value(struct session *s, const struct routed_row *r, const char *name,
    struct record_value *out)
{
	const struct rowenc_shape *sh = &r->partition->shape;
	struct rowenc_value *values = arena_alloc(
	    s->txn->arena, ((size_t)sh->n_columns + 1) * sizeof(*values));
	const struct rowenc_column *c;

	if (values == NULL || !rowenc_decode(sh, r->row, values))
		return false;
	*out = (struct record_value){ NULL, 0 };
	c = rowenc_column_named(sh, name);
	if (c != NULL)
		*out = (struct record_value){ values[c - sh->columns].data,
			values[c - sh->columns].len };
	return true;
}

static int
compare_routed(const void *pa, const void *pb)
{
	const struct routed_row *a = pa;
	const struct routed_row *b = pb;

	if (a->order != b->order)
		return a->order > b->order ? 1 : -1;
	return (a->at > b->at) - (a->at < b->at);
}

/* As they were made, if a sequence tells. */
static bool
sort_routed(struct session *s, const struct capture *c, struct routed_row *rows,
    size_t n)
{
	const struct rowenc_shape *sh = &c->table->shape;
	const char *name = NULL;

	for (unsigned i = 0; i < sh->n_columns && name == NULL; i++) {
		const char *what = inputs_call(s, c, i);

		if (what != NULL && strcmp(what, "nextval") == 0)
			name = sh->columns[i].name;
	}
	for (size_t i = 0; i < n && name != NULL; i++) {
		struct record_value v;
		char text[24] = "";

		if (!routed_value(s, &rows[i], name, &v))
			return false;
		if (v.value != NULL && v.len < sizeof(text))
			memcpy(text, v.value, v.len);
		rows[i].order = strtoll(text, NULL, 10);
	}
	qsort(rows, n, sizeof(*rows), compare_routed);
	return true;
}

static struct routed_row *
routed_rows(struct session *s, const struct capture *c, size_t *n)
{
	struct routed_row *rows;

	*n = 0;
	for (size_t i = 0; i < c->asides.n; i++)
		*n += c->asides.list[i].n;
	rows = arena_zalloc(s->txn->arena, (*n + 1) * sizeof(*rows));
	*n = 0;
	for (size_t i = 0; rows != NULL && i < c->asides.n; i++)
		for (size_t k = 0; k < c->asides.list[i].n; k++) {
			rows[*n].partition = c->asides.list[i].table;
			rows[*n].row = &c->asides.list[i].rows[k];
			rows[*n].at = *n;
			++*n;
		}
	return rows != NULL && sort_routed(s, c, rows, *n) ? rows : NULL;
}

static bool
take_routed(struct session *s, const struct capture *c, uint32_t statement,
    const struct routed_row *rows, size_t n, unsigned column, const char *what)
{
	const struct catalog_table *t = c->table;
	struct record_value *values = arena_alloc(
	    s->txn->arena, (n + 1) * sizeof(*values));
	struct record_input in = { .statement = statement,
		.what = what,
		.origin = INPUT_CLAIM,
		.schema = t->schema,
		.table = t->name,
		.column = t->shape.columns[column].name,
		.values = values,
		.n_values = n };

	for (size_t i = 0; values != NULL && i < n; i++)
		if (!routed_value(s, &rows[i], in.column, &values[i]))
			return false;
	return values != NULL && txn_add_input(s->txn, &in);
}

void
inputs_take_routed(
    struct session *s, const struct capture *c, uint32_t statement)
{
	size_t n;
	struct routed_row *rows = routed_rows(s, c, &n);
	bool ok = rows != NULL;

	for (unsigned i = 0; ok && i < c->table->shape.n_columns; i++) {
		const char *what = inputs_call(s, c, i);

		if (what == NULL)
			continue;
		if (n > 1)
			txn_doubt(s->txn, REASON_ORDER);
		ok = take_routed(s, c, statement, rows, n, i, what);
	}
	if (!ok)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "max_capture_bytes");
}
