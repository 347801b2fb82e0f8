/*
 * jscan.h: the members of an evidence line that its rules need, found in one
 * pass over its bytes, without building a value of each.
 *
 * Accepts exactly what json_loadb(..., JSON_REJECT_DUPLICATES) accepts, whose
 * top is an object and which has no NUL byte (jansson passes over some);
 * test_verify compares the two.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_JSCAN_H
#define PGW_JSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "blob.h"
#include "merkle.h"

enum jscan_kind {
	JSCAN_ABSENT,
	JSCAN_NULL,
	JSCAN_FALSE,
	JSCAN_TRUE,
	JSCAN_INTEGER,
	JSCAN_REAL,
	JSCAN_STRING,
	JSCAN_ARRAY,
	JSCAN_OBJECT
};

struct jscan_value {
	enum jscan_kind kind;
	const char *text; /* of a string, decoded, with a NUL behind */
	size_t len;
	int64_t integer;
};

/* Members of the line itself. */
enum jscan_member {
	JSCAN_TYPE,
	JSCAN_SEQ,
	JSCAN_TIME,
	JSCAN_PREV,
	JSCAN_TX_ID,
	JSCAN_XID,
	JSCAN_SYSTEM_IDENTIFIER,
	JSCAN_ORIGIN,
	JSCAN_PRE_ROOT_CAPTURED,
	JSCAN_POST_ROOT_CLAIMED,
	JSCAN_POST_ROOT_CALCULATED,
	JSCAN_OUTCOME,
	JSCAN_VERDICT,
	JSCAN_REASON,
	JSCAN_SUCCESS,
	JSCAN_OLD,
	JSCAN_NEW,
	JSCAN_TABLES,
	JSCAN_WITNESSED,
	JSCAN_MEMBERS
};

/* One element of `tables`; an element that is no object has nothing. */
struct jscan_table {
	struct jscan_value schema;
	struct jscan_value table;
	struct jscan_value pre_root;
	struct jscan_value post_root;
};

/* What a line says; valid until the next jscan_line(). */
struct jscan_fields {
	struct jscan_value member[JSCAN_MEMBERS];
	const struct jscan_table *tables;
	size_t n_tables;
	const struct blob_ref *blobs; /* wherever they stand in the line */
	size_t n_blobs;
};

struct jscan;

/* Ends the process without memory. */
struct jscan *jscan_new(void);
void jscan_free(struct jscan *s);

/* False: error says what is wrong and at which byte, counted from 1. */
PGW_MUSTCHECK bool jscan_line(struct jscan *s, const char *text, size_t len,
    struct jscan_fields *out, char *error, size_t error_size);

/* The text of a string, NULL if it is none. */
const char *jscan_text(const struct jscan_value *v);
/* An integer above 0, else 0. */
uint64_t jscan_count(const struct jscan_value *v);
/* 64 lower-case hex digits; false if the value is not that. */
PGW_MUSTCHECK bool jscan_hash(
    const struct jscan_value *v, struct merkle_hash *h);

#endif
