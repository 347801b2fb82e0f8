/*
 * scrub.c: drops the literals of a statement, without parsing it.
 *
 * Lexical rules of the manual, chapter 4.1.  Whether a backslash escapes in
 * '...' depends on standard_conforming_strings, which is not known here, so a
 * constant with a backslash in it takes the rest of the statement with it:
 * too little text rather than a literal.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "scrub.h"

#include <stdbool.h>
#include <string.h>

struct scanner {
	const char *p;
	const char *end;
	struct buf *out;
};

static bool
is_identifier(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_' || (unsigned char)c >= 0x80;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
looking_at(const struct scanner *s, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(s->end - s->p) >= n && memcmp(s->p, text, n) == 0;
}

/* 'it''s': p is at the first quote. */
static void
skip_string(struct scanner *s)
{
	buf_put_u8(s->out, '?');
	for (s->p++; s->p < s->end; s->p++) {
		if (*s->p == '\\') {
			s->p = s->end;
			return;
		}
		if (*s->p != '\'')
			continue;
		s->p++;
		if (s->p == s->end || *s->p != '\'')
			return;
	}
}

/* $tag$...$tag$; false if p is not at the start of one. */
static bool
skip_dollar_string(struct scanner *s)
{
	const char *tag_end = s->p + 1;
	const char *close;
	size_t tag;

	while (tag_end < s->end && is_identifier(*tag_end))
		tag_end++;
	if (tag_end == s->end || *tag_end != '$' || is_digit(s->p[1]))
		return false;
	tag = (size_t)(tag_end + 1 - s->p);
	close = memmem(s->p + tag, (size_t)(s->end - s->p) - tag, s->p, tag);
	s->p = close == NULL ? s->end : close + tag;
	buf_put_u8(s->out, '?');
	return true;
}

static void
skip_comment(struct scanner *s)
{
	const char *close;
	unsigned depth = 0;

	if (s->p[0] == '-') {
		close = memchr(s->p, '\n', (size_t)(s->end - s->p));
		s->p = close == NULL ? s->end : close;
		return;
	}
	do
		if (looking_at(s, "/*")) {
			depth++;
			s->p += 2;
		} else if (looking_at(s, "*/")) {
			depth--;
			s->p += 2;
		} else
			s->p++;
	while (depth > 0 && s->p < s->end);
	buf_put_u8(s->out, ' ');
}

/* 1, 1.5e-3, 0x1f, and $1, which is kept. */
static void
skip_number(struct scanner *s)
{
	buf_put_u8(s->out, '?');
	while (s->p < s->end && (is_identifier(*s->p) || *s->p == '.' ||
				    ((*s->p == '+' || *s->p == '-') &&
					(s->p[-1] == 'e' || s->p[-1] == 'E'))))
		s->p++;
}

static void
copy_quoted_identifier(struct scanner *s)
{
	const char *close = memchr(s->p + 1, '"', (size_t)(s->end - s->p) - 1);
	const char *next = close == NULL ? s->end : close + 1;

	buf_put(s->out, s->p, (size_t)(next - s->p));
	s->p = next;
}

/* An identifier or keyword, but not the e of e'...'. */
static void
copy_word(struct scanner *s)
{
	const char *start = s->p;

	while (s->p < s->end && (is_identifier(*s->p) || *s->p == '$'))
		s->p++;
	if (s->p == s->end || *s->p != '\'' || s->p - start > 1)
		buf_put(s->out, start, (size_t)(s->p - start));
}

static void
copy_parameter(struct scanner *s)
{
	do
		buf_put_u8(s->out, (uint8_t)*s->p++);
	while (s->p < s->end && is_digit(*s->p));
}

static void
scrub_one(struct scanner *s)
{
	bool more = s->p + 1 < s->end;

	if (*s->p == '\'')
		skip_string(s);
	else if (*s->p == '"')
		copy_quoted_identifier(s);
	else if (looking_at(s, "--") || looking_at(s, "/*"))
		skip_comment(s);
	else if (is_digit(*s->p) || (*s->p == '.' && more && is_digit(s->p[1])))
		skip_number(s);
	else if (is_identifier(*s->p))
		copy_word(s);
	else if (*s->p == '$') {
		if (!more || !skip_dollar_string(s))
			copy_parameter(s);
	} else
		buf_put_u8(s->out, (uint8_t)*s->p++);
}

void
scrub_literals(const char *sql, size_t len, struct buf *out)
{
	struct scanner s = { sql, sql + len, out };

	while (s.p < s.end)
		scrub_one(&s);
}
