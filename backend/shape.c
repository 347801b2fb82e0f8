/*
 * shape.c: the scanner that replaces literals in a query string.
 *
 * Follows PostgreSQL 15's scan.l.  Where that lexer reports an error, or
 * where two literals act on each other ('a' newline 'b', UESCAPE), the text
 * has no shape and the caller parses it.  Never reports an error itself,
 * allocates only the key.  Called by analyze.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "shape.h"

#define LITERAL_MARK 1 /* not a character of SQL outside quotes */
#define LITERAL_MARK_BYTES 2

struct scan {
	const unsigned char *text;
	size_t len;
	size_t at;         /* next byte to look at */
	size_t run;        /* first byte not yet in the key */
	bool after_string; /* the last token was a string */
	struct shape *shape;
};

void
shape_init(struct shape *s)
{
	memset(s, 0, sizeof(*s));
	/* Not cleared: hardly a text needs more than a page of each. */
	s->end = mem_alloc(SHAPE_LITERALS, sizeof(*s->end));
	s->shift = mem_alloc(SHAPE_LITERALS + 1, sizeof(*s->shift));
	s->shift[0] = 0;
}

void
shape_free(struct shape *s)
{
	buf_free(&s->key);
	free(s->end);
	free(s->shift);
}

static bool
is_digit(unsigned c)
{
	return c - '0' < 10;
}

static bool
is_word_start(unsigned c)
{
	return (c | 0x20) - 'a' < 26 || c == '_' || c >= 0x80;
}

static bool
is_word(unsigned c)
{
	return is_word_start(c) || is_digit(c) || c == '$';
}

/* The byte n behind the current one, 0 at the end. */
static unsigned
scan_peek(const struct scan *sc, size_t n)
{
	return n < sc->len - sc->at ? sc->text[sc->at + n] : 0;
}

/* The bytes from `from` to the current place are a literal of that class. */
static bool
scan_literal(struct scan *sc, size_t from, char class)
{
	struct shape *s = sc->shape;
	size_t k = s->n_literals;
	const unsigned char mark[LITERAL_MARK_BYTES] = { LITERAL_MARK,
		(unsigned char)class };

	if (k == SHAPE_LITERALS ||
	    s->key.len + (from - sc->run) > SHAPE_KEY_BYTES)
		return false;
	buf_put(&s->key, sc->text + sc->run, from - sc->run);
	buf_put(&s->key, mark, sizeof(mark));
	sc->run = sc->at;
	s->end[k] = sc->at;
	s->shift[k + 1] = (ptrdiff_t)sc->at - (ptrdiff_t)s->key.len;
	s->n_literals = k + 1;
	return true;
}

/* Moves behind the closing quote, doubled quotes skipped; at is behind the
 * opening one. */
static bool
scan_to_quote(struct scan *sc, unsigned char quote)
{
	for (;;) {
		const unsigned char *p = memchr(
		    sc->text + sc->at, quote, sc->len - sc->at);

		if (p == NULL)
			return false;
		sc->at = (size_t)(p - sc->text) + 1;
		if (scan_peek(sc, 0) != quote)
			return true;
		sc->at++;
	}
}

/* The same for E'...': \x, \u, \U and octal escapes may be errors. */
static bool
scan_to_quote_escaped(struct scan *sc)
{
	while (sc->at < sc->len) {
		unsigned c = sc->text[sc->at++];
		unsigned next = scan_peek(sc, 0);

		if (c == '\\') {
			if (next == 0 || next == 'x' || (next | 0x20) == 'u' ||
			    is_digit(next))
				return false;
			sc->at++;
		} else if (c == '\'') {
			if (next != '\'')
				return true;
			sc->at++;
		}
	}
	return false;
}

/* The same for B'...' and X'...': a quote cannot be doubled. */
static bool
scan_to_quote_plain(struct scan *sc)
{
	while (sc->at < sc->len)
		if (sc->text[sc->at++] == '\'')
			return true;
	return false;
}

static bool
scan_string_body(struct scan *sc, char class)
{
	if (class == 'e')
		return scan_to_quote_escaped(sc);
	if (class == 'b' || class == 'x')
		return scan_to_quote_plain(sc);
	return scan_to_quote(sc, '\'');
}

