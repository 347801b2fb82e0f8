/*
 * recorder.h: the process that follows the spool, writes the evidence log,
 * hands jobs to the workers and signs checkpoints.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_RECORDER_H
#define PGW_RECORDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "config.h"

/*
 * In an anonymous shared mapping between the drain and the recorder.
 */
struct recorder_shared {
	/*
	 * Written by the drain after each spool_sync(), segment first while
	 * `version` is odd; read by the recorder, which retries while version
	 * is odd or changed (a seqlock of one writer).
	 */
	_Atomic uint64_t version;
	_Atomic uint64_t segment;
	_Atomic uint64_t offset;
	/*
	 * Set by the recorder before it looks at the above a last time and
	 * waits for wake_fd; cleared by the drain when it takes the duty to
	 * write there.
	 */
	_Atomic bool listens;
	/* Nobody is there to wait for verdicts: the next start has them. */
	_Atomic bool hurry;
};

/*
 * Runs until wake_fd (a pipe; a byte if `listens`) reports end of file:
 * then everything in the spool is recorded, the log signed, and it exits 0.
 * worker_fds: socketpair ends to the workers, may be none.
 */
PGW_NORETURN void recorder_main(const struct config *config,
	struct recorder_shared *shared, int wake_fd, const int *worker_fds,
	unsigned n_workers);

#endif
