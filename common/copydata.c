/*
 * copydata.c: the data of COPY FROM as rows and fields.
 *
 * A line is cut first, then its fields, in two passes as PostgreSQL does: what
 * ends a line does not depend on what its fields are.  Owns the reader's
 * scratch; it never holds more than one line.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "copydata.h"

#include <string.h>

static const uint8_t signature[11] = "PGCOPY\n\377\r\n";

/* A flag of the binary header that a reader must understand; none is known. */
#define CRITICAL_FLAGS 0xffff0000u

void
copydata_defaults(struct copydata_options *o, enum copydata_format format)
{
	memset(o, 0, sizeof(*o));
	o->format = format;
	o->delimiter = format == COPYDATA_CSV ? ',' : '\t';
	o->null = format == COPYDATA_CSV ? "" : "\\N";
	o->quote = o->escape = '"';
}

void
copydata_open(struct copydata *c, const struct copydata_options *o,
    const void *data, size_t len)
{
	memset(c, 0, sizeof(*c));
	c->options = o;
	c->p = data;
	c->end = c->p + len;
}

void
copydata_close(struct copydata *c)
{
	buf_free(&c->scratch);
}

/* --- lines of text and CSV --- */

struct line {
	const uint8_t *p, *end;
};

/* At a '\r' or '\n' outside quotes: takes it; false: of another style. */
static bool
take_eol(struct copydata *c)
{
	if (*c->p++ == '\n') {
		if (c->eol == COPYDATA_EOL_UNKNOWN)
			c->eol = COPYDATA_LF;
		return c->eol == COPYDATA_LF;
	}
	if (c->eol == COPYDATA_LF)
		return false;
	if (c->eol == COPYDATA_CR)
		return true;
	if (c->p < c->end && *c->p == '\n') {
		c->p++;
		c->eol = COPYDATA_CRLF;
		return true;
	}
	if (c->eol == COPYDATA_CRLF)
		return false;
	c->eol = COPYDATA_CR;
	return true;
}

/* What follows "\." must be a newline of the file's style. */
static bool
marker_is_whole(const struct copydata *c, const uint8_t *after)
{
	size_t left = (size_t)(c->end - after);

	switch (c->eol) {
	case COPYDATA_LF:
		return left > 0 && after[0] == '\n';
	case COPYDATA_CR:
		return left > 0 && after[0] == '\r';
	case COPYDATA_CRLF:
		return left > 1 && after[0] == '\r' && after[1] == '\n';
	case COPYDATA_EOL_UNKNOWN:
	default:
		return left > 0 && (after[0] == '\r' || after[0] == '\n');
	}
}

static enum copydata_answer
end_of_line(struct copydata *c, struct line *line)
{
	line->end = c->p;
	if (c->p < c->end)
		return take_eol(c) ? COPYDATA_ROW : COPYDATA_BAD;
	c->ended = true;
	return line->end > line->p ? COPYDATA_ROW : COPYDATA_END;
}

/* "\." ends the data; what stands before it on its line is a row. */
static enum copydata_answer
end_of_data(struct copydata *c, struct line *line)
{
	line->end = c->p;
	c->ended = true;
	return line->end > line->p ? COPYDATA_ROW : COPYDATA_END;
}

static enum copydata_answer
text_line(struct copydata *c, struct line *line)
{
	line->p = c->p;
	for (; c->p < c->end && *c->p != '\n' && *c->p != '\r'; c->p++) {
		if (*c->p != '\\' || c->end - c->p == 1)
			continue;
		if (c->p[1] == '.')
			return marker_is_whole(c, c->p + 2)
				   ? end_of_data(c, line)
				   : COPYDATA_BAD;
		c->p++; /* whatever it is, a newline too */
	}
	return end_of_line(c, line);
}

/* Quotes are counted as PostgreSQL counts them, not as fields have them. */
static enum copydata_answer
csv_line(struct copydata *c, struct line *line)
{
	char quote = c->options->quote, escape = c->options->escape;
	bool quoted = false, escaped = false;

	if (quote == escape)
		escape = '\0';
	line->p = c->p;
	if (c->end - c->p > 1 && c->p[0] == '\\' && c->p[1] == '.' &&
	    marker_is_whole(c, c->p + 2))
		return end_of_data(c, line);
	for (; c->p < c->end; c->p++) {
		char ch = (char)*c->p;

		if (quoted && ch == escape)
			escaped = !escaped;
		if (ch == quote && !escaped)
			quoted = !quoted;
		if (ch != escape)
			escaped = false;
		if ((ch == '\n' || ch == '\r') && !quoted)
			break;
	}
	return end_of_line(c, line);
}

