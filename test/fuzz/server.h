/*
 * server.h: a PostgreSQL server as far as its protocol goes: it keeps its
 * rules, and what it answers is decided by the input.
 *
 * It knows the proxy's own statements by how they begin (backend/catalog.c,
 * facts.c, capture.c, counters.c, aside.c, scope.c) and answers them for three
 * tables, public.t, u and audit (id integer primary key, v text); u has a
 * trigger, which inserts into audit.
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
	char verb;  /* the first letter of the statement */
	char table; /* that a portal's first value names: t, u, a */
};

struct server {
	struct take choices;
	struct buf in;  /* what the proxy sent and is not yet read */
	struct buf out; /* answers */
	struct server_name statements[SERVER_NAMES];
	struct server_name portals[SERVER_NAMES];
	/* Of what runs, and what it did so far, as the server counts. */
	char verb, about;
	unsigned inserted, updated, deleted;
	unsigned beside; /* rows that the trigger inserted */
	unsigned notify; /* NotificationResponses to send when idle */
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
