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
	RESOLVER_IDENTITY,	/* once connected: who the server is */
	RESOLVER_OUTCOME	/* final: committed, aborted or unknown */
};

struct resolver_answer {
	enum resolver_kind kind;
	uint64_t tx_id;
	enum record_outcome outcome;
	char reason[32];	/* of unknown */
	uint64_t system_identifier;
	uint64_t timeline;
};

/* To the resolver. */
struct resolver_request {
	uint64_t tx_id;
	uint64_t xid;
	uint64_t system_identifier;	/* where it ran, 0 if not known */
};

/*
 * Forks it; returns the recorder's end of its socket, -1 with errno.  It ends
 * when that end is closed, or with its parent.
 */
PGW_MUSTCHECK int resolver_start(const struct config *config);

#endif