static enum copydata_answer
next_line(struct copydata *c, struct line *line)
{
	return c->options->format == COPYDATA_CSV ? csv_line(c, line)
						  : text_line(c, line);
}

/* --- fields of a line --- */

/* A line on its way into fields. */
struct split {
	struct copydata *c;
	struct line line;
	uint8_t *out; /* scratch: room for all of the line */
	struct rowenc_value *fields;
	size_t n, max;
};

static bool
is_null_text(const struct split *s, const uint8_t *p, size_t len)
{
	const char *null = s->c->options->null;

	return len == strlen(null) && memcmp(p, null, len) == 0;
}

static int
digit(uint8_t ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	return ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : 16;
}

/* At most max digits of a base; none: *p stays, and so does the letter. */
static uint8_t
number(const uint8_t **p, const uint8_t *end, int base, int max, uint8_t letter)
{
	unsigned value = 0;
	int n = 0;

	for (; n < max && *p < end && digit(**p) < base; n++)
		value = value * (unsigned)base + (unsigned)digit(*(*p)++);
	return n == 0 ? letter : (uint8_t)value;
}

/* What stands behind a backslash. */
static uint8_t
unescape(struct line *l)
{
	static const char letters[] = "bfnrtv", values[] = "\b\f\n\r\t\v";
	uint8_t ch = *l->p;
	const char *at = ch == '\0' ? NULL : strchr(letters, ch);

	if (ch >= '0' && ch <= '7')
		return number(&l->p, l->end, 8, 3, ch);
	l->p++;
	if (ch == 'x')
		return number(&l->p, l->end, 16, 2, ch);
	return at != NULL ? (uint8_t)values[at - letters] : ch;
}

/* True: there is another field behind this one. */
static bool
text_field(struct split *s, struct rowenc_value *v)
{
	struct line *l = &s->line;
	const uint8_t *start = l->p, *end;
	uint8_t delimiter = (uint8_t)s->c->options->delimiter;
	bool more = false;

	v->data = s->out;
	for (end = l->p; l->p < l->end; end = l->p) {
		uint8_t ch = *l->p++;

		if (ch == delimiter) {
			more = true;
			break;
		}
		if (ch == '\\' && l->p == l->end)
			break;
		*s->out++ = ch == '\\' ? unescape(l) : ch;
	}
	v->len = (size_t)(s->out - v->data);
	if (is_null_text(s, start, (size_t)(end - start)))
		*v = (struct rowenc_value){ NULL, 0 };
	return more;
}

/* The part of a field between quotes; false: it does not end. */
static bool
csv_quoted(struct split *s)
{
	uint8_t quote = (uint8_t)s->c->options->quote;
	uint8_t escape = (uint8_t)s->c->options->escape;
	struct line *l = &s->line;

	while (l->p < l->end) {
		uint8_t ch = *l->p++;

		if (ch == escape && l->p < l->end &&
		    (*l->p == escape || *l->p == quote))
			ch = *l->p++;
		else if (ch == quote)
			return true;
		*s->out++ = ch;
	}
	return false;
}

/* NULL by the rules of FORCE_NULL and FORCE_NOT_NULL for field number n. */
static void
csv_force(const struct split *s, size_t n, struct rowenc_value *v)
{
	const struct copydata_options *o = s->c->options;

	if (v->data == NULL && o->force_not_null != NULL &&
	    o->force_not_null[n]) {
		v->data = (const uint8_t *)o->null;
		v->len = strlen(o->null);
	} else if (v->data != NULL && o->force_null != NULL &&
		   o->force_null[n] && is_null_text(s, v->data, v->len)) {
		*v = (struct rowenc_value){ NULL, 0 };
	}
}

