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
	uint64_t tx_id;
	struct spool_position at;	/* the SPOOL_RECORD frame */
};

/*
 * Runs until jobs_fd (a SOCK_STREAM socketpair end) is closed or SIGTERM.
 * Reads struct worker_job, runs each in its own copy of the database in the
 * verification cluster, writes u32 length + verdict_encode() for each, in the
 * order given; the recorder may have several jobs outstanding.
 * The verification cluster is already running (replayd/cluster.h).
 */
PGW_NORETURN void worker_main(const struct config *config, unsigned index,
	int jobs_fd);

#endif
