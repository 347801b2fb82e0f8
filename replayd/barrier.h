/*
 * barrier.h: DDL that was seen, run in a copy between the jobs before and
 * after it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BARRIER_H
#define PGW_BARRIER_H

#include <stdbool.h>

#include "attr.h"
#include "config.h"
#include "copy.h"
#include "record.h"

/*
 * Runs r's statements as the replay role and commits them.  What fails is left
 * out, and logged.  The copy must be ready; its session for jobs is closed.
 * *all: each of them could be run.  False: SIGTERM is pending.
 */
PGW_MUSTCHECK bool barrier_run(const struct config *c,
	struct schema_copy *copy, const struct record *r, bool *all);

#endif
