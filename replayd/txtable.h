/*
 * txtable.h: the transactions that are open in the evidence log, by tx_id.
 *
 * A transaction is open from its StateCommitmentRecord until its final
 * TransactionOutcome and, if it committed, its VerificationResult.  One of
 * which only an intent is known is open in the spool, not yet in the log.
 * Memory is bounded by the open ones.
 *
 * The table also knows which tx_ids the log has: all up to the highest but
 * those that were skipped, because they are intents still, or lost.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TXTABLE_H
#define PGW_TXTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "merkle.h"
#include "reason.h"
#include "record.h"
#include "spool.h"

struct txn {
	uint64_t tx_id;			/* from 1; 0: an empty slot */
	uint64_t xid;			/* 0 if not known */
	uint64_t system_identifier;	/* of the record, 0 if not known */
	uint64_t timeline;		/* of the server then, likewise */
	int64_t began;			/* now() of the server, us; 0 unknown */
	int64_t made;			/* its record, us, on our clock */
	struct spool_position at;	/* of its record; segment 0: not seen */
	enum record_outcome outcome;	/* if final */
	bool intent_only;		/* its intent is at `at`; no line yet */
	bool of_intent;			/* it has; `at` is the intent's still */
	bool final;
	bool prepared;
	bool in_doubt;			/* its outcome must be asked for */
	bool asked;			/* given to the resolver */
	bool queued;			/* given to the workers */
	bool may_be_lost;		/* synchronous_commit was off */
	bool reused;			/* its xid was given to a later one */
	bool has_roots;
	struct merkle_hash pre_root;
	struct merkle_hash post_root;
	enum reason unverifiable;	/* NONE: shall replay */
};

struct txtable_range {
	uint64_t from;
	uint64_t to;
};

struct txtable {
	struct txn *slots;
	size_t n_slots;			/* a power of two, 0 at first */
	size_t n;
	uint64_t highest;		/* tx_id of all records in the log */
	struct txtable_range *skipped;	/* ascending, below highest */
	size_t n_skipped;
};

void txtable_free(struct txtable *t);
/* NULL if it is not open.  Valid until the next add or remove. */
struct txn *txtable_find(const struct txtable *t, uint64_t tx_id);
/* It must not be there; all but tx_id is zero. */
struct txn *txtable_add(struct txtable *t, uint64_t tx_id);
void txtable_remove(struct txtable *t, uint64_t tx_id);
/* The log has no record of it. */
bool txtable_is_new(const struct txtable *t, uint64_t tx_id);
/* It has one now.  False: it had one before. */
PGW_MUSTCHECK bool txtable_take_id(struct txtable *t, uint64_t tx_id);

/* The next open one from slot *i on, in no order; NULL at the end. */
struct txn *txtable_next(const struct txtable *t, size_t *i);

#endif
