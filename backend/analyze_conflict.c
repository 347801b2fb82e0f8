/*
 * analyze_conflict.c: what an INSERT ... ON CONFLICT says of the rows that it
 * can meet: the columns that conflict, and the values that it brings for them.
 *
 * The tree says what the values are, the tokens where each one begins and ends.
 * Owns nothing.  Called by analyze_dml.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "analyze_int.h"

/* Of all rows of VALUES together: a text of more is not looked at closely. */
#define MAX_VALUES 4096

/* Behind the name of the target, where VALUES is the clause. */
static size_t
find_values(const struct tokens *tokens, size_t behind)
{
	int depth = 0;

	for (size_t i = 1; i < tokens->n; i++) {
		PgQuery__Token token = tokens->t[i]->token;

		depth += dml_bracket_step(token);
		if (depth == 0 && token == TOKEN(VALUES) &&
		    (size_t)tokens->t[i]->start >= behind &&
		    tokens->t[i - 1]->token != TOKEN(AS))
			return i;
	}
	return tokens->n;
}

/* A list of expressions in brackets, from its first bracket on: how many, or
 * none; *at: behind its end. */
static size_t
split_row(const struct tokens *tokens, size_t *at, struct analyzed_value *out,
    size_t max)
{
	size_t i = *at, first = *at + 1, n = 0;
	int depth = 0;

	for (; i < tokens->n; i++) {
		PgQuery__Token token = tokens->t[i]->token;

		depth += dml_bracket_step(token);
		if (depth != 0 && (depth != 1 || token != TOKEN(ASCII_44)))
			continue;
		if (n == max)
			return 0;
		out[n++].text = dml_token_span(tokens, first, i);
		first = i + 1;
		if (depth == 0)
			break;
	}
	*at = i + 1;
	return depth == 0 ? n : 0;
}

/* The number of the parameter that a constant is, or 0. */
static uint16_t
param_of(const PgQuery__Node *n)
{
	while (n->node_case == NODE(TYPE_CAST))
		n = n->type_cast->arg;
	if (n->node_case != NODE(PARAM_REF) || n->param_ref->number <= 0 ||
	    n->param_ref->number > UINT16_MAX)
		return 0;
	return (uint16_t)n->param_ref->number;
}

static bool
set_row(const struct tokens *tokens, size_t *at, const PgQuery__Node *row,
    struct analyzed_value *out, size_t n)
{
	if (row->node_case != NODE(LIST) || row->list->n_items != n ||
	    *at >= tokens->n || tokens->t[*at]->token != TOKEN(ASCII_40) ||
	    split_row(tokens, at, out, n) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const PgQuery__Node *item = row->list->items[i];

		out[i].constant = dml_is_constant(item);
		out[i].param = out[i].constant ? param_of(item) : 0;
	}
	return true;
}

/* False: a limit. */
static bool
set_values(struct arena *a, const PgQuery__SelectStmt *source,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	size_t at = find_values(tokens, st->target.at + st->target.len);
	size_t rows = source->n_values_lists;
	struct analyzed_value *values;

	st->n_rows = rows;
	if (rows == 0 || st->n_values == 0 || rows > MAX_VALUES / st->n_values)
		return true;
	values = arena_zalloc(a, rows * st->n_values * sizeof(*values));
	if (values == NULL)
		return false;
	for (size_t i = 0; i < rows; i++) {
		/* Behind VALUES, or a comma. */
		at++;
		if (!set_row(tokens, &at, source->values_lists[i],
			values + i * st->n_values, st->n_values))
			return true;
	}
	st->values = values;
	return true;
}

static bool
set_target(struct arena *a, const PgQuery__InferClause *infer,
    struct analyzed_statement *st)
{
	size_t cap = 0;

	/* By the name of a constraint it could be any. */
	st->conflict_plain = infer == NULL || (infer->where_clause == NULL &&
						  infer->n_index_elems > 0);
	for (size_t i = 0; infer != NULL && i < infer->n_index_elems; i++) {
		const PgQuery__Node *n = infer->index_elems[i];
		const PgQuery__IndexElem *e = n->node_case == NODE(INDEX_ELEM)
						  ? n->index_elem
						  : NULL;

		if (e == NULL || e->expr != NULL || e->name == NULL ||
		    e->name[0] == '\0' || e->n_collation > 0 ||
		    e->n_opclass > 0) {
			st->conflict_plain = false;
			continue;
		}
		if (!analyze_add_name(a, &st->conflict_columns,
			&st->n_conflict_columns, &cap, e->name))
			return false;
	}
	return true;
}

bool
conflict_statement(struct arena *a, const PgQuery__InsertStmt *s,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	const PgQuery__OnConflictClause *c = s->on_conflict_clause;
	size_t cap = 0;

	st->on_conflict = true;
	st->conflict_update =
	    c->action != PG_QUERY__ON_CONFLICT_ACTION__ONCONFLICT_NOTHING;
	if (!set_target(a, c->infer, st))
		return false;
	for (size_t i = 0; i < c->n_target_list; i++)
		if (c->target_list[i]->node_case == NODE(RES_TARGET) &&
		    !analyze_add_name(a, &st->conflict_sets,
			&st->n_conflict_sets, &cap,
			c->target_list[i]->res_target->name))
			return false;
	if (s->select_stmt == NULL ||
	    s->select_stmt->node_case != NODE(SELECT_STMT))
		return true;
	return set_values(a, s->select_stmt->select_stmt, tokens, st);
}
