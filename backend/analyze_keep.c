/*
 * analyze_keep.c: whether a statement may stay prepared in our form, and which
 * of its literals may be parameters of that.
 *
 * A parameter stands for a literal only where the server cannot tell one from
 * the other: a number has the type that the lexer would give it; a string is of
 * unknown type, and gets one from the column that it is assigned to or the
 * operator that it is given to.  A string that stays in the text would be read
 * once for all runs, which matters for 'today' or where TimeZone is part of its
 * meaning: a statement that has one in a cast, a list, CASE or the like is not
 * kept.
 *
 * What stays prepared goes on to mean what it meant when it was parsed.  New
 * relations are looked for by the statement itself and new operators make the
 * server parse it again, but new functions, types and collations that hide
 * others would not be seen: a statement that names such is not kept.  Nor is
 * one that uses names of ours.
 *
 * An unknown kind of node is a reason not to be kept.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>
#include <strings.h>

#include "analyze_int.h"

#define OWN_NAME "pgwitness"
#define MAX_LITERALS 256

/* Where an expression stands. */
enum place {
	LOOSE, /* a string here has no type, or may get another one */
	TYPED
};

struct keep {
	struct arena *arena;
	const struct tokens *tokens;
	const char **qualified;
	size_t n_qualified, cap_qualified;
	struct analyzed_literal *literals;
	size_t n;
};

static bool keep_expr(struct keep *k, const PgQuery__Node *n, enum place place);

static bool
is_own(const char *name)
{
	return strncasecmp(name, OWN_NAME, strlen(OWN_NAME)) == 0;
}

static bool
is_literal(PgQuery__Token t)
{
	return t == TOKEN(ICONST) || t == TOKEN(FCONST) || t == TOKEN(SCONST) ||
	       t == TOKEN(USCONST) || t == TOKEN(BCONST) || t == TOKEN(XCONST);
}

/* The token that begins at byte `at`; tokens->n if there is none. */
static size_t
token_at(const struct tokens *tokens, size_t at)
{
	size_t low = 0, high = tokens->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if ((size_t)tokens->t[mid]->start < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low < tokens->n && (size_t)tokens->t[low]->start == at
		   ? low
		   : tokens->n;
}

static struct analyzed_literal *
literal_at(struct keep *k, size_t at)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->literals[i].text.at == at)
			return &k->literals[i];
	return NULL;
}

/* A number, with the sign that the grammar has made part of it. */
static void
keep_number(struct keep *k, size_t at)
{
	size_t i = token_at(k->tokens, at);
	const struct tokens *tokens = k->tokens;
	struct analyzed_literal *l;

	if (i + 1 < tokens->n && tokens->t[i]->token == TOKEN(ASCII_45) &&
	    tokens->t[i + 1]->start == tokens->t[i]->end)
		i++;
	if (i == tokens->n || (tokens->t[i]->token != TOKEN(ICONST) &&
				  tokens->t[i]->token != TOKEN(FCONST)))
		return;
	l = literal_at(k, (size_t)tokens->t[i]->start);
	if (l == NULL)
		return;
	l->kind = LITERAL_NUMBER;
	l->text.len += l->text.at - at;
	l->text.at = at;
}

static bool
keep_string(struct keep *k, size_t at, enum place place)
{
	struct analyzed_literal *l = literal_at(k, at);

	if (place != TYPED || l == NULL ||
	    k->tokens->t[token_at(k->tokens, at)]->token != TOKEN(SCONST))
		return false;
	l->kind = LITERAL_STRING;
	return true;
}

static bool
keep_constant(struct keep *k, const PgQuery__AConst *c, enum place place)
{
	if (c->isnull)
		return true;
	if (c->val_case == PG_QUERY__A__CONST__VAL_IVAL ||
	    c->val_case == PG_QUERY__A__CONST__VAL_FVAL)
		keep_number(k, (size_t)c->location);
	else if (c->val_case == PG_QUERY__A__CONST__VAL_SVAL)
		return keep_string(k, (size_t)c->location, place);
	return true;
}

/* t.f may be f(t). */
static bool
keep_column(struct keep *k, const PgQuery__ColumnRef *c)
{
	const PgQuery__Node *last = c->fields[c->n_fields - 1];

	for (size_t i = 0; i < c->n_fields; i++)
		if (c->fields[i]->node_case == NODE(STRING) &&
		    is_own(c->fields[i]->string->sval))
			return false;
	return c->n_fields == 1 || last->node_case != NODE(STRING) ||
	       analyze_add_name(k->arena, &k->qualified, &k->n_qualified,
		   &k->cap_qualified, last->string->sval);
}

