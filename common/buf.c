/*
 * buf.c: a growable byte buffer, and a bounds-checked reader over bytes.
 *
 * Owns nothing but the buffer's memory.  Numbers are big-endian.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "log.h"

#define BUF_MIN_BYTES ((size_t)256)

void
buf_free(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = 0;
	b->cap = 0;
}

uint8_t *
buf_grow(struct buf *b, size_t n)
{
	size_t cap = b->cap < BUF_MIN_BYTES ? BUF_MIN_BYTES : b->cap;
	uint8_t *data;

	if (n > SIZE_MAX / 4 - b->len)
		log_fatal(
		    "out_of_memory", "buffer of %zu bytes is too large", n);
	while (cap < b->len + n)
		cap *= 2;
	data = realloc(b->data, cap);
	if (data == NULL)
		log_fatal("out_of_memory",
		    "out of memory for a buffer of %zu bytes", cap);
	b->data = data;
	b->cap = cap;
	return b->data + b->len;
}

void
buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

static void
put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

void
buf_put_u16(struct buf *b, uint16_t v)
{
	uint8_t bytes[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	buf_put(b, bytes, sizeof(bytes));
}

void
buf_put_u32(struct buf *b, uint32_t v)
{
	put_u32(buf_reserve(b, 4), v);
	b->len += 4;
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
	buf_put_u32(b, (uint32_t)(v >> 32));
	buf_put_u32(b, (uint32_t)v);
}

void
buf_put_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void
buf_put_cstr(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s) + 1);
}

void
buf_put_maybe(struct buf *b, const char *s)
{
	buf_put_u8(b, s != NULL);
	if (s != NULL)
		buf_put_cstr(b, s);
}

void
buf_put_lp(struct buf *b, const void *p, size_t n)
{
	if (n > UINT32_MAX)
		log_fatal(
		    "buffer_limit", "%zu bytes do not fit a 32-bit length", n);
	buf_put_u32(b, (uint32_t)n);
	buf_put(b, p, n);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	size_t room = BUF_MIN_BYTES;
	va_list ap;
	int n;

	for (;;) {
		uint8_t *at = buf_reserve(b, room);

		va_start(ap, fmt);
		n = vsnprintf((char *)at, room, fmt, ap);
		va_end(ap);
		if (n < 0)
			log_fatal("internal_error", "cannot format a text");
		if ((size_t)n < room)
			break;
		room = (size_t)n + 1;
	}
	b->len += (size_t)n;
}

void
buf_set_u32(struct buf *b, size_t offset, uint32_t v)
{
	if (b->len < 4 || offset > b->len - 4)
		log_fatal("internal_error",
		    "offset %zu is outside a buffer of %zu bytes", offset,
		    b->len);
	put_u32(b->data + offset, v);
}

const uint8_t *
rd_bytes(struct rd *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || n > rd_left(r)) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	return p;
}

uint8_t
rd_u8(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 1);

	return p == NULL ? 0 : p[0];
}

uint16_t
rd_u16(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 2);

	return p == NULL ? 0 : get_u16(p);
}

uint32_t
rd_u32(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 4);

	return p == NULL ? 0 : get_u32(p);
}

uint64_t
rd_u64(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 8);

	if (p == NULL)
		return 0;
	return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

const char *
rd_cstr(struct rd *r)
{
	const uint8_t *start = r->p;
	const uint8_t *nul;

	nul = r->bad || rd_left(r) == 0 ? NULL : memchr(start, 0, rd_left(r));
	if (nul == NULL) {
		r->bad = true;
		return NULL;
	}
	r->p = nul + 1;
	return (const char *)start;
}

const char *
rd_maybe(struct rd *r)
{
	uint8_t there = rd_u8(r);

	if (there > 1)
		r->bad = true;
	return there == 1 ? rd_cstr(r) : NULL;
}

const uint8_t *
rd_lp(struct rd *r, size_t *n)
{
	uint32_t len = rd_u32(r);
	const uint8_t *p = rd_bytes(r, len);

	*n = p == NULL ? 0 : len;
	return p;
}