/* A string whose quote is `prefix` bytes ahead. */
static bool
scan_string(struct scan *sc, size_t prefix, char class)
{
	size_t from = sc->at;
	bool closed;

	/* A continuation line, or an error. */
	if (sc->after_string)
		return false;
	sc->at += prefix + 1;
	closed = scan_string_body(sc, class);
	sc->after_string = true;
	return closed && scan_literal(sc, from, class);
}

static bool
scan_word(struct scan *sc)
{
	unsigned c = scan_peek(sc, 0) | 0x20;
	unsigned next = scan_peek(sc, 1);

	if (next == '\'' && strchr("ebxn", (int)c) != NULL)
		return scan_string(sc, 1, (char)c);
	if (c == 'u' && next == '&')
		return false;
	while (is_word(scan_peek(sc, 0)))
		sc->at++;
	sc->after_string = false;
	return true;
}

static void
scan_digits(struct scan *sc)
{
	while (is_digit(scan_peek(sc, 0)))
		sc->at++;
}

/* ICONST or FCONST: the grammar tells them apart. */
static char
scan_integer_class(const struct scan *sc, size_t from)
{
	long long value = 0;

	for (size_t i = from; i < sc->at; i++) {
		value = value * 10 + (sc->text[i] - '0');
		if (value > INT_MAX)
			return 'f';
	}
	return 'i';
}

static bool
scan_exponent(struct scan *sc)
{
	if ((scan_peek(sc, 0) | 0x20) != 'e')
		return true;
	sc->at++;
	if (scan_peek(sc, 0) == '+' || scan_peek(sc, 0) == '-')
		sc->at++;
	if (!is_digit(scan_peek(sc, 0)))
		return false;
	scan_digits(sc);
	return true;
}

/*
 * A number with its sign: then a text without that has the same shape.  It is
 * one behind these, where the grammar takes any expression, if a space keeps it
 * from being an operator's last character.
 */
static bool
scan_is_signed_number(const struct scan *sc)
{
	unsigned next = scan_peek(sc, 1);
	size_t i = sc->at;

	if (!is_digit(next) && (next != '.' || !is_digit(scan_peek(sc, 2))))
		return false;
	while (i > 0 && sc->text[i - 1] == ' ')
		i--;
	return i > 0 &&
	       (sc->text[i - 1] == ',' ||
		   (i < sc->at && strchr("=+<>", sc->text[i - 1]) != NULL));
}

/* What binds tighter than a sign: a cast, a subscript, a field. */
static bool
scan_ends_signed(const struct scan *sc)
{
	size_t n = 0;
	unsigned c;

	while (scan_peek(sc, n) == ' ')
		n++;
	c = scan_peek(sc, n);
	return c == 0 || strchr(",)];+*%=<>", (int)c) != NULL ||
	       is_word_start(c);
}

/* With its sign, if that is part of it. */
static bool
scan_number(struct scan *sc)
{
	size_t from = sc->at, digits;
	bool is_signed = sc->text[from] == '-';
	bool real = false;
	char class = 'f';

	sc->after_string = false;
	sc->at += is_signed;
	digits = sc->at;
	scan_digits(sc);
	if (scan_peek(sc, 0) == '.') {
		if (scan_peek(sc, 1) == '.')
			return false;
		real = true;
		sc->at++;
		scan_digits(sc);
	}
	if (!real && (scan_peek(sc, 0) | 0x20) != 'e')
		class = scan_integer_class(sc, digits);
	if (!scan_exponent(sc) || is_word_start(scan_peek(sc, 0)))
		return false;
	if (is_signed && !scan_ends_signed(sc))
		from = digits;
	return scan_literal(sc, from, class);
}

static bool
scan_line_comment(struct scan *sc)
{
	size_t from = sc->at;

	while (sc->at < sc->len && sc->text[sc->at] != '\n' &&
	       sc->text[sc->at] != '\r')
		sc->at++;
	return scan_literal(sc, from, '-');
}