static bool
keep_exprs(
    struct keep *k, PgQuery__Node *const *list, size_t n, enum place place)
{
	for (size_t i = 0; i < n; i++)
		if (!keep_expr(k, list[i], place))
			return false;
	return true;
}

static bool
is_null(const PgQuery__Node *n)
{
	return n != NULL && n->node_case == NODE(A_CONST) && n->a_const->isnull;
}

static bool
keep_operator(struct keep *k, const PgQuery__AExpr *e)
{
	enum place place = e->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP ? TYPED
									: LOOSE;

	/* What "= NULL" means is a setting when it is parsed. */
	if (is_null(e->lexpr) || is_null(e->rexpr))
		return false;
	switch ((int)e->kind) {
	case PG_QUERY__A__EXPR__KIND__AEXPR_OP:
	case PG_QUERY__A__EXPR__KIND__AEXPR_DISTINCT:
	case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_DISTINCT:
	case PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF:
	case PG_QUERY__A__EXPR__KIND__AEXPR_IN:
	case PG_QUERY__A__EXPR__KIND__AEXPR_LIKE:
	case PG_QUERY__A__EXPR__KIND__AEXPR_ILIKE:
	case PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN:
	case PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN:
		return keep_expr(k, e->lexpr, place) &&
		       keep_expr(k, e->rexpr, place);
	default:
		return false;
	}
}

/* To a type that the grammar itself names, so that none can hide it. */
static bool
keep_cast(struct keep *k, const PgQuery__TypeCast *c)
{
	const PgQuery__TypeName *t = c->type_name;

	return t != NULL && t->n_names == 2 &&
	       t->names[0]->node_case == NODE(STRING) &&
	       strcmp(t->names[0]->string->sval, "pg_catalog") == 0 &&
	       keep_expr(k, c->arg, LOOSE);
}

static bool
keep_case(struct keep *k, const PgQuery__CaseExpr *c)
{
	for (size_t i = 0; i < c->n_args; i++) {
		const PgQuery__CaseWhen *w;

		if (c->args[i]->node_case != NODE(CASE_WHEN))
			return false;
		w = c->args[i]->case_when;
		if (!keep_expr(k, w->expr, LOOSE) ||
		    !keep_expr(k, w->result, LOOSE))
			return false;
	}
	return keep_expr(k, c->arg, LOOSE) && keep_expr(k, c->defresult, LOOSE);
}

static bool
keep_expr(struct keep *k, const PgQuery__Node *n, enum place place)
{
	if (n == NULL)
		return true;
	switch ((int)n->node_case) {
	case NODE(A_CONST):
		return keep_constant(k, n->a_const, place);
	case NODE(COLUMN_REF):
		return keep_column(k, n->column_ref);
	case NODE(A_EXPR):
		return keep_operator(k, n->a_expr);
	case NODE(BOOL_EXPR):
		return keep_exprs(
		    k, n->bool_expr->args, n->bool_expr->n_args, LOOSE);
	case NODE(NULL_TEST):
		return keep_expr(k, n->null_test->arg, LOOSE);
	case NODE(BOOLEAN_TEST):
		return keep_expr(k, n->boolean_test->arg, LOOSE);
	case NODE(COALESCE_EXPR):
		return keep_exprs(
		    k, n->coalesce_expr->args, n->coalesce_expr->n_args, LOOSE);
	case NODE(MIN_MAX_EXPR):
		return keep_exprs(
		    k, n->min_max_expr->args, n->min_max_expr->n_args, LOOSE);
	case NODE(LIST):
		return keep_exprs(k, n->list->items, n->list->n_items, LOOSE);
	case NODE(CASE_EXPR):
		return keep_case(k, n->case_expr);
	case NODE(TYPE_CAST):
		return keep_cast(k, n->type_cast);
	case NODE(PARAM_REF):
	case NODE(SQLVALUE_FUNCTION):
	case NODE(SET_TO_DEFAULT):
		return true;
	default:
		return false;
	}
}

