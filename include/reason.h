/*
 * reason.h: why a transaction is not verified; all there are.
 *
 * A verdict, and what analysis knows before (record.unverifiable, record.doubt),
 * carry the names.  replayd/README says what each means; etc/layers.sh checks
 * that it has the same ones.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_REASON_H
#define PGW_REASON_H

enum reason {
	REASON_NONE,
	/* the statement depends on what is not recorded */
	REASON_SEQUENCE,
	REASON_VOLATILE_FUNCTION,
	REASON_ENVIRONMENT,
	REASON_USER_FUNCTION,
	REASON_NORMALIZED,
	REASON_NOT_PINNED,
	REASON_PIN_MISSING,
	REASON_UNPINNED_EXPRESSION,
	REASON_LOCALE,
	REASON_ORDER,
	REASON_READ_SET,
	REASON_TRIGGER_INPUT,
	REASON_CAUGHT_ERROR,
	/* there is no copy to replay on */
	REASON_SERVER_VERSION,
	REASON_SERVER_UNREACHABLE,
	REASON_SCHEMA_DUMP_FAILED,
	REASON_SCHEMA_CHANGED,
	REASON_SCHEMA_NOT_RESTORED,
	/* replay could not */
	REASON_PRELOAD,
	REASON_REPLAY_ERROR,
	REASON_PARAMETER_TYPE,
	REASON_UNSUPPORTED,
	REASON_TIMEOUT,
	REASON_TOO_LARGE,
	REASON_VERIFICATION_CLUSTER,
	/* nothing to replay, or nobody who would */
	REASON_VERIFICATION_DISABLED,
	REASON_NO_WITNESS_ROLE,
	REASON_NO_WORKER,
	REASON_CAPTURE_INCOMPLETE,
	REASON_CAPTURE_RACE,
	REASON_CAPTURE_UNSUPPORTED,
	REASON_CAPTURE_LOST,
	REASON_RECORD_LOST,
	/* mismatch; REASON_REPLAY_ERROR is one, too, with its SQLSTATE */
	REASON_ROWS_DIFFER,
	/* error */
	REASON_RECORD_INCONSISTENT,
	REASON_RECORD_UNREADABLE,
	REASON_ROOT_DISAGREES
};

/* "" for REASON_NONE. */
const char *reason_name(enum reason r);
/* Of a name in a record; RECORD_UNREADABLE if there is none such. */
enum reason reason_of(const char *name);

#endif
