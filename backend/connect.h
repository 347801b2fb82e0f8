/*
 * connect.h: a socket to the server, in TLS as [backend] sslmode says.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CONNECT_H
#define PGW_CONNECT_H

#include <stdbool.h>
#include <stddef.h>

#include "attr.h"
#include "session.h"

/*
 * passthrough: s->server is connected to [backend] host and port, and the
 * client's StartupMessage is on its way.  On failure the client has been told
 * and false is returned.
 */
PGW_MUSTCHECK bool connect_server(struct session *s, const struct buf *packet);

/* Sends a CancelRequest on a connection of its own and waits for its end. */
void connect_cancel(struct session *s, const void *packet, size_t len);

#endif
