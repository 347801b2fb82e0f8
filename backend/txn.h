/*
 * txn.h: what is known of the client's current transaction: its statements,
 * the rows they touched, and how well that is known.
 *
 * All memory is in one arena that is reset at the transaction's end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TXN_H
#define PGW_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "catalog.h"
#include "reason.h"
#include "record.h"

struct facts;

/* How many settings DDL travels with (ddl.c). */
#define DDL_SETTINGS 8

/* One row by its key: the state before the first touch and the state now. */
struct txn_row {
	const uint8_t *id;
	size_t id_len;
	struct rowenc_row before;	/* bytes NULL: was not there */
	struct rowenc_row after;	/* bytes NULL: is not there */
	uint32_t statement;		/* that first touched it */
};

struct txn_table {
	const struct catalog_table *catalog;
	bool write;		/* by a statement that may change it */
	unsigned whole_runs;	/* of txn.code_runs, with all its rows there */
	/* watch.c's, behind the statement that took its lock: */
	bool watched;
	const char *parsed;	/* when the watching statement was; or NULL */
	int kept;		/* which one that is, and kept_placed() of it */
	uint64_t placed;
	bool same;		/* the table is what it was taken for */
	uint64_t doubts;	/* the session's then */
	struct txn_row *rows;
	size_t n_rows;
	size_t cap_rows;
	uint32_t *index;	/* hash of id -> row + 1; NULL without a key */
	size_t n_index;		/* power of two */
};

/* Under which its captured statements ran, as facts.c writes them. */
struct txn_settings {
	const char *values;	/* NULL: not told yet */
	size_t len;
	uint64_t at;		/* session.ran when they were told last */
};

/* All that ROLLBACK TO brings back, as it was at the SAVEPOINT. */
struct txn_mark {
	const char *name;
	bool dirty, images;
	enum capture_class capture;
	const char *reason, *unverifiable, *doubt;
	struct txn_settings settings;
	size_t n_statements, n_warnings, n_inputs, n_tables, n_undo;
	const bool *write;	/* of each table */
	size_t n_ddl;
	const char *ddl_reason;
};

struct txn_undo {
	uint32_t table, row;
	bool is_new;		/* it was not among the table's rows */
	struct txn_row old;
};

struct txn {
	struct arena *arena;
	bool dirty;		/* a statement that may have changed rows */
	bool images;		/* rows below are complete for `capture` */
	enum capture_class capture;
	const char *reason;
	const char *unverifiable;
	const char *doubt;
	struct record_statement *statements;
	size_t n_statements, cap_statements;
	struct record_warning *warnings;
	size_t n_warnings, cap_warnings;
	struct record_input *inputs;
	size_t n_inputs, cap_inputs;
	struct txn_table *tables;
	size_t n_tables, cap_tables;

	/* DDL, told to replayd when it is committed: ddl.c. */
	struct record_statement *ddl;
	size_t n_ddl, cap_ddl;
	struct record_setting *ddl_settings; /* DDL_SETTINGS, or NULL */
	const char *ddl_user;
	const char *ddl_reason;	/* why it cannot be replayed; "" */

	/* The record was handed over and its outcome is owed. */
	bool published;
	/* An intent was; its record is owed, whatever becomes of it. */
	bool intent;
	uint64_t xid;
	bool saw_error, saw_commit, saw_rollback, saw_prepare;
	/* The message under way ends the transaction itself ... */
	bool ends;
	/* ... and has statements that may change rows behind that. */
	bool mixed;
	/* CALL or DO outside a block: parts of it may have committed. */
	bool may_commit;
	/* Statements that may have run code of users, triggers above all. */
	unsigned code_runs;
	bool quick;		/* its tables' catalog_table.quick was asked */
	bool known;		/* or nothing of them: watch_knows_all() */
	/* The block's last statement, if it was joined.c's: facts_note_last(). */
	struct txn_last {
		int kept;	/* which one of kept.h */
		uint64_t placed; /* kept_placed() of it; 0: there is none */
		uint64_t at;     /* session.ran then, */
		uint64_t ran;    /* and with messages of COMMIT */
		const struct facts *facts; /* what it told, or NULL */
	} last;

