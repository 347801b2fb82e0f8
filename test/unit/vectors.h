/*
 * vectors.h: the golden values of test/vectors.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_VECTORS_H
#define PGW_VECTORS_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* The caller's, to be given back with json_decref(). */
static inline json_t *
vectors_load(void)
{
	const char *src = getenv("PGW_SRC");
	char path[4096];
	json_error_t error;
	json_t *v;

	snprintf(path, sizeof(path), "%s/test/vectors/state.json",
	    src == NULL ? "." : src);
	v = json_load_file(path, 0, &error);
	if (v == NULL)
		fail_msg("%s: %s", path, error.text);
	return v;
}

#endif
