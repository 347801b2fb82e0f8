/*
 * reopen.h: the self-check of an evidence log before anything is added to it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_REOPEN_H
#define PGW_REOPEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "checkpoint.h"
#include "merkle.h"
#include "state.h"
#include "tiles.h"

struct reopen {
	/* given */
	const char *dir;
	const struct checkpoint *signed_head;	/* size 0: none */
	/* found; freed by reopen_free() */
	struct state state;		/* after the last line */
	struct tiles_writer *tiles;	/* behind the last line */
	struct evlog_place end;		/* file 0: there is none */
	bool torn;			/* bytes behind `end` were cut */
	struct buf key_change;		/* `new` of the last KeyChange read */
};

/*
 * Compares lines, tiles, saved state and checkpoint: reads from the first
 * line of the last tile that the saved state knows, or all lines there are if
 * it cannot be used.  Cuts a torn last line that is not signed.  False:
 * error says which file, line and seq differ from what was signed.
 */
PGW_MUSTCHECK bool reopen_log(struct reopen *r, char *error,
	size_t error_size);
void reopen_free(struct reopen *r);

#endif
