/*
 * server.h: a PostgreSQL server as far as its protocol goes: it keeps its
 * rules, and what it answers is decided by the input.
 *
 * It knows the proxy's own statements by how they begin (backend/catalog.c,
 * facts.c, capture.c) and answers them for one table, public.t (id integer
 * primary key, v text).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_FUZZ_SERVER_H
#define PGW_FUZZ_SERVER_H

#include <stdbool.h>

#include "buf.h"
#include "fuzz.h"

/* Stands in each row that only the proxy asked for. */
#define SERVER_MARK "cApTuReD"
#define SERVER_NAMES 32

struct server_name {
	char name[24];
	int kind;
};

struct server {
	struct take choices;
	struct buf in;  /* what the proxy sent and is not yet read */
	struct buf out; /* answers */
	struct server_name statements[SERVER_NAMES];
	struct server_name portals[SERVER_NAMES];
	char status;
	bool skipping;    /* to the next Sync */
	unsigned skipped; /* messages that owe no ReadyForQuery so */
	/* A statement of the proxy's own has failed a block: as the client's
	 * batch failed with it, the proxy may skip in the server's place. */
	bool own_failed;
	bool copying;
	bool copy_is_simple;
	bool ended;  /* Terminate came */
	bool broken; /* the proxy broke the protocol */
};

void server_open(struct server *s, struct take choices);
void server_close(struct server *s);
/* Answers what is in `in`. */
void server_run(struct server *s);

#endif
