/*
 * analyze_prepare.c: the names, statement and arguments of PREPARE and EXECUTE.
 *
 * Owns nothing.  Called by analyze_stmt.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdio.h>
#include <string.h>

#include "analyze_int.h"

/* "PREPARE name (types) AS statement": types may have parentheses. */
static size_t
behind_as(const struct tokens *tokens)
{
	size_t depth = 0;

	for (size_t i = 2; i < tokens->n; i++) {
		int token = (int)tokens->t[i]->token;

		if (token == TOKEN(ASCII_40))
			depth++;
		else if (token == TOKEN(ASCII_41) && depth > 0)
			depth--;
		else if (token == TOKEN(AS) && depth == 0)
			return i + 1;
	}
	return tokens->n;
}

bool
prepare_statement(struct arena *a, const PgQuery__PrepareStmt *s,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	size_t first = behind_as(tokens);

	st->prepared = arena_strdup(a, s->name);
	if (first < tokens->n) {
		st->inner.at = (size_t)tokens->t[first]->start;
		st->inner.len = (size_t)tokens->t[tokens->n - 1]->end -
				st->inner.at;
	}
	return st->prepared != NULL;
}

/* The plain name of a type of pg_catalog, as far as it shows; else NULL. */
static const char *
plain_type(const PgQuery__TypeName *t)
{
	if (t == NULL || t->n_typmods > 0 || t->n_array_bounds > 0 ||
	    t->setof || t->pct_type || t->n_names == 0 || t->n_names > 2)
		return NULL;
	for (size_t i = 0; i < t->n_names; i++)
		if (t->names[i]->node_case != NODE(STRING))
			return NULL;
	if (t->n_names == 2 &&
	    strcmp(t->names[0]->string->sval, "pg_catalog") != 0)
		return NULL;
	return t->names[t->n_names - 1]->string->sval;
}

static const char *
number(struct arena *a, int32_t value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	return arena_strdup(a, text);
}

/* False: a limit. */
static bool
take_constant(
    struct arena *a, const PgQuery__AConst *c, struct analyzed_argument *arg)
{
	if (c->isnull) {
		arg->kind = ARGUMENT_NULL;
		return true;
	}
	switch ((int)c->val_case) {
	case PG_QUERY__A__CONST__VAL_IVAL:
		arg->kind = ARGUMENT_INTEGER;
		arg->value = number(a, c->ival->ival);
		break;
	case PG_QUERY__A__CONST__VAL_FVAL:
		arg->kind = ARGUMENT_NUMERIC;
		arg->value = arena_strdup(a, c->fval->fval);
		break;
	case PG_QUERY__A__CONST__VAL_SVAL:
		arg->kind = ARGUMENT_STRING;
		arg->value = arena_strdup(a, c->sval->sval);
		break;
	case PG_QUERY__A__CONST__VAL_BOOLVAL:
		arg->kind = ARGUMENT_BOOLEAN;
		arg->value = c->boolval->boolval ? "true" : "false";
		break;
	default:
		return true;
	}
	return arg->value != NULL;
}

static bool
take_argument(
    struct arena *a, const PgQuery__Node *n, struct analyzed_argument *arg)
{
	if (n->node_case == NODE(TYPE_CAST)) {
		arg->cast = plain_type(n->type_cast->type_name);
		n = n->type_cast->arg;
		if (arg->cast == NULL || n == NULL)
			return true;
	}
	return n->node_case != NODE(A_CONST) ||
	       take_constant(a, n->a_const, arg);
}

bool
execute_statement(struct arena *a, const PgQuery__ExecuteStmt *s,
    struct analyzed_statement *st)
{
	struct analyzed_argument *args = arena_zalloc(
	    a, (s->n_params + 1) * sizeof(*args));
	bool ok = args != NULL;

	st->prepared = arena_strdup(a, s->name);
	st->arguments = args;
	st->n_arguments = s->n_params;
	for (size_t i = 0; ok && i < s->n_params; i++)
		ok = take_argument(a, s->params[i], &args[i]);
	return ok && st->prepared != NULL;
}
