/*
 * reason.c: the names of reasons.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "reason.h"

#include <stddef.h>
#include <string.h>

static const char *const names[] = {
	[REASON_NONE] = "",
	[REASON_SEQUENCE] = "sequence",
	[REASON_VOLATILE_FUNCTION] = "volatile_function",
	[REASON_ENVIRONMENT] = "environment",
	[REASON_USER_FUNCTION] = "user_function",
	[REASON_NORMALIZED] = "normalized",
	[REASON_NOT_PINNED] = "not_pinned",
	[REASON_PIN_MISSING] = "pin_missing",
	[REASON_UNPINNED_EXPRESSION] = "unpinned_expression",
	[REASON_LOCALE] = "locale",
	[REASON_ORDER] = "order",
	[REASON_READ_SET] = "read_set",
	[REASON_TRIGGER_INPUT] = "trigger_input",
	[REASON_CAUGHT_ERROR] = "caught_error",
	[REASON_SERVER_VERSION] = "server_version",
	[REASON_SERVER_UNREACHABLE] = "server_unreachable",
	[REASON_SCHEMA_DUMP_FAILED] = "schema_dump_failed",
	[REASON_SCHEMA_CHANGED] = "schema_changed",
	[REASON_SCHEMA_NOT_RESTORED] = "schema_not_restored",
	[REASON_PRELOAD] = "preload",
	[REASON_REPLAY_ERROR] = "replay_error",
	[REASON_PARAMETER_TYPE] = "parameter_type",
	[REASON_UNSUPPORTED] = "unsupported",
	[REASON_TIMEOUT] = "timeout",
	[REASON_TOO_LARGE] = "too_large",
	[REASON_VERIFICATION_CLUSTER] = "verification_cluster",
	[REASON_VERIFICATION_DISABLED] = "verification_disabled",
	[REASON_NO_WITNESS_ROLE] = "no_witness_role",
	[REASON_NO_WORKER] = "no_worker",
	[REASON_CAPTURE_INCOMPLETE] = "capture_incomplete",
	[REASON_CAPTURE_RACE] = "capture_race",
	[REASON_CAPTURE_UNSUPPORTED] = "capture_unsupported",
	[REASON_CAPTURE_LOST] = "capture_lost",
	[REASON_RECORD_LOST] = "record_lost",
	[REASON_ROWS_DIFFER] = "rows_differ",
	[REASON_RECORD_INCONSISTENT] = "record_inconsistent",
	[REASON_RECORD_UNREADABLE] = "record_unreadable",
	[REASON_ROOT_DISAGREES] = "root_disagrees",
};

const char *
reason_name(enum reason r)
{
	return names[r];
}

enum reason
reason_of(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i], name) == 0)
			return (enum reason)i;
	}
	return REASON_RECORD_UNREADABLE;
}