static bool
scan_block_comment(struct scan *sc)
{
	size_t from = sc->at;
	size_t level = 0;

	do {
		unsigned c = scan_peek(sc, 0);
		unsigned next = scan_peek(sc, 1);

		if (next == 0)
			return false;
		if (c == '/' && next == '*') {
			level++;
			sc->at++;
		} else if (c == '*' && next == '/') {
			level--;
			sc->at++;
		}
		sc->at++;
	} while (level > 0);
	return scan_literal(sc, from, '*');
}

/* At the first '$' of $tag$...$tag$. */
static bool
scan_dollar_quote(struct scan *sc)
{
	const unsigned char *tag = sc->text + sc->at;
	const unsigned char *close;
	size_t from = sc->at;
	size_t n = 1;

	if (is_word_start(scan_peek(sc, n)))
		while (is_word(scan_peek(sc, n)) && scan_peek(sc, n) != '$')
			n++;
	if (scan_peek(sc, n) != '$' || sc->after_string)
		return false;
	n++;
	close = memmem(tag + n, sc->len - from - n, tag, n);
	if (close == NULL)
		return false;
	sc->at = (size_t)(close - sc->text) + n;
	sc->after_string = true;
	return scan_literal(sc, from, '$');
}

static bool
scan_dollar(struct scan *sc)
{
	if (!is_digit(scan_peek(sc, 1)))
		return scan_dollar_quote(sc);
	sc->after_string = false;
	sc->at++;
	scan_digits(sc);
	return !is_word_start(scan_peek(sc, 0));
}

static bool
scan_quoted_name(struct scan *sc)
{
	sc->after_string = false;
	sc->at++;
	return scan_to_quote(sc, '"');
}

static bool
scan_other(struct scan *sc, unsigned c)
{
	bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r' ||
		     c == '\f';

	sc->at++;
	if (!space)
		sc->after_string = false;
	return space || c > ' ';
}

static bool
scan_token(struct scan *sc)
{
	unsigned c = sc->text[sc->at];
	unsigned next = scan_peek(sc, 1);

	if (is_word_start(c))
		return scan_word(sc);
	/* One token, so that a number may begin behind both. */
	if (c == '.' && next == '.')
		return false;
	if (is_digit(c) || (c == '.' && is_digit(next)))
		return scan_number(sc);
	if (c == '-' && scan_is_signed_number(sc))
		return scan_number(sc);
	if (c == '\'')
		return scan_string(sc, 0, 's');
	if (c == '"')
		return scan_quoted_name(sc);
	if (c == '$')
		return scan_dollar(sc);
	if (c == '-' && next == '-')
		return scan_line_comment(sc);
	if (c == '/' && next == '*')
		return scan_block_comment(sc);
	return scan_other(sc, c);
}

static uint64_t
shape_hash(const struct buf *key)
{
	uint64_t h = key->len;
	size_t i;

	for (i = 0; i + 8 <= key->len; i += 8) {
		uint64_t word;

		memcpy(&word, key->data + i, 8);
		h = (h ^ word) * 0x9E3779B97F4A7C15u;
		h ^= h >> 32;
	}
	for (; i < key->len; i++)
		h = (h ^ key->data[i]) * 0x100000001B3u;
	return h ^ (h >> 29);
}

bool
shape_scan(struct shape *s, const char *text, size_t len)
{
	struct scan sc = {
		.text = (const unsigned char *)text, .len = len, .shape = s
	};

	buf_reset(&s->key);
	s->n_literals = 0;
	while (sc.at < len)
		if (!scan_token(&sc))
			return false;
	if (s->key.len + (len - sc.run) > SHAPE_KEY_BYTES)
		return false;
	buf_put(&s->key, sc.text + sc.run, len - sc.run);
	s->hash = shape_hash(&s->key);
	return true;
}

struct shape_place
shape_place(const struct shape *s, size_t at)
{
	size_t low = 0;
	size_t high = s->n_literals;
	struct shape_place p;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->end[mid] <= at)
			low = mid + 1;
		else
			high = mid;
	}
	p.behind = low;
	p.at = at - (size_t)s->shift[low];
	return p;
}
