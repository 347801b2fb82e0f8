/*
 * weigh.c: what a captured statement's functions and defaults mean for its
 * verification.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "weigh.h"

#include <string.h>

#include "catalog.h"
#include "inputs.h"
#include "txn.h"

static void
weigh_function(struct session *s, const char *name, enum function_class class)
{
	struct txn *t = s->txn;

	switch (class) {
	case FUNCTION_PURE:
		return;
	case FUNCTION_TIME:
		break;
	case FUNCTION_SEQUENCE:
		txn_unverifiable(t, REASON_SEQUENCE);
		break;
	case FUNCTION_VOLATILE:
		txn_unverifiable(t, REASON_VOLATILE_FUNCTION);
		break;
	case FUNCTION_ENVIRONMENT:
		txn_unverifiable(t, REASON_ENVIRONMENT);
		break;
	case FUNCTION_USER:
		txn_unverifiable(t, REASON_USER_FUNCTION);
		return;
	case FUNCTION_SETTINGS:
		txn_degrade(t, CAPTURE_INCOMPLETE, "settings");
		break;
	case FUNCTION_WRITES:
	case FUNCTION_USER_VOLATILE:
	case FUNCTION_UNKNOWN:
		txn_degrade(t, CAPTURE_INCOMPLETE, "function");
		session_doubt(s);
		break;
	}
	txn_add_warning(t, "non_deterministic", name,
	    class == FUNCTION_TIME ? "depends on the transaction's time"
				   : "gives another result each time");
}

/* Its results are in the rows: replay takes them from there. */
static void
weigh_recorded(struct session *s, const char *name)
{
	txn_add_warning(s->txn, "non_deterministic", name,
	    "gives another result each time");
}

static void
weigh_defaults(struct session *s, const struct capture *c)
{
	const struct catalog_table *t = c->table;

	for (unsigned i = 0; i < t->shape.n_columns; i++) {
		const struct catalog_column *col = &t->columns[i];

		if (!col->has_default || col->default_function == NULL ||
		    !inputs_default(c, i))
			continue;
		if (inputs_call(s, c, i) != NULL)
			weigh_recorded(s, col->default_function);
		else
			weigh_function(
			    s, col->default_function, col->default_class);
	}
}

void
weigh_user_code(struct session *s, const struct catalog_table *t)
{
	/* Replay runs them, and sees what they do. */
	if (t->triggers)
		session_doubt(s);
	if (!t->user_code)
		return;
	txn_unverifiable(s->txn, REASON_USER_FUNCTION);
	session_doubt(s);
}

/*
 * DELETE and TRUNCATE use no defaults.  Those that triggers and foreign keys
 * (SET DEFAULT) use for them replay refuses, if they are built in.
 */
static bool
uses_no_default(
    const struct analyzed_statement *st, const struct catalog_column *col)
{
	return (st->kind == STMT_DELETE || st->kind == STMT_TRUNCATE) &&
	       !st->modifying_cte &&
	       (col->default_class == FUNCTION_VOLATILE ||
		   col->default_class == FUNCTION_ENVIRONMENT);
}

/*
 * Which defaults are used where is not known, but that a sequence was shows in
 * its lock.
 */
static void
weigh_image(struct session *s, const struct analyzed_statement *st,
    const struct capture_image *m)
{
	for (unsigned i = 0; m->write && i < m->table->shape.n_columns; i++) {
		const struct catalog_column *col = &m->table->columns[i];

		if (col->has_default && col->default_function != NULL &&
		    col->default_class != FUNCTION_SEQUENCE &&
		    !uses_no_default(st, col))
			weigh_function(
			    s, col->default_function, col->default_class);
	}
	weigh_user_code(s, m->table);
}

static bool
begins_with_one_of(const char *type, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strncmp(type, *list, strlen(*list)) == 0)
			return true;
	return false;
}

/* One of the tables has a column of such a type, or of an array of it. */
static bool
has_one_of(const struct capture *c, const char *const *list)
{
	for (size_t i = 0; i < c->n_images; i++) {
		const struct rowenc_shape *sh = &c->images[i].table->shape;

		for (unsigned k = 0; k < sh->n_columns; k++)
			if (begins_with_one_of(sh->columns[k].type, list))
				return true;
	}
	return false;
}

static const char *const floats[] = { "real", "double precision", NULL };
/* Equal ones may look different: 1.0 and 1.00, 1 day and 24 hours. */
static const char *const loose[] = { "real", "double precision", "numeric",
	"interval", "jsonb", "time with time zone", NULL };

/* Triggers read the scope's tables, in whatever order. */
static bool
has_code(const struct capture *c)
{
	if (c->n_images > 0 && (c->counted || c->scope.rewritten))
		return true;
	for (size_t i = 0; i < c->n_images; i++)
		if (c->images[i].write && c->images[i].table->triggers)
			return true;
	return false;
}

/* What replay finds another way may be PostgreSQL's choice. */
static void
weigh_order(struct session *s, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;

	/* Of what is explained the clauses are not known. */
	if (st->order_matters || st->modifying_cte ||
	    st->kind == STMT_EXPLAIN ||
	    (st->sums && (st->inexact || has_one_of(c, floats))) ||
	    (st->groups && (st->inexact || has_one_of(c, loose))) ||
	    (st->kind == STMT_UPDATE && st->from_or_using) || has_code(c))
		txn_doubt(s->txn, REASON_ORDER);
}

void
weigh_statement(struct session *s, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;

	for (size_t i = 0; i < st->n_functions; i++) {
		const struct analyzed_function *f = &st->functions[i];
		enum function_class class = catalog_function(
		    s, f->schema, f->name, true);

		if (!c->whole && !f->nested &&
		    catalog_recordable(f->name, class))
			weigh_recorded(s, f->name);
		else
			weigh_function(s, f->name, class);
	}
	if (!c->whole) {
		weigh_defaults(s, c);
		weigh_user_code(s, c->table);
	}
	for (size_t i = 0; i < c->n_images; i++)
		weigh_image(s, st, &c->images[i]);
	weigh_order(s, c);
	/* Views, and what rules call, are not in the record's fingerprints. */
	if (c->scope.rewritten)
		txn_doubt(s->txn, REASON_SCHEMA_CHANGED);
	/* Triggers may run, and deallocate what is kept prepared. */
	if (c->scoped || c->routed)
		session_doubt(s);
	if (st->system_columns || c->scope.catalogs)
		txn_unverifiable(s->txn, REASON_ENVIRONMENT);
	if (!c->scoped && (st->reads_relations || st->has_sublinks))
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "read_set");
}

bool
weigh_runs_twice_badly(struct session *s, const struct capture *c)
{
	if (c->whole || c->stmt->kind == STMT_INSERT || c->key_equality)
		return false;
	for (size_t i = 0; i < c->stmt->n_functions; i++)
		switch (catalog_function(s, c->stmt->functions[i].schema,
		    c->stmt->functions[i].name, true)) {
		case FUNCTION_PURE:
		case FUNCTION_TIME:
		case FUNCTION_ENVIRONMENT:
		case FUNCTION_USER:
			break;
		case FUNCTION_SEQUENCE:
		case FUNCTION_VOLATILE:
		case FUNCTION_SETTINGS:
		case FUNCTION_WRITES:
		case FUNCTION_USER_VOLATILE:
		case FUNCTION_UNKNOWN:
			return true;
		}
	return false;
}
