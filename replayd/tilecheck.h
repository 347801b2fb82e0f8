/*
 * tilecheck.h: compares the tiles on the disk with the lines, as these are
 * read: none may be missing, changed, or about lines that are not there.
 *
 * Memory is one tile per level.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TILECHECK_H
#define PGW_TILECHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "merkle.h"

struct tilecheck;

/* Called with each thing that is wrong. */
typedef void tilecheck_say(void *context, const char *text);

/*
 * signed_size: tiles for so many lines must be there.  Ends the process
 * without memory.
 */
struct tilecheck *tilecheck_new(const char *log_dir, uint64_t signed_size,
    tilecheck_say *say, void *context);
void tilecheck_free(struct tilecheck *t);

void tilecheck_append(struct tilecheck *t, const struct merkle_hash *leaf);
/* Behind the last line: partial tiles, and files that should not be there. */
void tilecheck_end(struct tilecheck *t);

#endif
