/*
 * track.h: what the recorder does with each transaction, from its record to
 * its verdict.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TRACK_H
#define PGW_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "config.h"
#include "dispatch.h"
#include "evidence.h"
#include "line.h"
#include "spool.h"
#include "txtable.h"

/* A power of two: xids are dense, and few are lost in a crash. */
#define TRACK_XIDS 16384

#define TRACK_CHANGES 64

struct track_xid {
	uint64_t xid;
	uint64_t tx_id;
};

struct track {
	const struct config *config;
	struct evidence *evidence;
	struct txtable *open;		/* the evidence log's */
	struct dispatch *dispatch;
	struct hold *hold;		/* in front of it */
	/* Unwitnessed SchemaChange lines, as several workers find them. */
	struct merkle_hash changes[TRACK_CHANGES];
	unsigned n_changes;
	unsigned n_workers;
	int resolver_fd;		/* -1: nobody can be asked */
	struct line_context context;
	uint64_t timeline;		/* of the server, 0 if not known */
	struct arena *arena;		/* of one frame */
	struct line line;		/* the one being written */
	struct state_spool *spool;	/* the evidence log's */
	struct spool_reader *records;	/* reads them again; NULL at first */
	bool unasked;			/* a txn is in_doubt but not asked */
	struct track_xid xids[TRACK_XIDS]; /* the last record of each */
	bool started;			/* the spool was read to its end once */
};

/*
 * Before the first frame: goes on with what the saved state knows.  False: the
 * spool is not the one it knows; it must be read from its oldest frame.
 */
PGW_MUSTCHECK bool track_resume(struct track *t);
/* A frame of the spool; what the log has already is passed over. */
void track_frame(struct track *t, const struct spool_frame *f);
/* Once a round: what waited for outcomes goes on. */
void track_release(struct track *t);
/* A message's bytes from a worker; matches dispatch_fn, arg is the track. */
void track_answer(void *arg, const uint8_t *bytes, size_t n);
/* How a transaction ended; x may be gone after it. */
void track_outcome(struct track *t, struct txn *x,
	const struct record_outcome_message *m);

/*
 * Once all that was in the spool at the start has been seen: what has no
 * outcome is in doubt, what the spool has lost cannot be replayed.  Ends the
 * process if the spool is not the one that the log was made of.
 */
void track_started(struct track *t);

/*
 * The lowest segment that is needed: by an open transaction or an intent, or
 * because the last record is in it.
 */
uint64_t track_lowest_segment(const struct track *t);
/* Records without final outcome, and committed ones without verdict. */
void track_count(const struct track *t, uint64_t *records, uint64_t *verdicts);

#endif
