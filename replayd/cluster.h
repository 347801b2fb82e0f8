/*
 * cluster.h: the verification PostgreSQL, embedded or external.
 *
 * Embedded: DATA_DIR/verification/ is made with initdb and run as a child on a
 * unix socket only, with fsync off; replayd's processes are its only clients.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CLUSTER_H
#define PGW_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "attr.h"
#include "config.h"

/*
 * Embedded: makes the cluster if needed and starts it; waits until it answers.
 * External: only checks that it answers.  Makes the replay role, too.
 * *pid: the postmaster's, 0 if external.  False: error says why.
 */
PGW_MUSTCHECK bool cluster_start(const struct config *c, pid_t *pid,
	char *error, size_t error_size);

/* Fast shutdown of what cluster_start() made; waits for its end. */
void cluster_stop(pid_t pid);

/*
 * libpq connection string for the loader (superuser) or the replay role in
 * dbname.  out is the caller's.
 */
void cluster_conninfo(const struct config *c, bool loader, const char *dbname,
	char *out, size_t size);

#endif
