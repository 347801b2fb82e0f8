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
		txn_unverifiable(t, "sequence");
		break;
	case FUNCTION_VOLATILE:
		txn_unverifiable(t, "volatile_function");
		break;
	case FUNCTION_ENVIRONMENT:
		txn_unverifiable(t, "environment");
		break;
	case FUNCTION_USER:
		txn_unverifiable(t, "user_function");
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
weigh_statement(struct session *s, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;

	for (size_t i = 0; i < st->n_functions; i++) {
		const struct analyzed_function *f = &st->functions[i];
		enum function_class class = catalog_function(
		    s, f->schema, f->name, true);

		if (!f->nested && catalog_recordable(f->name, class))
			weigh_recorded(s, f->name);
		else
			weigh_function(s, f->name, class);
	}
	weigh_defaults(s, c);
	if (c->table->user_code) {
		txn_unverifiable(s->txn, "user_function");
		session_doubt(s);
	}
	if (st->system_columns)
		txn_unverifiable(s->txn, "environment");
	if (st->reads_relations || st->has_sublinks)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "read_set");
}

bool
weigh_runs_twice_badly(struct session *s, const struct capture *c)
{
	if (c->stmt->kind == STMT_INSERT || c->key_equality)
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
