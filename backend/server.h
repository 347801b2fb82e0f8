/*
 * server.h: a login at the server for a client that the proxy admitted.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SERVER_H
#define PGW_SERVER_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"

/*
 * libpq logs in with the configured credentials and the client's startup
 * parameters; then the session owns the socket, and the client is told
 * AuthenticationOk, the parameters, its key and ReadyForQuery.  False: the
 * client has been told why not.
 */
PGW_MUSTCHECK bool server_login(struct session *s, const struct buf *packet);

#endif
