/*
 * jsonw.h: JSON written as text at once, byte for byte what jansson's compact
 * form of the same values is, for the lines that each transaction has.
 *
 * A value that follows another one gets its comma by itself: the byte before
 * says whether there is one.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_JSONW_H
#define PGW_JSONW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "buf.h"
#include "merkle.h"

/* '{' or '[', and the other half. */
void jsonw_open(struct buf *b, char bracket);
void jsonw_close(struct buf *b, char bracket);

/* A member's name, of ours: nothing in it is escaped. */
void jsonw_namen(struct buf *b, const char *name, size_t n);
static inline void
jsonw_name(struct buf *b, const char *name)
{
	jsonw_namen(b, name, strlen(name));
}

/* Text from outside: {"hex"} if it is not UTF-8 or has a NUL (jsonx_textn). */
void jsonw_text(struct buf *b, const char *s);
void jsonw_textn(struct buf *b, const void *s, size_t n);
/* One text of all parts, with dots between them. */
#define JSONW_MAX_PARTS 3
void jsonw_dotted(struct buf *b, const char *const *parts, size_t n);
/* null for NULL or "". */
void jsonw_text_or_null(struct buf *b, const char *s);

void jsonw_int(struct buf *b, uint64_t v);
/* Decimal string; null for 0. */
void jsonw_decimal(struct buf *b, uint64_t v);
void jsonw_hash(struct buf *b, const struct merkle_hash *h);
void jsonw_bool(struct buf *b, bool v);
void jsonw_null(struct buf *b);
void jsonw_real(struct buf *b, double v);

/* A value of jansson's, taken over. */
void jsonw_value(struct buf *b, json_t *v);

#endif