	struct txn_settings settings;
	/* Those of the last captured statement are only told by COMMIT. */
	bool unsettled;
	/* quiet_begin(): session.ran at its BEGIN; 0: another one. */
	uint64_t began;
	/* BEGIN without options, and no SET since: surely read-write. */
	bool plain_begin;
	/* SET changed what literals mean, and its end may change it back. */
	bool restyled;
	/* Of its isolation level, once asked: 0 not yet, 's' serializable. */
	char isolation;

	/* The savepoints that are known, the latest last, and what rows were
	 * before they were touched behind the first of them. */
	struct txn_mark *marks;
	size_t n_marks, cap_marks;
	struct txn_undo *undo;
	size_t n_undo, cap_undo;
};

struct txn *txn_new(size_t max_bytes);
/* Forgets everything: the transaction has ended. */
void txn_reset(struct txn *t);

/* Copies the text.  Returns the statement's index. */
uint32_t txn_add_statement(struct txn *t, const char *sql, size_t len,
	const char *type);
/* A statement of DDL, the same.  False: arena limit. */
PGW_MUSTCHECK bool txn_add_ddl(struct txn *t, const char *sql, size_t len,
	const char *type);
/* Keeps the first reason. */
void txn_ddl_reason(struct txn *t, const char *reason);
/* The bind values of a statement; values are copied, or left out. */
void txn_set_params(struct txn *t, uint32_t statement,
	const struct record_param *params, size_t n, bool values);
void txn_add_warning(struct txn *t, const char *code, const char *function,
	const char *message);

/* Keeps the worst class, with the reason that came with it first.  Anything
 * but exact, race and "read_set" drops the images. */
void txn_degrade(struct txn *t, enum capture_class class, const char *reason);
/* Keeps the first reason. */
void txn_unverifiable(struct txn *t, enum reason reason);

/* Keeps the first reason, but trigger_input only if there is no other. */
void txn_doubt(struct txn *t, enum reason reason);
/* Strings and values live as long as the transaction.  False: arena limit. */
PGW_MUSTCHECK bool txn_add_input(struct txn *t, const struct record_input *in);

/*
 * The server has done a SAVEPOINT, RELEASE or ROLLBACK TO.  A name that is not
 * known is one that was not seen being set: then nothing is known of what was
 * undone, and not which of the others are still there.
 */
void txn_savepoint(struct txn *t, const char *name);
void txn_release(struct txn *t, const char *name);
void txn_rollback_to(struct txn *t, const char *name);
/* Savepoints may have been set or released unseen. */
void txn_lose_savepoints(struct txn *t);

/*
 * One captured statement: rows it found (pre) and rows it left (post).
 * key_changes: the key columns were assigned, so rows may have moved.
 */
void txn_apply(struct txn *t, const struct catalog_table *table,
	uint32_t statement, const struct rowenc_row *pre, size_t n_pre,
	const struct rowenc_row *post, size_t n_post, bool key_changes);

/*
 * The same with all rows of the table; write: the statement may have changed
 * them, else post is what pre is.
 */
void txn_apply_whole(struct txn *t, const struct catalog_table *table,
	uint32_t statement, bool write, const struct rowenc_row *pre,
	size_t n_pre, const struct rowenc_row *post, size_t n_post);

/*
 * True if an earlier statement may have left this row there: it has its key
 * or, in a table without one, left any row.
 */
bool txn_left_row(const struct txn *t, const struct catalog_table *table,
	const struct rowenc_row *row);

/*
 * A statement, which was applied, may have run code of users; all rows of these
 * tables were there for it.
 */
void txn_note_code(struct txn *t, const struct catalog_table *const *whole,
	size_t n);

/* True if some row has an image before or after. */
bool txn_has_rows(const struct txn *t);

#endif
