/*
 * jsonw.c: JSON written as text at once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "jsonw.h"

#include <stdlib.h>
#include <string.h>

#include "jsonx.h"

#define MAX_DIGITS 20 /* of 64 bits, with a sign */

static const char lower[] = "0123456789abcdef";

/* Long text is escaped in pieces of so many bytes. */
#define PIECE ((size_t)4096)
/* At most what comes of n, and the rest of a character that begins there. */
#define ESCAPED(n) (6 * (n) + 4)

struct part {
	const void *data;
	size_t len;
};

static void
put_literal(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

/* What is complete ends with none of these. */
static bool
is_complete(const struct buf *b)
{
	char last = b->len == 0 ? '{' : (char)b->data[b->len - 1];

	return last != '{' && last != '[' && last != ':';
}

static void
separate(struct buf *b)
{
	if (is_complete(b))
		buf_put_u8(b, ',');
}

void
jsonw_open(struct buf *b, char bracket)
{
	separate(b);
	buf_put_u8(b, (uint8_t)bracket);
}

void
jsonw_close(struct buf *b, char bracket)
{
	buf_put_u8(b, (uint8_t)bracket);
}

void
jsonw_namen(struct buf *b, const char *name, size_t n)
{
	bool behind = is_complete(b);
	uint8_t *p = buf_reserve(b, n + 4);

	*p = ',';
	p += behind;
	*p++ = '"';
	memcpy(p, name, n);
	p[n] = '"';
	p[n + 1] = ':';
	b->len += n + 3 + behind;
}

/* --- text --- */

static bool
is_continuation(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

/*
 * Bytes of the character at p that is not ASCII; 0 if it is none of UTF-8:
 * too long a form, half of a pair, or above U+10FFFF.
 */
static size_t
utf8_bytes(const uint8_t *p, size_t n)
{
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		return n >= 2 && is_continuation(p[1]) ? 2 : 0;
	if (p[0] >= 0xe0 && p[0] <= 0xef) {
		if (n < 3 || !is_continuation(p[1]) || !is_continuation(p[2]) ||
		    (p[0] == 0xe0 && p[1] < 0xa0) ||
		    (p[0] == 0xed && p[1] >= 0xa0))
			return 0;
		return 3;
	}
	if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		if (n < 4 || !is_continuation(p[1]) || !is_continuation(p[2]) ||
		    !is_continuation(p[3]) || (p[0] == 0xf0 && p[1] < 0x90) ||
		    (p[0] == 0xf4 && p[1] >= 0x90))
			return 0;
		return 4;
	}
	return 0;
}

/* Writes what stands for the ASCII character c, not 0; returns behind it. */
static uint8_t *
put_ascii(uint8_t *to, uint8_t c)
{
	static const char upper[] = "0123456789ABCDEF";
	static const char from[] = "\"\\\b\f\n\r\t", short_[] = "\"\\bfnrt";
	const char *at;

	if (c >= ' ' && c != '"' && c != '\\') {
		*to++ = c;
		return to;
	}
	*to++ = '\\';
	at = strchr(from, c);
	if (at != NULL) {
		*to++ = (uint8_t)short_[at - from];
		return to;
	}
	memcpy(to, "u00", 3);
	to[3] = (uint8_t)upper[c >> 4];
	to[4] = (uint8_t)upper[c & 15];
	return to + 5;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Nothing in the eight bytes at p is escaped, or not ASCII. */
static bool
are_plain(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return (((w - EACH(' ')) | ((w ^ EACH('"')) - EACH(1)) |
		    ((w ^ EACH('\\')) - EACH(1)) | w) &
		   EACH(0x80)) == 0;
}

/* False, with some of it written, if a byte cannot stand in a JSON string. */
static bool
put_escaped(struct buf *b, const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t piece = n < PIECE ? n : PIECE, i, k;
		uint8_t *start = buf_reserve(b, ESCAPED(piece)), *to = start;

		for (i = 0; i < piece; i += k) {
			if (piece - i >= 8 && are_plain(p + i)) {
				k = 8;
				memcpy(to, p + i, k);
				to += k;
				continue;
			}
			k = p[i] < 0x80 ? p[i] != 0 : utf8_bytes(p + i, n - i);
			if (k == 0)
				return false;
			if (k == 1) {
				to = put_ascii(to, p[i]);
				continue;
			}
			memcpy(to, p + i, k);
			to += k;
		}
		b->len += (size_t)(to - start);
		p += i;
		n -= i;
	}
	return true;
}

static void
put_hex(struct buf *b, const uint8_t *p, size_t n)
{
	uint8_t *to = buf_reserve(b, 2 * n);

	for (size_t i = 0; i < n; i++) {
		*to++ = (uint8_t)lower[p[i] >> 4];
		*to++ = (uint8_t)lower[p[i] & 15];
	}
	b->len += 2 * n;
}

/* All parts with dots between them. */
static bool
put_string(struct buf *b, const struct part *parts, size_t n)
{
	bool ok = true;

	buf_put_u8(b, '"');
	for (size_t i = 0; i < n && ok; i++) {
		if (i > 0)
			buf_put_u8(b, '.');
		ok = put_escaped(b, parts[i].data, parts[i].len);
	}
	buf_put_u8(b, '"');
	return ok;
}

static void
put_text(struct buf *b, const struct part *parts, size_t n)
{
	size_t start;

	separate(b);
	start = b->len;
	if (put_string(b, parts, n))
		return;
	b->len = start;
	put_literal(b, "{\"hex\":\"");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			put_hex(b, (const uint8_t *)".", 1);
		put_hex(b, parts[i].data, parts[i].len);
	}
	put_literal(b, "\"}");
}