/* *more: there is another field; false: a quote is not closed. */
static bool
csv_field(struct split *s, struct rowenc_value *v, bool *more)
{
	struct line *l = &s->line;
	const uint8_t *start = l->p, *end;
	uint8_t delimiter = (uint8_t)s->c->options->delimiter;
	uint8_t quote = (uint8_t)s->c->options->quote;
	bool quoted = false;

	*more = false;
	v->data = s->out;
	for (end = l->p; l->p < l->end; end = l->p) {
		uint8_t ch = *l->p++;

		if (ch == delimiter) {
			*more = true;
			break;
		}
		if (ch != quote) {
			*s->out++ = ch;
			continue;
		}
		quoted = true;
		if (!csv_quoted(s))
			return false;
	}
	v->len = (size_t)(s->out - v->data);
	if (!quoted && is_null_text(s, start, (size_t)(end - start)))
		*v = (struct rowenc_value){ NULL, 0 };
	csv_force(s, s->n, v);
	return true;
}

static enum copydata_answer
split_line(struct split *s)
{
	bool more = true;

	for (s->n = 0; more; s->n++) {
		struct rowenc_value *v = &s->fields[s->n];

		if (s->n == s->max)
			return COPYDATA_BAD;
		if (s->c->options->format == COPYDATA_TEXT)
			more = text_field(s, v);
		else if (!csv_field(s, v, &more))
			return COPYDATA_BAD;
	}
	return COPYDATA_ROW;
}

static enum copydata_answer
line_row(struct copydata *c, struct rowenc_value *fields, size_t max, size_t *n)
{
	struct split s = { .c = c, .fields = fields, .max = max };
	enum copydata_answer a = COPYDATA_ROW;

	if (!c->started && c->options->header)
		a = next_line(c, &s.line);
	c->started = true;
	if (a == COPYDATA_ROW)
		a = c->ended ? COPYDATA_END : next_line(c, &s.line);
	if (a != COPYDATA_ROW)
		return a;
	/* One byte more, so that an empty field has an address. */
	buf_reset(&c->scratch);
	s.out = buf_reserve(&c->scratch, (size_t)(s.line.end - s.line.p) + 1);
	a = split_line(&s);
	*n = s.n;
	return a;
}

/* --- binary --- */

static bool
binary_header(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, sizeof(signature));
	uint32_t flags = rd_u32(r), extension = rd_u32(r);

	if (p == NULL || memcmp(p, signature, sizeof(signature)) != 0 ||
	    (flags & CRITICAL_FLAGS) != 0 || extension > INT32_MAX)
		return false;
	(void)rd_bytes(r, extension);
	return !r->bad;
}

static enum copydata_answer
binary_fields(struct rd *r, struct rowenc_value *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t len = rd_u32(r);

		fields[i] = (struct rowenc_value){ NULL, 0 };
		if (len == UINT32_MAX)
			continue;
		fields[i].data = rd_bytes(r, len);
		fields[i].len = len;
	}
	return r->bad ? COPYDATA_BAD : COPYDATA_ROW;
}

static enum copydata_answer
binary_row(
    struct copydata *c, struct rowenc_value *fields, size_t max, size_t *n)
{
	struct rd r = rd_init(c->p, (size_t)(c->end - c->p));
	enum copydata_answer a;

	if (!c->started && !binary_header(&r))
		return COPYDATA_BAD;
	c->started = true;
	c->p = r.p;
	/* Half a count is the end as well, as CopyGetInt16() has it. */
	if (rd_left(&r) < 2)
		return COPYDATA_END;
	*n = rd_u16(&r);
	if (*n == UINT16_MAX)
		return rd_left(&r) == 0 ? COPYDATA_END : COPYDATA_BAD;
	if (*n > max)
		return COPYDATA_BAD;
	a = binary_fields(&r, fields, *n);
	c->p = r.p;
	return a;
}

enum copydata_answer
copydata_row(
    struct copydata *c, struct rowenc_value *fields, size_t max, size_t *n)
{
	enum copydata_answer a = COPYDATA_END;

	*n = 0;
	if (!c->ended)
		a = c->options->format == COPYDATA_BINARY
			? binary_row(c, fields, max, n)
			: line_row(c, fields, max, n);
	c->ended = c->ended || a != COPYDATA_ROW;
	return a;
}
