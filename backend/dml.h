/*
 * dml.h: one statement of the client's that changes rows, from its text to its
 * answer.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DML_H
#define PGW_DML_H

#include <stdbool.h>

#include "analyze.h"
#include "attr.h"
#include "capture.h"
#include "session.h"
#include "statement.h"

struct dml {
	const struct analyzed_statement *stmt;
	const char *text;	/* the whole text that stmt is part of */
	size_t len;
	/* Execute; NULL: a simple Query. */
	const struct capture_bind *bind;
	struct capture_values values;
	/* dml.c's own: how often it was tried in a block of ours */
	unsigned attempts;
	unsigned widened;
	enum capture_effort effort;
	bool again;
	int64_t started_us;	/* monotonic */
	int64_t timeout_ms;	/* statement_timeout, once it was tried */
	/* out */
	bool sync_used;		/* the Sync that follows was sent, or need not */
	bool rebind;		/* the portal is gone and must be bound again */
	bool done;		/* it ran, under the portal's name */
	bool plain;		/* and so without columns of ours */
	unsigned n_own;		/* else so many */
	bool suspended;		/* PortalSuspended: more rows are there */
};

/*
 * INSERT, UPDATE, DELETE, MERGE, TRUNCATE, a SELECT with one in a CTE, and
 * EXPLAIN ANALYZE of these.
 */
PGW_MUSTCHECK bool dml_takes(const struct analyzed_statement *st);

/* Captures and answers it, or adds it to the record as unsupported. */
PGW_MUSTCHECK enum statement_step dml_run(struct session *s, struct dml *d);

#endif
