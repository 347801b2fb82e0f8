/*
 * analyze.h: what a query string would do, as far as its text shows.
 *
 * The only user of libpg_query.  A small scanner replaces literals and looks
 * the shape up in the child's cache; on a miss libpg_query parses the text.
 * Offsets are bytes in the text that was given, and stay right on a cache hit.
 * A text that cannot be parsed is no error: the server decides.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ANALYZE_H
#define PGW_ANALYZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "copydata.h"

enum stmt_kind {
	STMT_SELECT,		/* without INTO; VALUES and TABLE too */
	STMT_INSERT,
	STMT_UPDATE,
	STMT_DELETE,
	STMT_MERGE,
	STMT_SELECT_INTO,	/* and CREATE TABLE AS, CREATE/REFRESH MATVIEW */
	STMT_COPY_FROM,
	STMT_COPY_TO,
	STMT_TRUNCATE,
	STMT_BEGIN,		/* START TRANSACTION */
	STMT_COMMIT,		/* END */
	STMT_ROLLBACK,		/* ABORT */
	STMT_SAVEPOINT,
	STMT_RELEASE,
	STMT_ROLLBACK_TO,
	STMT_PREPARE_TRANSACTION,
	STMT_COMMIT_PREPARED,
	STMT_ROLLBACK_PREPARED,
	STMT_SET,		/* SET, RESET, SET TRANSACTION, SET CONSTRAINTS */
	STMT_SHOW,
	STMT_CALL,
	STMT_DO,
	STMT_PREPARE,
	STMT_EXECUTE,
	STMT_DEALLOCATE,
	STMT_DISCARD,
	STMT_EXPLAIN,		/* explain_analyze says whether it executes */
	STMT_CURSOR,		/* DECLARE, FETCH, MOVE, CLOSE */
	STMT_LISTEN,		/* LISTEN, UNLISTEN, NOTIFY */
	STMT_LOCK,
	STMT_DDL,		/* CREATE, ALTER, DROP, GRANT, COMMENT ... */
	STMT_OTHER		/* VACUUM, CHECKPOINT, LOAD ... */
};

struct span {
	size_t at;		/* byte offset in the query text */
	size_t len;		/* 0: not there */
};

struct analyzed_relation {
	const char *schema;	/* NULL if not qualified; names unquoted */
	const char *name;
	const char *alias;	/* NULL if none */
	bool target;		/* of INSERT, UPDATE, DELETE, MERGE, TRUNCATE... */
};

struct analyzed_function {
	const char *schema;	/* NULL if not qualified */
	const char *name;	/* SQLValueFunction: "current_timestamp" ... */
	bool nested;		/* not only as one of the calls below */
};

/*
 * A column that INSERT ... VALUES or UPDATE gives DEFAULT, or what one function
 * returns and nothing else, maybe cast; the same in each row.
 */
struct analyzed_call {
	const char *column;	/* NULL: an INSERT without a list */
	size_t position;	/* in the list, from 0 */
	const char *schema;	/* NULL if not qualified */
	const char *name;	/* NULL: DEFAULT */
};

/* COPY FROM: where its data comes from, and what it looks like. */
struct analyzed_copy {
	bool from_stdin;	/* not a file or a program */
	bool freeze;
	/* NULL: in client_encoding; as written otherwise. */
	const char *encoding;
	/* All options are known; the server may still refuse them. */
	bool known;
	struct copydata_options options; /* but force_null, force_not_null */
	const char **force_null;	/* columns */
	size_t n_force_null;
	const char **force_not_null;
	size_t n_force_not_null;
};

/* What EXECUTE gives for a parameter. */
struct analyzed_argument {
	enum argument_kind {
		ARGUMENT_OTHER,	/* no constant */
		ARGUMENT_NULL,
		ARGUMENT_INTEGER,	/* of 32 bits */
		ARGUMENT_NUMERIC,
		ARGUMENT_STRING,
		ARGUMENT_BOOLEAN
	} kind;
	const char *value;	/* as text; NULL of the first two */
	const char *cast;	/* the name of the type it is cast to, or NULL */
};

/* What stands in the text as a constant. */
struct analyzed_literal {
	struct span text;	/* with the sign that is part of a number */
	enum literal_kind {
		LITERAL_TEXT,	/* it must stay */
		LITERAL_NUMBER,	/* a parameter can stand for it */
		LITERAL_STRING	/* likewise, if it is a plain '...' */
	} kind;
};

/* One of VALUES. */
struct analyzed_value {
	struct span text;
	bool constant;		/* a literal or a parameter, maybe cast */
	uint16_t param;		/* its number, or 0 */
};

struct analyzed_statement {
	enum stmt_kind kind;
	const char *type;	/* "INSERT", "UPDATE", "SELECT", "BEGIN" ... */
	struct span text;	/* without leading space and closing ';' */

	/* All relations but CTE names, in order of appearance, no duplicates
	 * of (schema, name, alias); the target first. */
	struct analyzed_relation *relations;
	size_t n_relations;
	/* Functions called anywhere (aggregates too), no duplicates; also
	 * operators written OPERATOR(schema.op), under the operator's name. */
	struct analyzed_function *functions;
	size_t n_functions;
	struct analyzed_call *calls;
	size_t n_calls;

