/*
 * strip.h: taking the column that a capture added off what the client sees.
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
 * Queues a RowDescription without its last column.  If none is left: NoData,
 * or with no_data false nothing.
 */
void strip_description(struct wire *client, const struct message *m,
	bool no_data);

/*
 * Queues a DataRow without its last column, if any is left (*queued), and
 * gives that column.  False: it is no row with a last column.
 */
PGW_MUSTCHECK bool strip_row(struct wire *client, const struct message *m,
	struct exchange_value *last, bool *queued);

#endif
