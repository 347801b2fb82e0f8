/*
 * verdict.h: what a replay worker found about one transaction, and its form
 * on the socket from the worker to the recorder.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_VERDICT_H
#define PGW_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "merkle.h"

enum verdict_kind {
	VERDICT_VERIFIED,
	VERDICT_MISMATCH,
	VERDICT_UNVERIFIABLE,
	VERDICT_ERROR
};
const char *verdict_kind_name(enum verdict_kind k);

/* Most mismatching columns that a verdict names; `more` says there are more. */
#define VERDICT_MAX_MISMATCHES 100

struct verdict_key {
	const char *column;
	const char *value;	/* NULL: SQL NULL */
};

struct verdict_mismatch {
	const char *table;	/* "schema.table" */
	struct verdict_key *row; /* key columns; all columns without a key */
	size_t n_row;
	/*
	 * NULL: the whole row is missing or extra; then the side that has the
	 * row says "present".
	 */
	const char *column;
	const char *claimed;	/* NULL: SQL NULL, or no such row */
	const char *calculated;
};

struct verdict {
	uint64_t tx_id;
	enum verdict_kind kind;
	const char *reason;	/* from the documented set; "" if verified */
	const char *detail;	/* for the operator log, e.g. an error message */
	bool has_root;
	struct merkle_hash post_root_calculated;
	struct verdict_mismatch *mismatches;
	size_t n_mismatches;
	bool more;		/* there are more than the ones named */
	int32_t statement;	/* index of the first that diverges, -1 */
	double replay_ms;
};

/* Appends the bytes of v. */
void verdict_encode(const struct verdict *v, struct buf *out);
/* Strings live in the arena.  False: not a whole verdict, or its limit. */
PGW_MUSTCHECK bool verdict_decode(const void *bytes, size_t n,
	struct arena *a, struct verdict *v);

#endif
