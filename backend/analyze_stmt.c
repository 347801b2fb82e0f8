/*
 * analyze_stmt.c: what kind of statement a parse tree is.
 *
 * A table from the tree's top node to kind and name; what is in neither table
 * is DDL.  Owns nothing.  Called by analyze.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "analyze_int.h"

struct kind {
	enum stmt_kind kind;
	const char *type; /* NULL: the statement's first word */
};

static struct kind
kind_of_transaction(const PgQuery__TransactionStmt *s)
{
	static const struct kind kinds[] = { { STMT_OTHER, NULL },
		{ STMT_BEGIN, "BEGIN" }, { STMT_BEGIN, "BEGIN" },
		{ STMT_COMMIT, "COMMIT" }, { STMT_ROLLBACK, "ROLLBACK" },
		{ STMT_SAVEPOINT, "SAVEPOINT" }, { STMT_RELEASE, "RELEASE" },
		{ STMT_ROLLBACK_TO, "ROLLBACK TO" },
		{ STMT_PREPARE_TRANSACTION, "PREPARE TRANSACTION" },
		{ STMT_COMMIT_PREPARED, "COMMIT PREPARED" },
		{ STMT_ROLLBACK_PREPARED, "ROLLBACK PREPARED" } };
	size_t i = s->kind;

	return kinds[i < sizeof(kinds) / sizeof(kinds[0]) ? i : 0];
}

/* INTO stands in the first SELECT of a set operation. */
static struct kind
kind_of_select(const PgQuery__SelectStmt *s)
{
	while (s->larg != NULL)
		s = s->larg;
	if (s->into_clause != NULL)
		return (struct kind){ STMT_SELECT_INTO, "SELECT INTO" };
	return (struct kind){ STMT_SELECT, "SELECT" };
}

static struct kind
kind_of_create_as(const PgQuery__CreateTableAsStmt *s)
{
	struct kind k = { STMT_SELECT_INTO, "CREATE TABLE AS" };

	if (s->objtype == PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW)
		k.type = "CREATE MATERIALIZED VIEW";
	else if (s->is_select_into)
		k.type = "SELECT INTO";
	return k;
}

static struct kind
kind_of_copy(const PgQuery__CopyStmt *s)
{
	return (
	    struct kind){ s->is_from ? STMT_COPY_FROM : STMT_COPY_TO, "COPY" };
}

static struct kind
kind_of_other(const PgQuery__Node *stmt)
{
	static const struct {
		PgQuery__Node__NodeCase node;
		struct kind kind;
	} table[] = {
		{ NODE(INSERT_STMT), { STMT_INSERT, "INSERT" } },
		{ NODE(UPDATE_STMT), { STMT_UPDATE, "UPDATE" } },
		{ NODE(DELETE_STMT), { STMT_DELETE, "DELETE" } },
		{ NODE(MERGE_STMT), { STMT_MERGE, "MERGE" } },
		{ NODE(REFRESH_MAT_VIEW_STMT),
		    { STMT_SELECT_INTO, "REFRESH MATERIALIZED VIEW" } },
		{ NODE(TRUNCATE_STMT), { STMT_TRUNCATE, "TRUNCATE" } },
		{ NODE(VARIABLE_SET_STMT), { STMT_SET, NULL } },
		{ NODE(CONSTRAINTS_SET_STMT), { STMT_SET, NULL } },
		{ NODE(VARIABLE_SHOW_STMT), { STMT_SHOW, "SHOW" } },
		{ NODE(CALL_STMT), { STMT_CALL, "CALL" } },
		{ NODE(DO_STMT), { STMT_DO, "DO" } },
		{ NODE(PREPARE_STMT), { STMT_PREPARE, "PREPARE" } },
		{ NODE(EXECUTE_STMT), { STMT_EXECUTE, "EXECUTE" } },
		{ NODE(DEALLOCATE_STMT), { STMT_DEALLOCATE, "DEALLOCATE" } },
		{ NODE(DISCARD_STMT), { STMT_DISCARD, "DISCARD" } },
		{ NODE(EXPLAIN_STMT), { STMT_EXPLAIN, "EXPLAIN" } },
		{ NODE(DECLARE_CURSOR_STMT), { STMT_CURSOR, "DECLARE" } },
		{ NODE(FETCH_STMT), { STMT_CURSOR, NULL } },
		{ NODE(CLOSE_PORTAL_STMT), { STMT_CURSOR, "CLOSE" } },
		{ NODE(LISTEN_STMT), { STMT_LISTEN, "LISTEN" } },
		{ NODE(UNLISTEN_STMT), { STMT_LISTEN, "UNLISTEN" } },
		{ NODE(NOTIFY_STMT), { STMT_LISTEN, "NOTIFY" } },
		{ NODE(LOCK_STMT), { STMT_LOCK, "LOCK" } },
		{ NODE(VACUUM_STMT), { STMT_OTHER, NULL } },
		{ NODE(CLUSTER_STMT), { STMT_OTHER, NULL } },
		{ NODE(REINDEX_STMT), { STMT_OTHER, NULL } },
		{ NODE(CHECK_POINT_STMT), { STMT_OTHER, NULL } },
		{ NODE(LOAD_STMT), { STMT_OTHER, NULL } },
		{ NODE(ALTER_SYSTEM_STMT), { STMT_OTHER, NULL } },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].node == stmt->node_case)
			return table[i].kind;
	return (struct kind){ STMT_DDL, NULL };
}

