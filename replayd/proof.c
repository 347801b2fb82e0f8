/*
 * proof.c: text and meaning of a C2SP tlog-proof.
 *
 * Formats only; where the hashes come from is tiles.c's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "evlog.h"

static const char magic[] = "c2sp.org/tlog-proof@v1";
static const char extra[] = "extra ";
static const char index_word[] = "index ";

void
proof_free(struct proof *p)
{
	buf_free(&p->line);
	buf_free(&p->checkpoint);
}

void
proof_put(const struct proof *p, struct buf *out)
{
	buf_printf(out, "%s\n%s", magic, extra);
	key_base64(p->line.data, p->line.len, out);
	buf_printf(out, "\n%s%" PRIu64 "\n", index_word, p->index);
	for (size_t i = 0; i < p->n_path; i++) {
		key_base64(p->path[i].b, sizeof(p->path[i].b), out);
		buf_put_u8(out, '\n');
	}
	buf_put_u8(out, '\n');
	buf_put(out, p->checkpoint.data, p->checkpoint.len);
}

/* --- reading --- */

struct text_line {
	const char *p;
	size_t len;
};

static bool
next_line(struct rd *r, struct text_line *line)
{
	const uint8_t *end = rd_left(r) == 0 ? NULL
					     : memchr(r->p, '\n', rd_left(r));

	if (end == NULL)
		return false;
	line->p = (const char *)r->p;
	line->len = (size_t)(end - r->p);
	r->p = end + 1;
	return true;
}

/* Goes behind a word that the line must begin with. */
static bool
skip_word(struct text_line *line, const char *word)
{
	size_t n = strlen(word);

	if (line->len < n || memcmp(line->p, word, n) != 0)
		return false;
	line->p += n;
	line->len -= n;
	return true;
}

/* libsodium also decodes some bytes above 0x7f. */
static bool
is_base64(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= 'A' && p[i] <= 'Z') ||
			(p[i] >= 'a' && p[i] <= 'z') ||
			(p[i] >= '0' && p[i] <= '9') || p[i] == '+' ||
			p[i] == '/' || p[i] == '='))
			return false;
	return true;
}

bool
proof_plain_signatures(const void *checkpoint, size_t len)
{
	const uint8_t *gap = len == 0 ? NULL
				      : memmem(checkpoint, len, "\n\n", 2);
	struct rd r = rd_init(checkpoint, len);
	struct text_line line;

	if (gap == NULL)
		return false;
	r.p = gap + 2;
	while (next_line(&r, &line)) {
		const char *space = memrchr(line.p, ' ', line.len);

		if (space == NULL ||
		    !is_base64(
			space + 1, line.len - (size_t)(space + 1 - line.p)))
			return false;
	}
	return true;
}

static bool
parse_extra(const struct text_line *line, struct buf *out)
{
	size_t n = line->len / 4 * 3;

	if (line->len == 0 || line->len % 4 != 0 ||
	    line->len > (size_t)2 * EVLOG_MAX_LINE ||
	    !is_base64(line->p, line->len))
		return false;
	for (size_t i = 1; i <= 2 && line->p[line->len - i] == '='; i++)
		n--;
	if (!key_unbase64(line->p, line->len, buf_reserve(out, n + 1), n))
		return false;
	out->len = n;
	return true;
}

static bool
parse_index(const struct text_line *line, uint64_t *out)
{
	uint64_t v = 0;

	if (line->len == 0 || line->len > 19 ||
	    (line->len > 1 && line->p[0] == '0'))
		return false;
	for (size_t i = 0; i < line->len; i++) {
		if (line->p[i] < '0' || line->p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(line->p[i] - '0');
	}
	*out = v;
	return true;
}

/* Hashes up to and with the empty line. */
static bool
parse_path(struct rd *r, struct proof *p)
{
	struct text_line line;

	while (next_line(r, &line)) {
		if (line.len == 0)
			return true;
		if (p->n_path == TILES_MAX_PATH ||
		    !is_base64(line.p, line.len) ||
		    !key_unbase64(line.p, line.len, p->path[p->n_path].b,
			MERKLE_HASH_BYTES))
			return false;
		p->n_path++;
	}
	return false;
}

bool
proof_parse(const void *text, size_t len, struct proof *p, char *error,
    size_t error_size)
{
	struct rd r = rd_init(text, len);
	struct text_line line;
	const char *what = NULL;

	memset(p, 0, sizeof(*p));
	if (!next_line(&r, &line) || line.len != strlen(magic) ||
	    memcmp(line.p, magic, line.len) != 0)
		what = "it does not begin with c2sp.org/tlog-proof@v1";
	else if (!next_line(&r, &line) || !skip_word(&line, extra) ||
		 !parse_extra(&line, &p->line))
		what = "no line of evidence (extra BASE64)";
	else if (!next_line(&r, &line) || !skip_word(&line, index_word) ||
		 !parse_index(&line, &p->index))
		what = "no index";
	else if (!parse_path(&r, p))
		what = "hashes and an empty line must follow";
	else
		buf_put(&p->checkpoint, r.p, rd_left(&r));
	if (what != NULL)
		snprintf(error, error_size, "not a proof: %s", what);
	return what == NULL;
}

/* --- checking --- */

bool
proof_root(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
    const struct merkle_hash *path, size_t n, struct merkle_hash *root)
{
	uint64_t last = size - 1;

	if (index >= size)
		return false;
	*root = *leaf;
	for (size_t i = 0; i < n; i++) {
		if (last == 0)
			return false;
		if ((index & 1) != 0 || index == last) {
			merkle_node(MERKLE_LOG, &path[i], root, root);
			/* An only child has no sibling on these levels. */
			while ((index & 1) == 0 && index != 0) {
				index >>= 1;
				last >>= 1;
			}
		} else
			merkle_node(MERKLE_LOG, root, &path[i], root);
		index >>= 1;
		last >>= 1;
	}
	return last == 0;
}

bool
proof_check(const struct proof *p, const struct key_public *keys, size_t n_keys,
    struct checkpoint *head, char *error, size_t error_size)
{
	struct merkle_hash leaf;
	struct merkle_hash root;

	if (!checkpoint_parse(p->checkpoint.data, p->checkpoint.len, keys,
		n_keys, head, error, error_size))
		return false;
	if (!proof_plain_signatures(p->checkpoint.data, p->checkpoint.len)) {
		snprintf(error, error_size, "a signature is not base64");
		return false;
	}
	merkle_leaf(MERKLE_LOG, p->line.data, p->line.len, &leaf);
	if (!proof_root(
		&leaf, p->index, head->size, p->path, p->n_path, &root)) {
		snprintf(error, error_size,
		    "%zu hashes do not prove line %" PRIu64 " of %" PRIu64,
		    p->n_path, p->index + 1, head->size);
		return false;
	}
	if (memcmp(&root, &head->root, sizeof(root)) != 0) {
		snprintf(error, error_size,
		    "line %" PRIu64 " of %" PRIu64 " was another one",
		    p->index + 1, head->size);
		return false;
	}
	return true;
}
