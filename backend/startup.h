/*
 * startup.h: what a client sends before its session: encryption requests,
 * CancelRequest, StartupMessage.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_STARTUP_H
#define PGW_STARTUP_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"

/*
 * Reads up to the StartupMessage and keeps it verbatim in `packet` (with its
 * length word) and its names in the session.  False: the connection is
 * finished (cancel request done, bad packet answered, client gone).
 */
PGW_MUSTCHECK bool startup_read(struct session *s, struct buf *packet);

/*
 * Where the proxy answers in the server's place: NegotiateProtocolVersion to a
 * client that asked for more than protocol 3.0 without options (_pq_.).
 */
void startup_negotiate(struct session *s, const struct buf *packet);

/*
 * A parameter of a StartupMessage that startup_read() accepted; NULL if it is
 * not there.  Points into the packet.
 */
const char *startup_parameter(const struct buf *packet, const char *name);

/* Calls fn for each parameter in order. */
void startup_each(const struct buf *packet,
	void (*fn)(void *arg, const char *name, const char *value), void *arg);

#endif
