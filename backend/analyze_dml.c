/*
 * analyze_dml.c: what INSERT, UPDATE and DELETE do, and where it is written.
 *
 * The tree says which clauses there are, the tokens say where they begin and
 * end: at bracket depth 0.  Owns nothing.  Called by analyze_stmt.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "analyze_int.h"

/* One INSERT, UPDATE or DELETE while its fields are set. */
struct dml {
	struct arena *arena;
	const struct tokens *tokens;
	struct analyzed_statement *st;
	size_t cap_columns;
	size_t cap_equal;
	bool failed;
};

bool
analyze_add_name(struct arena *a, const char ***names, size_t *n, size_t *cap,
    const char *name)
{
	const char **grown;

	for (size_t i = 0; i < *n; i++)
		if (strcmp((*names)[i], name) == 0)
			return true;
	if (*n == ANALYZE_NAMES_MAX)
		return false;
	grown = arena_grow(a, *names, *n, cap, sizeof(*grown));
	if (grown == NULL)
		return false;
	grown[(*n)++] = name;
	*names = grown;
	return true;
}

int
dml_bracket_step(PgQuery__Token token)
{
	if (token == TOKEN(ASCII_40) || token == TOKEN(ASCII_91))
		return 1;
	if (token == TOKEN(ASCII_41) || token == TOKEN(ASCII_93))
		return -1;
	return 0;
}

/*
 * The index of a reserved word that begins a clause of the statement itself;
 * tokens->n if there is none.  Behind '.' or AS it is a name.
 */
static size_t
find_clause(const struct tokens *tokens, PgQuery__Token word)
{
	int depth = 0;

	for (size_t i = 0; i < tokens->n; i++) {
		PgQuery__Token token = tokens->t[i]->token;
		PgQuery__Token before = i == 0 ? TOKEN(NUL)
					       : tokens->t[i - 1]->token;

		depth += dml_bracket_step(token);
		if (depth == 0 && token == word && before != TOKEN(AS) &&
		    before != TOKEN(ASCII_46))
			return i;
	}
	return tokens->n;
}

struct span
dml_token_span(const struct tokens *tokens, size_t first, size_t end)
{
	struct span s = { 0, 0 };

	if (first < end) {
		s.at = (size_t)tokens->t[first]->start;
		s.len = (size_t)tokens->t[end - 1]->end - s.at;
	}
	return s;
}

static size_t
skip_name_part(const struct tokens *tokens, size_t i)
{
	bool escaped = tokens->t[i]->token == TOKEN(UIDENT);

	i++;
	/* U&"..." UESCAPE '!' */
	if (escaped && i + 1 < tokens->n &&
	    tokens->t[i]->token == TOKEN(UESCAPE))
		i += 2;
	return i;
}

/* The maybe qualified name that begins at byte `at`. */
static struct span
name_span(const struct tokens *tokens, size_t at)
{
	size_t first = 0;
	size_t i;

	while (first < tokens->n && (size_t)tokens->t[first]->start < at)
		first++;
	if (first == tokens->n)
		return (struct span){ 0, 0 };
	i = skip_name_part(tokens, first);
	while (i + 1 < tokens->n && tokens->t[i]->token == TOKEN(ASCII_46))
		i = skip_name_part(tokens, i + 1);
	return dml_token_span(tokens, first, i);
}

static void
set_target(struct dml *d, const PgQuery__RangeVar *rv)
{
	if (rv == NULL)
		return;
	d->st->only = !rv->inh;
	d->st->target = name_span(d->tokens, (size_t)rv->location);
	d->st->target_ref = rv->alias != NULL ? rv->alias->aliasname
					      : rv->relname;
}

/* Sets returning, and where if the statement can have one. */
static void
set_clauses(struct dml *d, bool has_where, bool has_returning)
{
	size_t end = d->tokens->n;

	if (has_returning) {
		size_t word = find_clause(d->tokens, TOKEN(RETURNING));

		d->st->returning = dml_token_span(d->tokens, word + 1, end);
		end = word;
	}
	if (has_where) {
		size_t word = find_clause(d->tokens, TOKEN(WHERE));

		d->st->where = dml_token_span(d->tokens, word + 1, end);
	}
}

/* VALUES (...), and nothing but RETURNING behind it. */
static void
set_only_row(struct dml *d)
{
	const struct tokens *tokens = d->tokens;
	size_t first = find_clause(tokens, TOKEN(VALUES)), i = first + 1;
	int depth = 0;

	do {
		if (i >= tokens->n)
			return;
		depth += dml_bracket_step(tokens->t[i]->token);
		i++;
	} while (depth > 0);
	if (i == tokens->n || tokens->t[i]->token == TOKEN(RETURNING))
		d->st->only_row = dml_token_span(tokens, first, i);
}

static void
add_columns(struct dml *d, PgQuery__Node **targets, size_t n)
{
	struct analyzed_statement *st = d->st;

	for (size_t i = 0; i < n && !d->failed; i++)
		if (targets[i]->node_case == NODE(RES_TARGET))
			d->failed = !analyze_add_name(d->arena, &st->columns,
			    &st->n_columns, &d->cap_columns,
			    targets[i]->res_target->name);
}

bool
dml_is_constant(const PgQuery__Node *n)
{
	while (n != NULL && n->node_case == NODE(TYPE_CAST))
		n = n->type_cast->arg;
	if (n == NULL)
		return false;
	return n->node_case == NODE(PARAM_REF) ||
	       (n->node_case == NODE(A_CONST) && !n->a_const->isnull);
}

