/*
 * userlist.h: the secrets of [proxy] auth_file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_USERLIST_H
#define PGW_USERLIST_H

#include <stdbool.h>

#include "attr.h"
#include "scram.h"

#define USERLIST_MAX_SECRET 512

struct userlist_entry {
	bool known;
	char secret[USERLIST_MAX_SECRET]; /* "" if not known; wipe it */
	/* The first SCRAM secret of the file: what a mock is to look like. */
	struct scram_secret like;
};

/*
 * Looks user up.  False: the file cannot be read, which is logged; then the
 * user is not known.
 */
PGW_MUSTCHECK bool userlist_find(const char *path, const char *user,
	struct userlist_entry *out);

/* The same in text, which is changed.  For the unit test. */
void userlist_search(char *text, const char *user,
	struct userlist_entry *out);

#endif
