/*
 * hold.h: jobs and DDL in front of the dispatcher, in the order in which they
 * may run.
 *
 * DDL of one session and the transactions of others come from several lanes, and
 * which is first is said by when a child made its message: a record before its
 * commit, DDL after.  What such a transaction locked, DDL waited for, so its
 * record was made before the DDL's message, but its outcome may come behind it.
 * Therefore DDL waits until what was recorded before it has its outcome (not for
 * long: a definition that does not fit is found out in any case), and what was
 * recorded later waits behind it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_HOLD_H
#define PGW_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dispatch.h"
#include "spool.h"

/* DDL waits so long at most. */
#define HOLD_US INT64_C(2000000)

struct hold;

struct hold *hold_new(struct dispatch *d);

/* made_us: when its record was made. */
void hold_job(struct hold *h, uint64_t tx_id, struct spool_position at,
	int64_t made_us);
/*
 * made_us: when its message was made; own: its own transaction, which runs
 * behind it, 0 if that has no record.
 */
void hold_ddl(struct hold *h, struct spool_position at, int64_t made_us,
	uint64_t own);

bool hold_is_empty(const struct hold *h);
/* undecided_us: when the oldest record without outcome was made, INT64_MAX if
 * there is none. */
void hold_release(struct hold *h, int64_t undecided_us);

#endif