static struct kind
kind_of(const PgQuery__Node *stmt)
{
	if (stmt->node_case == NODE(TRANSACTION_STMT))
		return kind_of_transaction(stmt->transaction_stmt);
	if (stmt->node_case == NODE(SELECT_STMT))
		return kind_of_select(stmt->select_stmt);
	if (stmt->node_case == NODE(CREATE_TABLE_AS_STMT))
		return kind_of_create_as(stmt->create_table_as_stmt);
	if (stmt->node_case == NODE(COPY_STMT))
		return kind_of_copy(stmt->copy_stmt);
	return kind_of_other(stmt);
}

/* n bytes in another case; NULL at the arena's limit. */
static const char *
change_case(struct arena *a, const char *s, size_t n, int (*change)(int))
{
	char *copy = arena_memdup(a, s, n);

	for (size_t i = 0; copy != NULL && i < n; i++)
		copy[i] = (char)change((unsigned char)copy[i]);
	return copy;
}

/* ANALYZE stands alone or with a boolean; the last one counts. */
static bool
option_is_on(const PgQuery__DefElem *d)
{
	static const char *const off[] = { "off", "false", "0" };

	if (d->arg == NULL)
		return true;
	if (d->arg->node_case == NODE(INTEGER))
		return d->arg->integer->ival != 0;
	if (d->arg->node_case != NODE(STRING))
		return true;
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		if (strcasecmp(d->arg->string->sval, off[i]) == 0)
			return false;
	return true;
}

static void
stmt_explain(const PgQuery__ExplainStmt *s, struct analyzed_statement *st)
{
	for (size_t i = 0; i < s->n_options; i++) {
		const PgQuery__Node *n = s->options[i];

		if (n->node_case == NODE(DEF_ELEM) &&
		    strcmp(n->def_elem->defname, "analyze") == 0)
			st->explain_analyze = option_is_on(n->def_elem);
	}
	/* What EXECUTE would run cannot be seen here. */
	if (s->query != NULL && s->query->node_case == NODE(EXECUTE_STMT))
		st->writes = true;
	if (!st->explain_analyze)
		st->writes = false;
}

static bool
stmt_set(struct arena *a, const PgQuery__VariableSetStmt *s,
    struct analyzed_statement *st)
{
	st->set_name = change_case(a, s->name, strlen(s->name), tolower);
	return st->set_name != NULL;
}

static bool
stmt_transaction(struct arena *a, const PgQuery__TransactionStmt *s,
    struct analyzed_statement *st)
{
	st->begin_options = st->kind == STMT_BEGIN && s->n_options > 0;
	st->chain = s->chain;
	if (s->savepoint_name == NULL || s->savepoint_name[0] == '\0')
		return true;
	st->savepoint = arena_strdup(a, s->savepoint_name);
	return st->savepoint != NULL;
}

/* The fields that belong to one kind of statement alone. */
static bool
stmt_details(struct arena *a, const PgQuery__Node *stmt,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	if (stmt->node_case == NODE(TRANSACTION_STMT)) {
		return stmt_transaction(a, stmt->transaction_stmt, st);
	} else if (stmt->node_case == NODE(SELECT_STMT)) {
		st->with_clause = stmt->select_stmt->with_clause != NULL;
		read_statement(a, stmt, st);
	} else if (stmt->node_case == NODE(MERGE_STMT)) {
		st->with_clause = stmt->merge_stmt->with_clause != NULL;
	} else if (stmt->node_case == NODE(EXECUTE_STMT)) {
		return execute_statement(a, stmt->execute_stmt, st);
	} else if (stmt->node_case == NODE(PREPARE_STMT)) {
		return prepare_statement(a, stmt->prepare_stmt, tokens, st);
	} else if (stmt->node_case == NODE(EXPLAIN_STMT)) {
		stmt_explain(stmt->explain_stmt, st);
	} else if (stmt->node_case == NODE(CONSTRAINTS_SET_STMT)) {
		st->set_name = "constraints";
	} else if (stmt->node_case == NODE(VARIABLE_SET_STMT)) {
		return stmt_set(a, stmt->variable_set_stmt, st);
	} else if (st->kind == STMT_COPY_FROM) {
		return copy_statement(a, stmt->copy_stmt, st);
	} else if (st->kind == STMT_DDL) {
		/* Rules, functions and views only hold statements. */
		st->writes = st->modifying_cte = false;
	}
	return true;
}

static void
stmt_text(const struct tokens *tokens, struct analyzed_statement *st)
{
	if (tokens->n == 0)
		return;
	st->text.at = (size_t)tokens->t[0]->start;
	st->splice = (size_t)tokens->t[tokens->n - 1]->end;
	st->text.len = st->splice - st->text.at;
}

static size_t
first_word(const struct tokens *tokens)
{
	return tokens->n == 0
		   ? 0
		   : (size_t)(tokens->t[0]->end - tokens->t[0]->start);
}

bool
stmt_analyze(struct arena *a, const PgQuery__Node *stmt, const char *text,
    const struct tokens *tokens, struct analyzed_statement *st)
{
	struct kind k = kind_of(stmt);
	struct call_nodes calls;

	st->kind = k.kind;
	stmt_text(tokens, st);
	st->type = k.type != NULL ? k.type
				  : change_case(a, text + st->text.at,
					first_word(tokens), toupper);
	return st->type != NULL && calls_statement(a, stmt, st, &calls) &&
	       walk_statement(a, stmt, &calls, st) &&
	       dml_statement(a, stmt, tokens, st) &&
	       keep_statement(a, stmt, tokens, st) &&
	       stmt_details(a, stmt, tokens, st);
}