void
jsonw_textn(struct buf *b, const void *s, size_t n)
{
	const struct part part = { s, n };

	put_text(b, &part, 1);
}

void
jsonw_dotted(struct buf *b, const char *const *parts, size_t n)
{
	struct part all[JSONW_MAX_PARTS];

	for (size_t i = 0; i < n && i < JSONW_MAX_PARTS; i++)
		all[i] = (struct part){ parts[i], strlen(parts[i]) };
	put_text(b, all, n < JSONW_MAX_PARTS ? n : JSONW_MAX_PARTS);
}

void
jsonw_text(struct buf *b, const char *s)
{
	jsonw_textn(b, s, strlen(s));
}

void
jsonw_text_or_null(struct buf *b, const char *s)
{
	if (s == NULL || *s == '\0')
		jsonw_null(b);
	else
		jsonw_text(b, s);
}

/* --- the rest --- */

static void
put_digits(struct buf *b, uint64_t v)
{
	char digits[MAX_DIGITS], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	buf_put(b, p, (size_t)(digits + sizeof(digits) - p));
}

/* jansson's integers have a sign. */
void
jsonw_int(struct buf *b, uint64_t v)
{
	separate(b);
	if (v > INT64_MAX) {
		buf_put_u8(b, '-');
		v = -v;
	}
	put_digits(b, v);
}

void
jsonw_decimal(struct buf *b, uint64_t v)
{
	if (v == 0) {
		jsonw_null(b);
		return;
	}
	separate(b);
	buf_put_u8(b, '"');
	put_digits(b, v);
	buf_put_u8(b, '"');
}

void
jsonw_hash(struct buf *b, const struct merkle_hash *h)
{
	char *p;

	separate(b);
	p = (char *)buf_reserve(b, MERKLE_HEX_BYTES + 1);
	*p = '"';
	(void)merkle_hex(h, p + 1);
	p[MERKLE_HEX_BYTES] = '"'; /* where the NUL is */
	b->len += MERKLE_HEX_BYTES + 1;
}

void
jsonw_bool(struct buf *b, bool v)
{
	separate(b);
	put_literal(b, v ? "true" : "false");
}

void
jsonw_null(struct buf *b)
{
	separate(b);
	put_literal(b, "null");
}

/* Of what was not run nothing was measured: most are 0. */
void
jsonw_real(struct buf *b, double v)
{
	if (v > 0 || v < 0) {
		jsonw_value(b, json_real(v));
		return;
	}
	separate(b);
	put_literal(b, "0.0");
}

void
jsonw_value(struct buf *b, json_t *v)
{
	size_t len;
	char *text = jsonx_dump(v, &len);

	separate(b);
	buf_put(b, text, len);
	free(text);
	json_decref(v);
}
