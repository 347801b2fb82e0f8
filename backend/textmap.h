/*
 * textmap.h: which bytes of a text of ours are the client's, so that an error
 * names the place in the client's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TEXTMAP_H
#define PGW_TEXTMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

struct textmap {
	struct textmap_piece {
		size_t ours, len; /* bytes of ours */
		size_t theirs;    /* where they are in the client's */
		bool copied;      /* byte by byte; else they stand for it */
	} * pieces;
	size_t n, cap;
};

void textmap_add(struct textmap *m, struct textmap_piece piece);
void textmap_free(struct textmap *m);

/*
 * The position in the ErrorResponse `error`, if it has one and it is in what is
 * the client's.  utf8: texts are that, and positions count characters; else
 * bytes.
 */
void textmap_mend(const struct textmap *m, struct buf *error, const char *ours,
    size_t len, const char *theirs, bool utf8);

#endif
