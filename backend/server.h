/*
 * server.h: reaching the server that clients want.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SERVER_H
#define PGW_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "attr.h"
#include "session.h"

/*
 * passthrough: a socket to [backend] host and port.  On failure the client has
 * been told and false is returned.
 */
PGW_MUSTCHECK bool server_connect(struct session *s);

/*
 * trust and password: libpq logs in with the configured credentials and the
 * client's startup parameters; then the session owns the socket, and the
 * client is told AuthenticationOk, the parameters, its key and ReadyForQuery.
 */
PGW_MUSTCHECK bool server_login(struct session *s, const struct buf *packet);

/* Sends a CancelRequest on a connection of its own and waits for its end. */
void server_forward_cancel(const struct config *c, const void *packet,
	size_t len);

#endif
