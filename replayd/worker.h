/*
 * worker.h: a replay worker process.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_WORKER_H
#define PGW_WORKER_H

#include <stdint.h>

#include "attr.h"
#include "config.h"
#include "spool.h"

/* Recorder to worker: one fixed-size message per job. */
struct worker_job {
	uint64_t tx_id;			/* 0: DDL */
	struct spool_position at;	/* the SPOOL_RECORD or SPOOL_DDL frame */
};

/*
 * Worker to recorder: u32 length and so many bytes.  For each job in the order
 * given a verdict, which begins with WORKER_VERDICT; for DDL nothing, of length
 * 0; and in between, unasked, what begins with WORKER_CHANGE (schemachange.h).
 */
enum worker_answer {
	WORKER_VERDICT = 1,
	WORKER_CHANGE = 2
};

/*
 * Runs until jobs_fd (a SOCK_STREAM socketpair end) is closed or SIGTERM.
 * Reads struct worker_job, runs each in its own copy of the database in the
 * verification cluster, and answers each; the recorder may have several jobs
 * outstanding.
 * The verification cluster is already running (replayd/cluster.h).
 */
PGW_NORETURN void worker_main(const struct config *config, unsigned index,
	int jobs_fd);

#endif
