/*
 * analyze_calls.c: which columns INSERT ... VALUES and UPDATE give nothing but
 * what one function returns, or DEFAULT.
 *
 * What such a call gave can be seen in the row, as it is.  Owns nothing.
 * Called by analyze_stmt.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "analyze_int.h"

/* The rows of values that are looked at, and the columns they are for. */
struct rows {
	PgQuery__Node **lists; /* LIST each; NULL: targets have the one row */
	size_t n;
	PgQuery__Node **targets; /* RES_TARGET each; none: by position */
	size_t n_targets;
	size_t width;
};

static const PgQuery__Node *
without_casts(const PgQuery__Node *n)
{
	while (n != NULL && n->node_case == NODE(TYPE_CAST))
		n = n->type_cast->arg;
	return n;
}

static const PgQuery__Node *
value_at(const struct rows *r, size_t row, size_t column)
{
	const PgQuery__List *list;

	if (r->lists == NULL)
		return without_casts(r->targets[column]->res_target->val);
	list = r->lists[row]->list;
	return column < list->n_items ? without_casts(list->items[column])
				      : NULL;
}

static const char *
sql_value_name(const PgQuery__SQLValueFunction *f)
{
	switch ((int)f->op) {
	case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_ROLE:
		return "current_role";
	case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_CURRENT_USER:
		return "current_user";
	case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_USER:
		return "user";
	case PG_QUERY__SQLVALUE_FUNCTION_OP__SVFOP_SESSION_USER:
		return "session_user";
	default:
		return NULL;
	}
}

static const char *
part(PgQuery__Node **parts, size_t n, size_t from_end)
{
	if (n < from_end || parts[n - from_end]->node_case != NODE(STRING))
		return NULL;
	return parts[n - from_end]->string->sval;
}

/* False if the value is no call. */
static bool
read_call(const PgQuery__Node *n, struct analyzed_call *c)
{
	c->schema = c->name = NULL;
	if (n == NULL)
		return false;
	if (n->node_case == NODE(SET_TO_DEFAULT))
		return true;
	if (n->node_case == NODE(SQLVALUE_FUNCTION)) {
		c->name = sql_value_name(n->sqlvalue_function);
	} else if (n->node_case == NODE(FUNC_CALL)) {
		const PgQuery__FuncCall *f = n->func_call;

		c->name = part(f->funcname, f->n_funcname, 1);
		c->schema = part(f->funcname, f->n_funcname, 2);
	}
	return c->name != NULL;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The same call in each row; false: it is none. */
static bool
column_call(const struct rows *r, size_t column, struct analyzed_call *c)
{
	struct analyzed_call other;

	if (!read_call(value_at(r, 0, column), c))
		return false;
	for (size_t i = 1; i < r->n; i++)
		if (!read_call(value_at(r, i, column), &other) ||
		    !same_text(c->name, other.name) ||
		    !same_text(c->schema, other.schema))
			return false;
	c->position = column;
	c->column = NULL;
	if (r->n_targets > 0)
		c->column = r->targets[column]->res_target->name;
	return true;
}

/* Of an UPDATE one row; of INSERT those of VALUES.  False: none of these. */
static bool
find_rows(const PgQuery__Node *stmt, struct rows *r)
{
	memset(r, 0, sizeof(*r));
	if (stmt->node_case == NODE(UPDATE_STMT)) {
		r->n = 1;
		r->targets = stmt->update_stmt->target_list;
		r->width = r->n_targets = stmt->update_stmt->n_target_list;
	} else if (stmt->node_case == NODE(INSERT_STMT)) {
		const PgQuery__InsertStmt *s = stmt->insert_stmt;
		const PgQuery__Node *source = s->select_stmt;

		if (source == NULL || source->node_case != NODE(SELECT_STMT))
			return false;
		r->lists = source->select_stmt->values_lists;
		r->n = source->select_stmt->n_values_lists;
		r->targets = s->cols;
		r->n_targets = s->n_cols;
		r->width = r->n > 0 && r->lists[0]->node_case == NODE(LIST)
			       ? r->lists[0]->list->n_items
			       : 0;
	}
	if (r->n_targets > 0 && r->width > r->n_targets)
		return false; /* the server will say so */
	for (size_t i = 0; i < r->n && r->lists != NULL; i++)
		if (r->lists[i]->node_case != NODE(LIST))
			return false;
	return r->width > 0;
}

/* A column, not a part of one. */
static bool
is_whole(const struct rows *r, size_t column)
{
	return r->n_targets == 0 ||
	       (r->targets[column]->node_case == NODE(RES_TARGET) &&
		   r->targets[column]->res_target->n_indirection == 0);
}

bool
calls_statement(struct arena *a, const PgQuery__Node *stmt,
    struct analyzed_statement *st, struct call_nodes *nodes)
{
	struct rows r;

	memset(nodes, 0, sizeof(*nodes));
	if (!find_rows(stmt, &r))
		return true;
	st->calls = arena_alloc(a, r.width * sizeof(*st->calls));
	if (st->calls == NULL)
		return false;
	for (size_t k = 0; k < r.width; k++)
		if (is_whole(&r, k) &&
		    column_call(&r, k, &st->calls[st->n_calls]))
			st->n_calls++;
	if (st->n_calls == 0) {
		st->calls = NULL;
		return true;
	}
	nodes->node = arena_alloc(
	    a, r.n * st->n_calls * sizeof(*nodes->node));
	if (nodes->node == NULL)
		return false;
	for (size_t i = 0; i < r.n; i++)
		for (size_t k = 0; k < st->n_calls; k++) {
			const PgQuery__Node *n = value_at(
			    &r, i, st->calls[k].position);

			nodes->node[nodes->n++] = &n->alias->base;
		}
	return true;
}