/* The column's name if it is a column of the target; else NULL. */
static const char *
target_column(const struct dml *d, const PgQuery__Node *n)
{
	const PgQuery__ColumnRef *c;
	const PgQuery__Node *last;

	if (n == NULL || n->node_case != NODE(COLUMN_REF))
		return NULL;
	c = n->column_ref;
	if (c->n_fields == 2 &&
	    (c->fields[0]->node_case != NODE(STRING) ||
		strcmp(c->fields[0]->string->sval, d->st->target_ref) != 0))
		return NULL;
	/* Could be a column of the other relation. */
	if (c->n_fields == 1 && d->st->from_or_using)
		return NULL;
	if (c->n_fields != 1 && c->n_fields != 2)
		return NULL;
	last = c->fields[c->n_fields - 1];
	return last->node_case == NODE(STRING) ? last->string->sval : NULL;
}

const PgQuery__AExpr *
dml_equality(const PgQuery__Node *n)
{
	const PgQuery__AExpr *e;

	if (n->node_case != NODE(A_EXPR))
		return NULL;
	e = n->a_expr;
	if (e->kind != PG_QUERY__A__EXPR__KIND__AEXPR_OP || e->n_name != 1 ||
	    e->name[0]->node_case != NODE(STRING) ||
	    strcmp(e->name[0]->string->sval, "=") != 0)
		return NULL;
	return e;
}

/* The column of  column = constant  or  constant = column; else NULL. */
static const char *
equal_column(const struct dml *d, const PgQuery__Node *n)
{
	const PgQuery__AExpr *e = dml_equality(n);

	if (e == NULL)
		return NULL;
	if (dml_is_constant(e->rexpr))
		return target_column(d, e->lexpr);
	if (dml_is_constant(e->lexpr))
		return target_column(d, e->rexpr);
	return NULL;
}

/* False if n is not a conjunction of equalities. */
static bool
add_equal_columns(struct dml *d, const PgQuery__Node *n)
{
	struct analyzed_statement *st = d->st;
	const char *column;

	if (n->node_case == NODE(BOOL_EXPR)) {
		const PgQuery__BoolExpr *b = n->bool_expr;

		if (b->boolop != PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR)
			return false;
		for (size_t i = 0; i < b->n_args; i++)
			if (!add_equal_columns(d, b->args[i]))
				return false;
		return true;
	}
	column = equal_column(d, n);
	if (column == NULL)
		return false;
	if (!analyze_add_name(d->arena, &st->equal_columns,
		&st->n_equal_columns, &d->cap_equal, column))
		d->failed = true;
	return !d->failed;
}

static void
set_where(struct dml *d, const PgQuery__Node *where)
{
	if (where == NULL)
		return;
	d->st->where_current_of = where->node_case == NODE(CURRENT_OF_EXPR);
	if (d->st->target_ref != NULL && !add_equal_columns(d, where))
		d->st->n_equal_columns = 0;
	if (d->st->n_equal_columns == 0)
		d->st->equal_columns = NULL;
	if (d->st->has_params &&
	    !walk_params(d->arena, where, &d->st->where_params,
		&d->st->n_where_params))
		d->failed = true;
}

static void
dml_insert(struct dml *d, const PgQuery__InsertStmt *s)
{
	const PgQuery__SelectStmt *source = NULL;
	struct analyzed_statement *st = d->st;

	if (s->select_stmt != NULL &&
	    s->select_stmt->node_case == NODE(SELECT_STMT))
		source = s->select_stmt->select_stmt;
	set_target(d, s->relation);
	set_clauses(d, false, s->n_returning_list > 0);
	add_columns(d, s->cols, s->n_cols);
	st->with_clause = s->with_clause != NULL ||
			  (source != NULL && source->with_clause != NULL);
	st->insert_values = source == NULL || source->n_values_lists > 0;
	st->one_row = source == NULL || source->n_values_lists == 1;
	if (source != NULL && source->n_values_lists > 0 &&
	    source->values_lists[0]->node_case == NODE(LIST))
		st->n_values = source->values_lists[0]->list->n_items;
	if (source != NULL && source->n_values_lists == 1)
		set_only_row(d);
	st->overriding_user =
	    s->override == PG_QUERY__OVERRIDING_KIND__OVERRIDING_USER_VALUE;
	st->overriding = st->overriding_user ||
			 s->override ==
			     PG_QUERY__OVERRIDING_KIND__OVERRIDING_SYSTEM_VALUE;
	if (s->on_conflict_clause != NULL &&
	    !conflict_statement(d->arena, s, d->tokens, st))
		d->failed = true;
}

static void
dml_update(struct dml *d, const PgQuery__UpdateStmt *s)
{
	set_target(d, s->relation);
	set_clauses(d, s->where_clause != NULL, s->n_returning_list > 0);
	add_columns(d, s->target_list, s->n_target_list);
	d->st->with_clause = s->with_clause != NULL;
	d->st->from_or_using = s->n_from_clause > 0;
	set_where(d, s->where_clause);
}

static void
dml_delete(struct dml *d, const PgQuery__DeleteStmt *s)
{
	set_target(d, s->relation);
	set_clauses(d, s->where_clause != NULL, s->n_returning_list > 0);
	d->st->with_clause = s->with_clause != NULL;
	d->st->from_or_using = s->n_using_clause > 0;
	set_where(d, s->where_clause);
}

bool
dml_statement(struct arena *a, const PgQuery__Node *stmt,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	struct dml d = { .arena = a, .tokens = tokens, .st = st };

	if (stmt->node_case == NODE(INSERT_STMT))
		dml_insert(&d, stmt->insert_stmt);
	else if (stmt->node_case == NODE(UPDATE_STMT))
		dml_update(&d, stmt->update_stmt);
	else if (stmt->node_case == NODE(DELETE_STMT))
		dml_delete(&d, stmt->delete_stmt);
	if (st->from_or_using)
		st->reads_relations = true;
	return !d.failed;
}