	/* True if it, or a statement nested in it (CTE, EXPLAIN ANALYZE,
	 * PREPARE), is INSERT, UPDATE, DELETE, MERGE, COPY FROM, TRUNCATE,
	 * SELECT INTO: rows change without any function's help. */
	bool writes;
	bool modifying_cte;	/* a CTE that is INSERT, UPDATE or DELETE */
	bool with_clause;	/* any WITH on the top level */
	bool reads_relations;	/* relations other than the target, sublinks,
				 * or the target once more */
	bool reads_target;	/* that, under the same name and alias */
	bool order_matters;	/* LIMIT, DISTINCT ON, window functions, aggregates
				 * that depend on the order of their input */
	bool sums;		/* sum() and its kin, where floats would do so */
	bool inexact;		/* casts to floats, what gives them, divisions */
	bool groups;		/* DISTINCT, GROUP BY, UNION, min(), max(): one of
				 * several that are equal is taken */
	bool has_params;	/* $1 ... */
	bool has_sublinks;
	bool system_columns;	/* ctid, xmin ... are read */
	bool explain_analyze;
	bool for_update;	/* SELECT ... FOR UPDATE / SHARE ... */

	/* INSERT, UPDATE, DELETE only: */
	bool only;		/* UPDATE ONLY t */
	struct span target;	/* relation name as written, maybe qualified and
				 * quoted, without ONLY, * or alias */
	const char *target_ref;	/* alias or table name, unquoted: how the rows
				 * are called in WHERE and RETURNING */
	struct span where;	/* the expression after WHERE */
	bool where_current_of;
	/* Numbers of the parameters in it, repeated as there. */
	const uint16_t *where_params;
	size_t n_where_params;
	bool from_or_using;	/* UPDATE ... FROM, DELETE ... USING */
	bool on_conflict;
	bool conflict_update;	/* DO UPDATE */
	bool conflict_plain;	/* its target is columns alone, or not said */
	const char **conflict_columns;	/* that target */
	size_t n_conflict_columns;
	const char **conflict_sets;	/* DO UPDATE: columns assigned */
	size_t n_conflict_sets;
	/* ON CONFLICT: all of VALUES, row by row, n_values each; NULL: too many. */
	struct analyzed_value *values;
	size_t n_rows;
	bool overriding;	/* INSERT ... OVERRIDING ... VALUE */
	bool overriding_user;	/* USER VALUE: given identities do not count */
	bool insert_values;	/* INSERT ... VALUES or DEFAULT VALUES */
	bool one_row;		/* and of one row */
	size_t n_values;	/* of each row of VALUES */
	bool default_keyword;	/* DEFAULT as a value somewhere */
	bool default_mixed;	/* ... where it is none of the calls */
	struct span returning;	/* the list after RETURNING */
	struct span only_row;	/* INSERT VALUES (...): the word and the list */
	/* Where "\nRETURNING x" (none yet) or "\n, x" (appended to the client's
	 * own list) may be spliced in: behind the last token. */
	size_t splice;
	/* UPDATE: columns assigned; INSERT and COPY FROM: the column list (0:
	 * not given). */
	const char **columns;
	size_t n_columns;
	/* WHERE is nothing but  column = constant [AND column = constant ...],
	 * with the plain unqualified operator: those columns. */
	const char **equal_columns;
	size_t n_equal_columns;
	/* SELECT of columns of one table, WHERE nothing but  column = integer
	 * or parameter [AND ...]: those columns. */
	bool simple_read;

	/*
	 * It may stay prepared in a form of ours: one INSERT of one row, UPDATE
	 * or DELETE with equal_columns, that means the same as long as its
	 * relations and operators do.  All its literals, in order; and what it
	 * names behind a table: columns, or functions of the row.
	 */
	bool keepable;
	const char **qualified;
	size_t n_qualified;
	struct analyzed_literal *literals;
	size_t n_literals;
	/* The same for all texts that differ in nothing but literals and
	 * comments; 0: not known. */
	uint64_t shape;

	/* COPY FROM; NULL otherwise */
	const struct analyzed_copy *copy;

	/* BEGIN */
	bool begin_options;	/* any transaction mode given */
	/* COMMIT, ROLLBACK: AND CHAIN */
	bool chain;
	/* PREPARE, EXECUTE: the name */
	const char *prepared;
	/* PREPARE: the statement behind AS */
	struct span inner;
	/* EXECUTE */
	const struct analyzed_argument *arguments;
	size_t n_arguments;
	/* SAVEPOINT, RELEASE, ROLLBACK TO: whose */
	const char *savepoint;
	/* SET: the lower-case name; "" for RESET ALL, "transaction" ... */
	const char *set_name;
};

struct analysis {
	bool parsed;		/* false: too long, not UTF-8, syntax error */
	const char *error;	/* why not, for the operator log */
	bool long_names;	/* that the server cuts off, and says so */
	bool syntax_error;	/* the grammar refused it, so PostgreSQL 15 will */
	struct analyzed_statement *statements;
	size_t n_statements;	/* 0: empty query */
};

struct analyzer;

/*
 * max_parse_bytes: longer texts are not parsed.  Raises RLIMIT_STACK's soft
 * limit if needed (libpg_query recurses).  Never NULL.
 */
struct analyzer *analyzer_new(size_t max_parse_bytes);
void analyzer_free(struct analyzer *a);

/*
 * The result belongs to the analyzer and is valid until the next call.
 * standard_strings: standard_conforming_strings is on; off: never parsed.
 */
const struct analysis *analyze(struct analyzer *a, const char *text,
	size_t len, bool standard_strings);

/* For tests and `debug` logs. */
void analyzer_counts(const struct analyzer *a, size_t *hits, size_t *misses);

/*
 * text with literals as $n (pg_query_normalize), for log.statements=normalized.
 * malloc()ed, NULL if it cannot be parsed.
 */
PGW_MUSTCHECK char *analyze_normalize(const char *text, size_t len);

#endif
