/*
 * shape.h: the shape of a query string: its text without its literals.
 *
 * Two texts of one shape are parsed to the same tree but for the values of
 * literals (chapter 4.1 of the PostgreSQL manual).  Strings, numbers and
 * comments are replaced by a mark with their class; names, parameters ($1)
 * and white space stay.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SHAPE_H
#define PGW_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"

#define SHAPE_KEY_BYTES ((size_t)16 * 1024)
#define SHAPE_LITERALS ((size_t)8 * 1024)

struct shape {
	struct buf key; /* the normalised text */
	uint64_t hash;  /* of key */
	size_t n_literals;
	/*
	 * end[k]: where literal k ends in the text.  shift[k]: what turns a
	 * place in the key behind exactly k literals into a place in the
	 * text; shift[0] is 0.
	 */
	size_t *end;
	ptrdiff_t *shift;
};

/* A place in a key, the same for all texts of the shape. */
struct shape_place {
	size_t at;     /* in the key */
	size_t behind; /* number of literals before it */
};

void shape_init(struct shape *s);
void shape_free(struct shape *s);

/*
 * Fills *s from text.  False: a quote or comment is not closed, a rare
 * construct whose meaning depends on a literal's value is used, or a bound is
 * exceeded; such a text has no shape and *s is undefined.  text must be read
 * with standard_conforming_strings on.
 */
PGW_MUSTCHECK bool shape_scan(struct shape *s, const char *text, size_t len);

/* at: an offset in the text *s was made from, not inside a literal. */
struct shape_place shape_place(const struct shape *s, size_t at);

/* Where the place is in the text *s was made from. */
static inline size_t
shape_offset(const struct shape *s, struct shape_place p)
{
	return p.at + (size_t)s->shift[p.behind];
}

#endif
