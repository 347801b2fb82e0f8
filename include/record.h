/*
 * record.h: one data-changing transaction, as the backend saw it.
 *
 * The backend fills a struct record in its transaction's arena and sends its
 * bytes through a lane; replayd keeps those bytes in the spool; the evidence
 * log and the replay workers decode them.  This is the only form in which
 * captured data crosses a process boundary.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_RECORD_H
#define PGW_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "merkle.h"
#include "rowenc.h"

#define RECORD_FORMAT 4

/* Kinds of messages in a lane. */
enum record_kind {
	RECORD_TRANSACTION = 1,		/* record_encode() */
	RECORD_OUTCOME = 2,		/* record_outcome_encode() */
	/*
	 * record_encode(), below evidence.commit=before_commit only: what is
	 * about to be sent with its commit, before its first byte.  The
	 * RECORD_TRANSACTION of the same transaction replaces it; a child that
	 * dies before leaves it as `capture_lost`.  Nobody waits for it.
	 */
	RECORD_INTENT = 3,
	/*
	 * record_encode() of DDL that has been committed: its statements, and
	 * the settings that they ran with.  capture_reason says why replay
	 * cannot run them, "" if it can; no statements: they are not known.  If
	 * the transaction has a record, too, this comes before its outcome.
	 * Nobody waits for it.
	 */
	RECORD_DDL = 4
};

/* CONTRACT: `capture`. */
enum capture_class {
	CAPTURE_EXACT,
	CAPTURE_INCOMPLETE,
	CAPTURE_RACE,
	CAPTURE_UNSUPPORTED,
	CAPTURE_LOST
};
const char *capture_class_name(enum capture_class c);

enum record_outcome {
	OUTCOME_COMMITTED,
	OUTCOME_ABORTED,
	OUTCOME_UNKNOWN,
	OUTCOME_PREPARED
};
const char *record_outcome_name(enum record_outcome o);

struct record_warning {
	const char *code;		/* "non_deterministic" ... */
	const char *function;
	const char *message;
};

/* A bind value; or, of COPY FROM STDIN, all of its data as one. */
struct record_param {
	/* pg_type.oid on the server that the client gave; 0: left open. */
	uint32_t type;
	uint8_t format;			/* 0 text, 1 binary */
	const uint8_t *value;		/* NULL: SQL NULL */
	size_t len;
};

struct record_statement {
	const char *sql;		/* as the client sent it */
	size_t sql_len;
	const char *type;		/* "INSERT", "UPDATE", ... */
	const struct record_param *params; /* $1 ... */
	size_t n_params;
};

struct record_row {
	struct rowenc_row row;
	/*
	 * before: the statement (index) that first touched the row, so that
	 * replay loads it just before that statement.  after: unused, 0.
	 */
	uint32_t statement;
};

struct record_table {
	const char *schema;
	const char *table;
	bool write;			/* false: only read */
	/* Its rows are all there, whatever triggers look for. */
	bool whole;
	uint32_t oid;			/* on the server */
	/* Identifies the definition on the server (include/catalog_sql.h). */
	const char *fingerprint;
	/*
	 * The same by names, md5 in hex (include/definition_sql.h); "" if it was
	 * not asked for: the table has been as it is for long.
	 */
	const char *definition;
	struct rowenc_shape shape;
	/*
	 * before: each row's state before the transaction first touched it.
	 * after: those rows, and inserted ones, at the transaction's end.
	 */
	struct record_row *before;
	size_t n_before;
	struct record_row *after;
	size_t n_after;
	struct merkle_hash pre_root;
	struct merkle_hash post_root;
};

struct record_setting {
	const char *name;
	const char *value;
};

/* Where the values of an input are from.  CONTRACT: `origin`. */
enum input_origin {
	INPUT_SERVER,			/* asked for independently */
	INPUT_CLAIM			/* taken from the captured rows */
};

struct record_value {
	const uint8_t *value;		/* canonical text; NULL: SQL NULL */
	size_t len;
};

/*
 * What calls that give another result each time gave in one statement: the
 * values of a column, in the order in which its rows were made.  Replay reads
 * them instead of making the call.
 */
struct record_input {
	uint32_t statement;
	const char *what;		/* "nextval", "random" ... */
	enum input_origin origin;
	/* The statement's target and its column; "" if it is of no column. */
	const char *schema;
	const char *table;
	const char *column;
	const struct record_value *values;
	size_t n_values;
};

struct record {
	bool intent;			/* made before the images were known */
	uint64_t xid;			/* xid8, 0 if not known */
	int64_t time_us;		/* when the record was made */
	/* transaction's now() as the server prints it, UTC; "" not known */
	const char *now;
	const char *database;
	const char *user;
	const char *application_name;
	const char *client_addr;
	const char *isolation;		/* "read committed" ... */
	enum capture_class capture;
	const char *capture_reason;	/* "" when exact */
	/*
	 * Known by analysis: why it cannot be verified, from the documented
	 * set in replayd/README; "" when replay shall try.
	 */
	const char *unverifiable;
	/*
	 * What a difference in replay may come from without anybody's lie, from
	 * the same set ("order" ...); "" if from nothing known.
	 */
	const char *doubt;
	struct record_statement *statements;
	size_t n_statements;
	struct record_warning *warnings;
	size_t n_warnings;
	struct record_setting *settings; /* that change a statement's meaning */
	size_t n_settings;
	struct record_input *inputs;
	size_t n_inputs;
	/* Roots and rows are there only when has_images. */
	bool has_images;
	struct record_table *tables;	/* sorted by (schema, table) */
	size_t n_tables;
	struct merkle_hash pre_root;
	struct merkle_hash post_root;
};

/* Sets each table's roots and both database roots; sorts rows and tables. */
void record_set_roots(struct record *r);

/* Appends the bytes of r. */
void record_encode(const struct record *r, struct buf *out);

/*
 * Strings and rows of *r point into bytes or the arena and live as long as
 * both.  False if the bytes are not a whole record of this format, or at the
 * arena's limit.
 */
PGW_MUSTCHECK bool record_decode(const void *bytes, size_t n,
	struct arena *a, struct record *r);

struct record_outcome_message {
	enum record_outcome outcome;
	uint64_t xid;			/* 0 if not known */
	const char *resolved_by;	/* "server", "pg_xact_status", ... */
	const char *reason;		/* "" if none */
};
void record_outcome_encode(const struct record_outcome_message *m,
	struct buf *out);
/* Strings point into bytes. */
PGW_MUSTCHECK bool record_outcome_decode(const void *bytes, size_t n,
	struct record_outcome_message *m);

#endif
