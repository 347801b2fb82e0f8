/*
 * binding.h: SCRAM's channel binding while the server authenticates the client
 * through us.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BINDING_H
#define PGW_BINDING_H

#include <stdbool.h>

#include "attr.h"
#include "session.h"

/* Queues an AuthenticationRequest of the server for the client. */
void binding_relay_request(struct session *s, const struct message *m);

/*
 * May this answer of the client go to the server?  False: it would fail
 * there, and the client has been told why.
 */
PGW_MUSTCHECK bool binding_allows_answer(struct session *s,
	const struct message *m);

#endif
