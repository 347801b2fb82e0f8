/*
 * audit.h: follows an evidence log line by line and judges it.
 *
 * Used by replayd when it opens its own log and by `witnessctl verify` on
 * anybody's.  Memory is bounded by the open transactions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_AUDIT_H
#define PGW_AUDIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "merkle.h"
#include "txtable.h"

struct jscan;
struct jscan_fields;

enum audit_result {
	AUDIT_GOOD,
	AUDIT_WRONG, /* a rule about records is broken; the chain holds */
	AUDIT_BROKEN /* the chain is broken: nothing after it counts */
};

struct audit {
	struct merkle_tree tree;
	struct merkle_hash last; /* leaf hash of the last line */
	struct txtable open;
	uint64_t highest_tx_id;
	char last_time[40]; /* `time` of the last line */
	bool stopped;       /* the last line is a Stop */
	char *blob_dir;     /* to check blobs; NULL: not */
	uint64_t skipped;   /* lines before the first given */
	uint64_t earlier;   /* lines of records before it */
	struct jscan *scan;
	/* {name: count} */
	json_t *types;
	json_t *outcomes;
	json_t *verdicts;
	json_t *reasons; /* of verdicts that are not verified */
	json_t *changes; /* SchemaChange: witnessed, unwitnessed */
};

/* log_dir: also check the blobs that lines refer to; NULL: not. */
void audit_init(struct audit *a, const char *log_dir);
void audit_free(struct audit *a);

/*
 * Before the first line: goes on behind `tree`, whose last leaf is `last`.
 * Outcomes and verdicts of records in there are counted, not judged.
 */
void audit_start_behind(struct audit *a, const struct merkle_tree *tree,
    const struct merkle_hash *last);

/* Takes the next line; error says what is wrong with it. */
PGW_MUSTCHECK enum audit_result audit_line(struct audit *a, const char *text,
    size_t len, char *error, size_t error_size);

/* The same; f has the line's members, valid until the next call. */
PGW_MUSTCHECK enum audit_result audit_fields(struct audit *a, const char *text,
    size_t len, struct jscan_fields *f, char *error, size_t error_size);

/* Records without final outcome, and committed ones without verdict. */
void audit_pending(
    const struct audit *a, uint64_t *outcomes, uint64_t *verdicts);

/* Adds one to object[name]. */
void audit_count(json_t *object, const char *name);

#endif
