/*
 * checkpoint.c: text and signature of the evidence log's head.
 *
 * Formats only; when to sign, and that the tree follows from the last one
 * signed, is evidence.c's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ioutil.h"

#define SIGNATURE_MARK "\xe2\x80\x94 " /* em dash, space */
#define SIGNATURE_MARK_BYTES 4
#define SIGNED_BYTES (KEY_ID_BYTES + KEY_SIGNATURE_BYTES)
#define MAX_CHECKPOINT 65536

static void
put_signature(
    const struct buf *text, const struct key_signer *k, struct buf *out)
{
	uint8_t sig[SIGNED_BYTES];

	memcpy(sig, k->public.id, KEY_ID_BYTES);
	key_sign(k, text->data, text->len, sig + KEY_ID_BYTES);
	buf_printf(out, SIGNATURE_MARK "%s ", k->public.name);
	key_base64(sig, sizeof(sig), out);
	buf_put_u8(out, '\n');
}

void
checkpoint_put_both(const struct checkpoint *c, const struct key_signer *k,
    const struct key_signer *next, struct buf *out)
{
	struct buf text = { 0 };

	buf_printf(&text, "%s\n%" PRIu64 "\n", c->origin, c->size);
	key_base64(c->root.b, sizeof(c->root.b), &text);
	buf_put_u8(&text, '\n');
	buf_put(out, text.data, text.len);
	buf_put_u8(out, '\n');
	put_signature(&text, k, out);
	if (next != NULL)
		put_signature(&text, next, out);
	buf_free(&text);
}

void
checkpoint_put(
    const struct checkpoint *c, const struct key_signer *k, struct buf *out)
{
	checkpoint_put_both(c, k, NULL, out);
}

/* One line without its newline; false at the end. */
static bool
next_line(struct rd *r, const char **line, size_t *len)
{
	const uint8_t *end = rd_left(r) == 0 ? NULL
					     : memchr(r->p, '\n', rd_left(r));

	if (end == NULL)
		return false;
	*line = (const char *)r->p;
	*len = (size_t)(end - r->p);
	r->p = end + 1;
	return true;
}

/* A decimal number without sign, leading zero or surplus. */
static bool
parse_size(const char *p, size_t len, uint64_t *out)
{
	uint64_t v = 0;

	if (len == 0 || len > 19 || (len > 1 && p[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	*out = v;
	return true;
}

/* The signed lines; further ones (extensions) may follow. */
static bool
parse_text(const void *text, size_t len, struct checkpoint *c)
{
	struct rd r = rd_init(text, len);
	const char *line;
	size_t n;

	if (!next_line(&r, &line, &n) || n == 0 || n >= sizeof(c->origin))
		return false;
	memcpy(c->origin, line, n);
	c->origin[n] = '\0';
	if (!next_line(&r, &line, &n) || !parse_size(line, n, &c->size))
		return false;
	return next_line(&r, &line, &n) &&
	       key_unbase64(line, n, c->root.b, sizeof(c->root.b));
}

bool
checkpoint_parse_text(const void *text, size_t len, struct checkpoint *c)
{
	return parse_text(text, len, c);
}

enum signature { SIGNATURE_GOOD, SIGNATURE_WRONG, SIGNATURE_OTHER };

/* `line` is "— NAME base64"; signatures of unknown keys are passed over. */
static enum signature
check_signature(const char *line, size_t len, const void *text, size_t text_len,
    const struct key_public *k)
{
	size_t name = strlen(k->name);
	size_t head = SIGNATURE_MARK_BYTES + name + 1;
	uint8_t sig[SIGNED_BYTES];

	if (len <= head ||
	    memcmp(line, SIGNATURE_MARK, SIGNATURE_MARK_BYTES) != 0 ||
	    memcmp(line + SIGNATURE_MARK_BYTES, k->name, name) != 0 ||
	    line[head - 1] != ' ')
		return SIGNATURE_OTHER;
	if (!key_unbase64(line + head, len - head, sig, sizeof(sig)) ||
	    memcmp(sig, k->id, KEY_ID_BYTES) != 0)
		return SIGNATURE_OTHER;
	return key_verify(k, text, text_len, sig + KEY_ID_BYTES)
		   ? SIGNATURE_GOOD
		   : SIGNATURE_WRONG;
}

static enum signature
check_signatures(const void *text, size_t text_len, struct rd signatures,
    const struct key_public *keys, size_t n_keys)
{
	enum signature result = SIGNATURE_OTHER;
	const char *line;
	size_t len;

	while (next_line(&signatures, &line, &len))
		for (size_t i = 0; i < n_keys; i++) {
			enum signature s = check_signature(
			    line, len, text, text_len, &keys[i]);

			if (s == SIGNATURE_WRONG)
				return s;
			if (s == SIGNATURE_GOOD)
				result = s;
		}
	return result;
}

bool
checkpoint_parse(const void *text, size_t len, const struct key_public *keys,
    size_t n_keys, struct checkpoint *c, char *error, size_t error_size)
{
	const uint8_t *start = text;
	const uint8_t *gap = len == 0 ? NULL : memmem(text, len, "\n\n", 2);
	size_t text_len;
	struct rd signatures;

	if (gap == NULL || start[len - 1] != '\n' ||
	    !parse_text(text, (size_t)(gap + 1 - start), c)) {
		snprintf(error, error_size, "not a checkpoint");
		return false;
	}
	text_len = (size_t)(gap + 1 - start);
	signatures = rd_init(gap + 2, len - text_len - 1);
	switch (check_signatures(text, text_len, signatures, keys, n_keys)) {
	case SIGNATURE_GOOD:
		return true;
	case SIGNATURE_WRONG:
		snprintf(error, error_size, "the signature is wrong");
		return false;
	case SIGNATURE_OTHER:
		break;
	}
	snprintf(error, error_size, "no signature by a key that was given");
	return false;
}

bool
checkpoint_load(const char *path, const struct key_public *keys, size_t n_keys,
    struct checkpoint *c, char *error, size_t error_size)
{
	struct buf b = { 0 };
	char why[256];
	bool ok;

	if (!io_read_file(path, &b, MAX_CHECKPOINT)) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		buf_free(&b);
		return false;
	}
	ok = checkpoint_parse(b.data, b.len, keys, n_keys, c, why, sizeof(why));
	if (!ok)
		snprintf(error, error_size, "%s: %s", path, why);
	buf_free(&b);
	return ok;
}
