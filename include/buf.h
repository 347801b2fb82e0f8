/*
 * buf.h: a growable byte buffer, and a bounds-checked reader over bytes.
 *
 * Numbers are big-endian, as in the PostgreSQL protocol and in the state
 * commitment.  Running out of memory here ends the process (log_fatal): the
 * callers bound what they put in.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BUF_H
#define PGW_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "attr.h"

struct buf {
	uint8_t *data;
	size_t len;		/* bytes in use */
	size_t cap;		/* bytes allocated */
};

void buf_free(struct buf *b);
static inline void
buf_reset(struct buf *b)
{
	b->len = 0;
}

/* Makes room for n more bytes and returns where they go; len is unchanged. */
uint8_t *buf_grow(struct buf *b, size_t n);
static inline uint8_t *
buf_reserve(struct buf *b, size_t n)
{
	if (b->data != NULL && n <= b->cap - b->len)
		return b->data + b->len;
	return buf_grow(b, n);
}

/* Removes the first n bytes. */
void buf_consume(struct buf *b, size_t n);

static inline void
buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(buf_reserve(b, n), p, n);
	b->len += n;
}
static inline void
buf_put_u8(struct buf *b, uint8_t v)
{
	*buf_reserve(b, 1) = v;
	b->len++;
}
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_str(struct buf *b, const char *s);		/* no NUL */
void buf_put_cstr(struct buf *b, const char *s);	/* with its NUL */
void buf_put_maybe(struct buf *b, const char *s);	/* s or NULL */
void buf_put_lp(struct buf *b, const void *p, size_t n); /* u32 n, bytes */
void buf_printf(struct buf *b, const char *fmt, ...) PGW_PRINTF(2, 3);

/* Overwrites four bytes at offset, which must be inside len. */
void buf_set_u32(struct buf *b, size_t offset, uint32_t v);

/*
 * Reader.  After a read past the end `bad` is set and every further read gives
 * zero or NULL: check once, at the end.
 */
struct rd {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

static inline struct rd
rd_init(const void *p, size_t n)
{
	/* No bytes may come as NULL. */
	struct rd r = { p, n > 0 ? (const uint8_t *)p + n : p, false };
	return r;
}
static inline size_t
rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
/* n bytes inside the input, not copied; NULL and bad if there are fewer. */
const uint8_t *rd_bytes(struct rd *r, size_t n);
/* A NUL-terminated string inside the input; NULL and bad without a NUL. */
const char *rd_cstr(struct rd *r);
/* What buf_put_maybe wrote. */
const char *rd_maybe(struct rd *r);
/* What buf_put_lp wrote. */
const uint8_t *rd_lp(struct rd *r, size_t *n);

/* The same numbers for bytes in place. */
static inline uint16_t
get_u16(const uint8_t *p)
{
	return (uint16_t)((p[0] << 8) | p[1]);
}
static inline uint32_t
get_u32(const uint8_t *p)
{
	return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) |
	    ((uint32_t)p[2] << 8) | (uint32_t)p[3];
}

#endif
