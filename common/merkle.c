/*
 * merkle.c: SHA-256 and Merkle trees of RFC 6962 shape.
 *
 * The only user of OpenSSL's EVP: the digest is fetched once and the context
 * used again, per thread, because looking them up costs as much as hashing a
 * short row.  Without SHA-256 there is nothing to prove, so a failure of the
 * library ends the process.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "merkle.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "log.h"

/* Domain separation; each kind's bytes stand in front of what is hashed. */
static const struct prefixes {
	struct merkle_part leaf;
	struct merkle_part node;
	struct merkle_part empty;
} prefixes[] = {
	[MERKLE_STATE] = { { "LEAF:", 5 }, { "NODE:", 5 }, { "EMPTY:", 6 } },
	[MERKLE_LOG] = { { "\x00", 1 }, { "\x01", 1 }, { "", 0 } },
};

/* A call for each part costs more than to copy so few bytes. */
#define TOGETHER 256

static _Thread_local EVP_MD_CTX *context;

/* The context keeps the digest. */
static void
prepare(void)
{
	EVP_MD *sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);

	context = EVP_MD_CTX_new();
	if (sha256 == NULL || context == NULL ||
	    EVP_DigestInit_ex2(context, sha256, NULL) != 1)
		log_fatal("sha256_unavailable",
		    "OpenSSL gives no SHA-256; check its configuration");
	EVP_MD_free(sha256);
}

/* The parts one behind the other; 0 if they are too long, or empty. */
static size_t
gather(const struct merkle_part *parts, size_t n, uint8_t to[TOGETHER])
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (parts[i].len > TOGETHER - len)
			return 0;
		if (parts[i].len > 0)
			memcpy(to + len, parts[i].data, parts[i].len);
		len += parts[i].len;
	}
	return len;
}

void
merkle_sha256(
    const struct merkle_part *parts, size_t n, struct merkle_hash *out)
{
	uint8_t together[TOGETHER];
	const struct merkle_part one = { together, gather(parts, n, together) };
	unsigned len = MERKLE_HASH_BYTES;
	bool ok;

	if (one.len > 0) {
		parts = &one;
		n = 1;
	}
	if (context == NULL)
		prepare();
	ok = EVP_DigestInit_ex2(context, NULL, NULL) == 1;
	for (size_t i = 0; i < n && ok; i++)
		ok = EVP_DigestUpdate(context, parts[i].data, parts[i].len) ==
		     1;
	if (!ok || EVP_DigestFinal_ex(context, out->b, &len) != 1)
		log_fatal("sha256_failed", "OpenSSL could not hash");
}

void
merkle_leaf(enum merkle_kind kind, const void *data, size_t len,
    struct merkle_hash *out)
{
	const struct merkle_part parts[] = { prefixes[kind].leaf,
		{ data, len } };

	merkle_sha256(parts, 2, out);
}

void
merkle_node(enum merkle_kind kind, const struct merkle_hash *left,
    const struct merkle_hash *right, struct merkle_hash *out)
{
	const struct merkle_part parts[] = { prefixes[kind].node,
		{ left->b, sizeof(left->b) }, { right->b, sizeof(right->b) } };

	merkle_sha256(parts, 3, out);
}

void
merkle_tree_init(struct merkle_tree *t, enum merkle_kind kind)
{
	t->kind = kind;
	t->size = 0;
	t->depth = 0;
}

/* Adding one carries like adding 1 to size: two equal subtrees become one. */
void
merkle_tree_append(struct merkle_tree *t, const struct merkle_hash *leaf)
{
	t->node[t->depth++] = *leaf;
	t->size++;
	for (uint64_t s = t->size; (s & 1) == 0; s >>= 1) {
		struct merkle_hash *left = &t->node[t->depth - 2];

		merkle_node(t->kind, left, &t->node[t->depth - 1], left);
		t->depth--;
	}
}

void
merkle_tree_root(const struct merkle_tree *t, struct merkle_hash *out)
{
	if (t->size == 0) {
		merkle_sha256(&prefixes[t->kind].empty, 1, out);
		return;
	}
	*out = t->node[t->depth - 1];
	for (unsigned i = t->depth - 1; i-- > 0;)
		merkle_node(t->kind, &t->node[i], out, out);
}

char *
merkle_hex(const struct merkle_hash *h, char out[MERKLE_HEX_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < MERKLE_HASH_BYTES; i++) {
		out[2 * i] = digits[h->b[i] >> 4];
		out[2 * i + 1] = digits[h->b[i] & 15];
	}
	out[2 * MERKLE_HASH_BYTES] = '\0';
	return out;
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool
merkle_unhex(const char *hex, size_t len, struct merkle_hash *h)
{
	if (len != 2 * MERKLE_HASH_BYTES)
		return false;
	for (size_t i = 0; i < MERKLE_HASH_BYTES; i++) {
		int high = nibble(hex[2 * i]);
		int low = nibble(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		h->b[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
