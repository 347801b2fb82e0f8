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
 * Then *shared says how far the spool is.  While the disk does not let it open
 * the spool it tries again; a spool that is damaged ends the process.
 */
struct drain *drain_open(const char *data_dir, int queue_fd,
	struct recorder_shared *shared);

struct drain_policy {
	uint64_t spool_max_bytes;	/* of all segments, 0: no limit */
	bool refuse;			/* when full, instead of waiting */
	bool async;			/* evidence.commit */
	const char *boot_id;		/* of the machine, "" not known */
};

/*
 * After drain_open(): from now on this holds, and a run begins.  If the last
 * one was async and did not stop, on a boot of the machine that is over, what
 * lay in the lanes was lost: a SPOOL_GAP says so.
 */
void drain_begin(struct drain *d, const struct drain_policy *policy);
/* The run ends here, by intent: nothing is left in the lanes. */
void drain_stop(struct drain *d);

/* Where a byte goes after a group if shared->listens (non-blocking); -1 for
 * nowhere. */
void drain_set_wake(struct drain *d, int wake_fd);

/*
 * One group: waits for messages up to timeout_ms, takes what is there, makes
 * it durable, acknowledges it; frees lanes whose child is gone.  Outcomes
 * alone may stay for the next call, for 10 ms at most.  False if there was
 * nothing to do and nothing is left.
 *
 * When the group cannot be made durable nothing of it counts: the lanes keep
 * it.  Then each call waits, at most until it is time to try again (every
 * 200 ms), and returns true.  The operator log gets one line when that begins
 * and one when it is over.  Meanwhile writers wait, or are refused: see
 * shmq_gate.  spool_max_bytes closes the gate only: what is already in the
 * lanes, and outcomes, without which no segment could ever be deleted, still
 * get into the spool.
 */
bool drain_step(struct drain *d, int timeout_ms);

/* The last group could not be made durable. */
bool drain_is_stuck(const struct drain *d);

struct drain_counts {
	uint64_t messages;
	uint64_t records;
	uint64_t syncs;
};
struct drain_counts drain_counts(const struct drain *d);

/* Frees memory and descriptors, in a forked child too; no sync. */
void drain_close(struct drain *d);

#endif
