/*
 * strip.h: taking the columns that a capture added off what the client sees.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_STRIP_H
#define PGW_STRIP_H

#include <stdbool.h>

#include "attr.h"
#include "exchange.h"
#include "wire.h"

/*
 * Queues a RowDescription without its last n columns.  If none is left: NoData,
 * or with no_data false nothing.
 */
void strip_description(struct wire *client, const struct message *m,
	unsigned n, bool no_data);

/*
 * Queues a DataRow without its last n columns, if any are left (*queued), and
 * gives those.  False: it has not as many.
 */
PGW_MUSTCHECK bool strip_row(struct wire *client, const struct message *m,
	struct exchange_value *own, unsigned n, bool *queued);

#endif
