/*
 * pgwitness_pin.c: pins for a replay session of the verification cluster.
 *
 * Loaded by CREATE FUNCTION with an absolute path (replayd/schema.c), into no
 * other server.  pin_time() gives the running transaction the recorded start
 * time, so that now(), CURRENT_TIMESTAMP, CURRENT_DATE and 'now' repeat what
 * the client's statement saw.  StartTransaction() sets it again, so a pin ends
 * with its transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(pgwitness_pin_time);

Datum
pgwitness_pin_time(PG_FUNCTION_ARGS)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(0);

	SetParallelStartTimestamps(ts, ts);
	PG_RETURN_VOID();
}
