/*
 * verifier.h: the process that runs the verification cluster and the workers.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_VERIFIER_H
#define PGW_VERIFIER_H

#include "attr.h"
#include "config.h"

/*
 * Starts the cluster (again and again until it runs), forks one worker for
 * each of job_fds, and watches them.  SIGTERM: stops all, exits 0.  When a
 * worker or the cluster ends, stops the rest and exits 1.  Call after
 * procsig_follow_parent().
 */
PGW_NORETURN void verifier_main(const struct config *config,
	const int *job_fds, unsigned n);

#endif
