/*
 * analyze_int.h: what the files of analyze share; included by them alone.
 *
 * All memory comes from one arena per analyze() call.  `failed` in a struct,
 * and false from a function, mean that a limit was met (the arena's, or
 * ANALYZE_NAMES_MAX); the text then counts as not parsed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ANALYZE_INT_H
#define PGW_ANALYZE_INT_H

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include "analyze.h"
#include "arena.h"

/* Short for PG_QUERY__TOKEN__WHERE and PG_QUERY__NODE__NODE_FUNC_CALL. */
#define TOKEN(name) PG_QUERY__TOKEN__##name
#define NODE(name) PG_QUERY__NODE__NODE_##name

/* Distinct relations, functions or columns of one statement. */
#define ANALYZE_NAMES_MAX 4096

/* The significant tokens of a text or of one statement: no comments. */
struct tokens {
	PgQuery__ScanToken **t;
	size_t n;
};

/* Adds a name to an array in the arena unless it is there; false: a limit. */
PGW_MUSTCHECK bool analyze_add_name(struct arena *a, const char ***names,
    size_t *n, size_t *cap, const char *name);

/* --- analyze_nest.c --- */

/* Raises RLIMIT_STACK's soft limit to what deep trees need. */
void nest_raise_stack(void);

/*
 * True if the tree of these tokens is flat enough for the stack there is,
 * whatever they mean.
 */
PGW_MUSTCHECK bool nest_is_shallow(const struct tokens *tokens);

/*
 * False if a run of operator characters, in a literal or not, would keep the
 * lexer busy for long.  text has no zero byte.
 */
PGW_MUSTCHECK bool nest_is_lexable(const char *text, size_t len);

/* --- analyze_walk.c --- */

/* The nodes that st->calls are, in the order of walking. */
struct call_nodes {
	const void **node;
	size_t n;
};

/*
 * Sets relations, functions, writes, modifying_cte, reads_relations,
 * has_params, has_sublinks, for_update, default_keyword and default_mixed from
 * the tree.  Strings point into the tree.  False: a limit.
 */
PGW_MUSTCHECK bool walk_statement(struct arena *a, const PgQuery__Node *stmt,
    const struct call_nodes *calls, struct analyzed_statement *st);

/* The numbers of the parameters below n, repeated as there.  False: a limit. */
PGW_MUSTCHECK bool walk_params(struct arena *a, const PgQuery__Node *n,
    const uint16_t **params, size_t *n_params);

/* --- analyze_calls.c --- */

/* Sets calls, n_calls and *nodes.  False: a limit. */
PGW_MUSTCHECK bool calls_statement(struct arena *a, const PgQuery__Node *stmt,
    struct analyzed_statement *st, struct call_nodes *nodes);

/* --- analyze_dml.c --- */

/*
 * Sets the fields of INSERT, UPDATE and DELETE; tokens are the statement's.
 * Other statements are left alone.  False: a limit.
 */
PGW_MUSTCHECK bool dml_statement(struct arena *a, const PgQuery__Node *stmt,
    const struct tokens *tokens, struct analyzed_statement *st);

/* 1 for what opens a bracket, -1 for what closes one. */
int dml_bracket_step(PgQuery__Token token);

/* A literal that is not NULL, or a parameter, maybe cast. */
PGW_MUSTCHECK bool dml_is_constant(const PgQuery__Node *n);
/* a = b  with the plain unqualified operator; else NULL. */
const PgQuery__AExpr *dml_equality(const PgQuery__Node *n);

/* From token `first` to the one before `end`. */
struct span dml_token_span(
    const struct tokens *tokens, size_t first, size_t end);

/* --- analyze_conflict.c --- */

/*
 * Sets the conflict fields, values and n_rows of an INSERT; st->target and
 * n_values are set.  False: a limit.
 */
PGW_MUSTCHECK bool conflict_statement(struct arena *a,
    const PgQuery__InsertStmt *s, const struct tokens *tokens,
    struct analyzed_statement *st);

/* --- analyze_keep.c --- */

/* Sets keepable and literals, from the fields that are set before. */
PGW_MUSTCHECK bool keep_statement(struct arena *a, const PgQuery__Node *stmt,
    const struct tokens *tokens, struct analyzed_statement *st);

/* --- analyze_read.c --- */

/* Sets simple_read, and equal_columns of one. */
void read_statement(
    struct arena *a, const PgQuery__Node *stmt, struct analyzed_statement *st);

/* --- analyze_copy.c --- */

/* Sets st->copy and st->columns of COPY FROM.  False: a limit. */
PGW_MUSTCHECK bool copy_statement(struct arena *a, const PgQuery__CopyStmt *s,
    struct analyzed_statement *st);

/* --- analyze_prepare.c --- */

/* Sets prepared, and inner or arguments.  False: a limit. */
PGW_MUSTCHECK bool prepare_statement(struct arena *a,
    const PgQuery__PrepareStmt *s, const struct tokens *tokens,
    struct analyzed_statement *st);
PGW_MUSTCHECK bool execute_statement(struct arena *a,
    const PgQuery__ExecuteStmt *s, struct analyzed_statement *st);

/* --- analyze_stmt.c --- */

/* Fills *st, which is zeroed.  False: a limit. */
PGW_MUSTCHECK bool stmt_analyze(struct arena *a, const PgQuery__Node *stmt,
    const char *text, const struct tokens *tokens,
    struct analyzed_statement *st);

#endif
