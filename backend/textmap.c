/*
 * textmap.c: which bytes of a text of ours are the client's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "textmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "wire.h"

void
textmap_add(struct textmap *m, struct textmap_piece piece)
{
	if (m->n == m->cap) {
		m->cap = m->cap == 0 ? 16 : 2 * m->cap;
		m->pieces = mem_realloc(m->pieces, m->cap, sizeof(*m->pieces));
	}
	m->pieces[m->n++] = piece;
}

void
textmap_free(struct textmap *m)
{
	free(m->pieces);
}

static bool
begins_character(char c, bool utf8)
{
	return !utf8 || ((unsigned char)c & 0xC0) != 0x80;
}

/* The byte at which character number `position` (from 1) begins; len if there
 * is none. */
static size_t
byte_at(const char *text, size_t len, size_t position, bool utf8)
{
	size_t i = 0;

	for (; i < len; i++)
		if (begins_character(text[i], utf8) && --position == 0)
			break;
	return i;
}

static size_t
position_of(const char *text, size_t byte, bool utf8)
{
	size_t position = 1;

	for (size_t i = 0; i < byte; i++)
		position += begins_character(text[i + 1], utf8);
	return position;
}

static const struct textmap_piece *
piece_at(const struct textmap *m, size_t byte)
{
	for (size_t i = 0; i < m->n; i++)
		if (byte >= m->pieces[i].ours &&
		    byte - m->pieces[i].ours < m->pieces[i].len)
			return &m->pieces[i];
	return NULL;
}

/* The message again, with another value for that field. */
static void
replace(struct buf *error, const char *field, const char *value)
{
	size_t from = (size_t)((const uint8_t *)field - error->data);
	size_t behind = from + strlen(field);
	struct buf b = { 0 };

	buf_put(&b, error->data, from);
	buf_put_str(&b, value);
	buf_put(&b, error->data + behind, error->len - behind);
	buf_set_u32(&b, 1, (uint32_t)(b.len - 1));
	buf_free(error);
	*error = b;
}

void
textmap_mend(const struct textmap *m, struct buf *error, const char *ours,
    size_t len, const char *theirs, bool utf8)
{
	const struct message message = { .body = error->data + 5,
		.len = error->len - 5 };
	const char *field = wire_error_field(&message, 'P');
	size_t position = (size_t)strtoul(field, NULL, 10), byte;
	const struct textmap_piece *p;
	char value[24];

	if (position == 0)
		return;
	byte = byte_at(ours, len, position, utf8);
	p = piece_at(m, byte);
	if (p == NULL)
		return;
	byte = p->theirs + (p->copied ? byte - p->ours : 0);
	snprintf(value, sizeof(value), "%zu", position_of(theirs, byte, utf8));
	replace(error, field, value);
}
