/*
 * settings.h: which session settings a job's statements and its rows need.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SETTINGS_H
#define PGW_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "attr.h"
#include "record.h"

/* A call of pgwitness_pin.set() for several settings, with its parameters. */
struct settings_call {
	const char *sql;		/* NULL: nothing to set */
	const char **values;		/* token, name, value, name, value ... */
	int n_values;
};

struct settings {
	struct settings_call client;	/* for the client's statements */
	struct settings_call canonical;	/* for loading and reading rows */
};

/* search_path for the replay role: "$user" means the client's.  The caller's to
 * free(). */
PGW_MUSTCHECK char *settings_expand_user(const char *path, const char *user);

/*
 * Both calls are empty when the client's settings are the session's defaults.
 * has_user_schema: the copy has a schema of the client user's name.  token: the
 * session's for replayd/pin.  False: arena limit.
 */
PGW_MUSTCHECK bool settings_plan(const struct record *r, bool has_user_schema,
	const char *token, struct arena *a, struct settings *out);

#endif
