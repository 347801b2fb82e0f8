/*
 * analyze_read.c: whether a SELECT is one of columns of one table, found by
 * nothing but columns that equal integers or parameters.
 *
 * An unknown clause is a reason not to be one.  What looks like a column may be
 * a function of the row: who wants to know looks at the names.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "analyze_int.h"

struct read {
	struct arena *arena;
	struct analyzed_statement *st;
	size_t cap_equal;
};

/* Nothing but FROM one table, and WHERE. */
static bool
is_plain(const PgQuery__SelectStmt *s)
{
	return s->n_distinct_clause == 0 && s->into_clause == NULL &&
	       s->n_from_clause == 1 && s->n_group_clause == 0 &&
	       s->having_clause == NULL && s->n_window_clause == 0 &&
	       s->n_values_lists == 0 && s->n_sort_clause == 0 &&
	       s->limit_offset == NULL && s->limit_count == NULL &&
	       s->n_locking_clause == 0 && s->with_clause == NULL &&
	       s->larg == NULL && s->rarg == NULL;
}

static bool
is_table(const PgQuery__Node *n)
{
	return n->node_case == NODE(RANGE_VAR) &&
	       (n->range_var->alias == NULL ||
		   n->range_var->alias->n_colnames == 0);
}

static bool
is_column(const PgQuery__Node *n)
{
	return n != NULL && n->node_case == NODE(COLUMN_REF) &&
	       n->column_ref->n_fields <= 2;
}

static bool
are_columns(PgQuery__Node *const *targets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (targets[i]->node_case != NODE(RES_TARGET) ||
		    targets[i]->res_target->n_indirection > 0 ||
		    !is_column(targets[i]->res_target->val))
			return false;
	return n > 0;
}

static bool
is_value(const PgQuery__Node *n)
{
	return n != NULL &&
	       (n->node_case == NODE(PARAM_REF) ||
		   (n->node_case == NODE(A_CONST) && !n->a_const->isnull &&
		       n->a_const->val_case == PG_QUERY__A__CONST__VAL_IVAL));
}

/* Its name into equal_columns; false: it is none, or a limit. */
static bool
add_column(struct read *r, const PgQuery__ColumnRef *c)
{
	const PgQuery__Node *last = c->fields[c->n_fields - 1];

	return last->node_case == NODE(STRING) &&
	       analyze_add_name(r->arena, &r->st->equal_columns,
		   &r->st->n_equal_columns, &r->cap_equal, last->string->sval);
}

static bool
is_equality(struct read *r, const PgQuery__Node *n)
{
	const PgQuery__AExpr *e = dml_equality(n);

	return e != NULL && is_column(e->lexpr) && is_value(e->rexpr) &&
	       add_column(r, e->lexpr->column_ref);
}

static bool
are_equalities(struct read *r, const PgQuery__Node *n)
{
	const PgQuery__BoolExpr *b;

	if (n->node_case != NODE(BOOL_EXPR))
		return is_equality(r, n);
	b = n->bool_expr;
	for (size_t i = 0; i < b->n_args; i++)
		if (!is_equality(r, b->args[i]))
			return false;
	return b->boolop == PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR;
}

void
read_statement(
    struct arena *a, const PgQuery__Node *stmt, struct analyzed_statement *st)
{
	struct read r = { .arena = a, .st = st };
	const PgQuery__SelectStmt *s;

	if (stmt->node_case != NODE(SELECT_STMT))
		return;
	s = stmt->select_stmt;
	st->simple_read = is_plain(s) && is_table(s->from_clause[0]) &&
			  st->n_relations == 1 &&
			  are_columns(s->target_list, s->n_target_list) &&
			  (s->where_clause == NULL ||
			      are_equalities(&r, s->where_clause));
	if (!st->simple_read)
		st->n_equal_columns = 0;
}
