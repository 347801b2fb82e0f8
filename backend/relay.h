/*
 * relay.h: the session's main loop.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_RELAY_H
#define PGW_RELAY_H

#include "session.h"

/*
 * Relays until the session ends, for whatever reason; the caller closes both
 * connections.
 */
void relay_run(struct session *s);

#endif
