/*
 * line.h: the bodies of evidence lines, with the fields of the contract in
 * its order; evidence.c puts type, seq, time and prev in front.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_LINE_H
#define PGW_LINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "record.h"
#include "spool.h"
#include "state.h"
#include "txtable.h"
#include "verdict.h"

struct line_start {
	const char *origin;
	uint64_t system_identifier;	/* 0 if not known */
	uint64_t timeline;		/* 0 if not known */
	const char *config_file;	/* hashed; may be missing */
	const char *continued_origin;	/* of another log; NULL: this one */
	uint64_t size;			/* of the continued log, 0 new */
	struct merkle_hash root;
	uint64_t open_records;
	uint64_t next_tx_id;
};

/* What a record line needs beside the record. */
struct line_context {
	uint64_t system_identifier;	/* 0 if not known */
	bool row_data;			/* log.row_data */
	bool normalized;		/* log.statements=normalized */
};

json_t *line_start(const struct line_start *s);
json_t *line_stop(uint64_t open_records, uint64_t open_verdicts);
json_t *line_gap(const char *from_time, const char *reason, uint64_t count);
/* The drain's own words (JSON text), from this frame of the spool. */
json_t *line_spool_gap(const struct spool_frame *f);

/* Each transaction has these three: text at once, in memory used again. */
struct line {
	const char *type;
	struct state_change change;	/* what it does to the log's state */
	struct buf text;		/* its members, without braces */
	struct buf hashed;		/* what a hash among them is of */
	/* The last schema_version, and what that is of. */
	struct buf schemas;
	struct merkle_hash schema_version;
};
void line_record(struct line *l, uint64_t tx_id, const struct record *r,
	const struct line_context *c);
void line_outcome(struct line *l, uint64_t tx_id,
	const struct record_outcome_message *m);
/* bundle: its path inside the data directory, NULL if there is none. */
void line_verdict(struct line *l, const struct txn *x, const struct verdict *v,
	const char *bundle);
/* Its members as an object. */
json_t *line_json(const struct line *l);
void line_free(struct line *l);

/* The rows of a record: an array parallel to its tables, {before, after}. */
json_t *line_rows(const struct record *r);

#endif
