/*
 * resolver.h: the process that asks the server, with the witness role, what
 * became of transactions in doubt; so that a server that hangs never stops
 * the recorder.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_RESOLVER_H
#define PGW_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "config.h"
#include "record.h"

/* From the resolver; one datagram each. */
enum resolver_kind {
	RESOLVER_IDENTITY,	/* who the server is: first, and when it changed */
	RESOLVER_OUTCOME	/* final: committed, aborted or unknown */
};

struct resolver_answer {
	enum resolver_kind kind;
	uint64_t tx_id;
	enum record_outcome outcome;
	char reason[32];	/* of unknown; of aborted, if it has one */
	uint64_t system_identifier;
	uint64_t timeline;
};

/* To the resolver. */
struct resolver_request {
	uint64_t tx_id;
	uint64_t xid;
	uint64_t system_identifier;	/* where it ran, 0 if not known */
	uint64_t timeline;		/* likewise; 0: the present one */
	int64_t began;			/* us, on the server's clock; 0 unknown */
	bool prepared;			/* so no crash can lose its xid */
	bool synchronous_commit_off;	/* so a crash may have lost it */
};

/* For tests; all in ms. */
struct resolver_pace {
	int backoff_min;
	int backoff_max;
	int check;		/* who the server is, with nothing to ask */
};

/*
 * Forks it; returns the recorder's end of its socket, -1 with errno.  It ends
 * when that end is closed, or with its parent.
 */
PGW_MUSTCHECK int resolver_start(const struct config *config);
PGW_MUSTCHECK int resolver_start_paced(const struct config *config,
	const struct resolver_pace *pace);

#endif
