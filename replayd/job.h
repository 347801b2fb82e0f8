/*
 * job.h: one run of a recorded transaction on a copy, in one write.
 *
 *	BEGIN  pin
 *	for each statement: INSERT of the rows it touches first, then its text
 *	SELECT of all rows of the job's tables
 *	Sync  ROLLBACK  Sync
 *
 * In a batch (batch.c) the ROLLBACK comes before the Sync, and only the last of
 * a group has one.
 *
 * libpq does not do COPY in a pipeline.  A COPY FROM STDIN is run by itself,
 * with its text and its data as they were recorded; what is before and behind
 * it goes in a write each.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_JOB_H
#define PGW_JOB_H

#include <stdbool.h>

#include "arena.h"
#include "attr.h"
#include "compare.h"
#include "record.h"
#include "schema.h"
#include "session.h"
#include "settings.h"

/* The first thing that went wrong. */
enum job_failure {
	JOB_FINE,
	JOB_PRELOAD,		/* a row could not be loaded as recorded */
	JOB_STATEMENT,		/* the client's statement failed: sqlstate */
	JOB_OWN,		/* a statement of ours failed: sqlstate */
	JOB_READ,		/* rows read back are not of its shape */
	JOB_TOO_LARGE		/* the arena's limit */
};

struct job {
	/* in */
	const struct record *record;
	struct schema_copy *copy;
	struct arena *arena;
	int64_t deadline;		/* monotonic us */
	bool trace;			/* read back after each statement */
	/* out */
	struct compare_table *calculated;	/* parallel to record->tables */
	struct compare_table *states;	/* compare_first_statement(): trace */
	enum job_failure failure;
	unsigned statement;		/* that failed */
	char sqlstate[6];
	const char *message;
	/* Inputs are what the calls gave, whatever the triggers. */
	bool inputs_sure;
	/* A function's handler may have taken an error that is ours alone. */
	bool caught_error;
	bool spent;			/* the session is of no more use */
	bool skipped;			/* behind another one's failure */
	/* job.c's */
	struct settings settings;
	bool *loaded;			/* per table: send_prepare() was */
	unsigned next;			/* statement to be sent */
	bool all_sent;
	struct job_step *steps;
	size_t n_steps;
	size_t cap_steps;
	size_t at;			/* step whose answer comes next */
};

/* A statement that brings data of its own; statements[].params[0] are they. */
PGW_MUSTCHECK bool job_is_copy(const struct record_statement *st);

/*
 * Queues on copy->conn all up to the first COPY.  False: arena limit, or libpq
 * refuses.
 */
PGW_MUSTCHECK bool job_send(struct job *j);

/* Receives all answers, and sends the rest.  After anything but SESSION_READY
 * the session is of no more use. */
PGW_MUSTCHECK enum session_wait job_receive(struct job *j);

/* All it needs is prepared in the session, and there is no COPY in it. */
PGW_MUSTCHECK bool job_fits_batch(const struct record *r,
	const struct schema_copy *copy);

/*
 * Queues all of it.  first: whatever is open in the session is rolled back
 * before.  last: with a Sync.  False: the session is of no more use.
 */
PGW_MUSTCHECK bool job_send_in_batch(struct job *j, bool first, bool last);

/* As job_receive(), its answers alone. */
PGW_MUSTCHECK enum session_wait job_receive_in_batch(struct job *j);

#endif
