/*
 * drain.h: from the lanes into the spool, durable, acknowledged.
 *
 * The path that writers wait for.  It waits for nothing but its messages and
 * the disk.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DRAIN_H
#define PGW_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "recorder.h"

struct drain;

/*
 * Opens DATA_DIR/spool, attaches the queue, acknowledges what a predecessor
 * made durable, and puts in doubt what it left open in lanes that are gone.
 * Then *shared says how far the spool is.  Ends the process on failure.
 */
struct drain *drain_open(const char *data_dir, int queue_fd,
	struct recorder_shared *shared);

/* Where one byte goes after each sync (non-blocking); -1 for nowhere. */
void drain_set_wake(struct drain *d, int wake_fd);

/*
 * One group: waits for messages up to timeout_ms, takes what is there, makes
 * it durable, acknowledges it; frees lanes whose child is gone.  Outcomes
 * alone may stay for the next call, for 10 ms at most.  False if there was
 * nothing to do and nothing is left.  Ends the process on a disk error.
 */
bool drain_step(struct drain *d, int timeout_ms);

struct drain_counts {
	uint64_t messages;
	uint64_t records;
	uint64_t syncs;
};
struct drain_counts drain_counts(const struct drain *d);

/* Frees memory and descriptors, in a forked child too; no sync. */
void drain_close(struct drain *d);

#endif