/* SET, RETURNING, or the columns of an INSERT. */
static bool
keep_targets(
    struct keep *k, PgQuery__Node *const *targets, size_t n, enum place place)
{
	for (size_t i = 0; i < n; i++)
		if (targets[i]->node_case != NODE(RES_TARGET) ||
		    targets[i]->res_target->n_indirection > 0 ||
		    !keep_expr(k, targets[i]->res_target->val, place))
			return false;
	return true;
}

static bool
keep_target(const PgQuery__RangeVar *rv)
{
	return rv != NULL && !is_own(rv->relname) &&
	       (rv->alias == NULL || (!is_own(rv->alias->aliasname) &&
					 rv->alias->n_colnames == 0));
}

static bool
keep_insert(struct keep *k, const PgQuery__InsertStmt *s)
{
	const PgQuery__Node *source = s->select_stmt;

	if (source != NULL && (source->node_case != NODE(SELECT_STMT) ||
				  source->select_stmt->n_values_lists != 1))
		return false;
	/* A lone VALUES may be sorted, limited and locked, too. */
	if (source != NULL && (source->select_stmt->n_sort_clause > 0 ||
				  source->select_stmt->limit_count != NULL ||
				  source->select_stmt->limit_offset != NULL ||
				  source->select_stmt->n_locking_clause > 0))
		return false;
	return keep_target(s->relation) &&
	       keep_targets(k, s->cols, s->n_cols, LOOSE) &&
	       (source == NULL ||
		   (source->select_stmt->values_lists[0]->node_case ==
			   NODE(LIST) &&
		       keep_exprs(k,
			   source->select_stmt->values_lists[0]->list->items,
			   source->select_stmt->values_lists[0]->list->n_items,
			   TYPED))) &&
	       keep_targets(k, s->returning_list, s->n_returning_list, LOOSE);
}

static bool
keep_tree(struct keep *k, const PgQuery__Node *n)
{
	if (n->node_case == NODE(INSERT_STMT))
		return keep_insert(k, n->insert_stmt);
	if (n->node_case == NODE(UPDATE_STMT)) {
		const PgQuery__UpdateStmt *u = n->update_stmt;

		return keep_target(u->relation) &&
		       keep_targets(
			   k, u->target_list, u->n_target_list, TYPED) &&
		       keep_expr(k, u->where_clause, LOOSE) &&
		       keep_targets(
			   k, u->returning_list, u->n_returning_list, LOOSE);
	}
	if (n->node_case == NODE(DELETE_STMT)) {
		const PgQuery__DeleteStmt *d = n->delete_stmt;

		return keep_target(d->relation) &&
		       keep_expr(k, d->where_clause, LOOSE) &&
		       keep_targets(
			   k, d->returning_list, d->n_returning_list, LOOSE);
	}
	return false;
}

/* All of them, in their order; false if they are too many. */
static bool
list_literals(struct keep *k)
{
	for (size_t i = 0; i < k->tokens->n; i++) {
		const PgQuery__ScanToken *t = k->tokens->t[i];

		if (!is_literal(t->token))
			continue;
		if (k->n == MAX_LITERALS)
			return false;
		k->literals[k->n++] = (struct analyzed_literal){
			{ (size_t)t->start, (size_t)(t->end - t->start) },
			LITERAL_TEXT
		};
	}
	return true;
}

/* By its clauses, before its expressions are looked at. */
static bool
is_plain(const struct analyzed_statement *st)
{
	if (st->with_clause || st->from_or_using || st->on_conflict ||
	    st->has_sublinks || st->reads_relations || st->where_current_of)
		return false;
	if (st->kind == STMT_INSERT)
		return st->insert_values && st->one_row;
	return (st->kind == STMT_UPDATE || st->kind == STMT_DELETE) &&
	       st->n_equal_columns > 0;
}

bool
keep_statement(struct arena *a, const PgQuery__Node *stmt,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	struct keep k = { .arena = a, .tokens = tokens };

	if (!is_plain(st))
		return true;
	k.literals = arena_alloc(a, MAX_LITERALS * sizeof(*k.literals));
	if (k.literals == NULL)
		return false;
	if (!list_literals(&k) || !keep_tree(&k, stmt))
		return true;
	st->keepable = true;
	st->literals = k.literals;
	st->n_literals = k.n;
	st->qualified = k.qualified;
	st->n_qualified = k.n_qualified;
	return true;
}
