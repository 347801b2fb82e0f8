/*
 * merkle.h: SHA-256 Merkle trees of RFC 6962 shape.
 *
 * The tree splits at the largest power of two below n; nothing is duplicated.
 * Two kinds differ only in their prefixes:
 *
 *	MERKLE_STATE	leaf SHA-256("LEAF:" data)   node SHA-256("NODE:" l r)
 *			empty SHA-256("EMPTY:")
 *	MERKLE_LOG	leaf SHA-256(0x00 data)	     node SHA-256(0x01 l r)
 *			empty SHA-256("")		(RFC 6962, 2.1)
 *
 * The only user of OpenSSL's EVP.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_MERKLE_H
#define PGW_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MERKLE_HASH_BYTES 32
#define MERKLE_HEX_BYTES 65	/* lower-case hex and a NUL */

enum merkle_kind { MERKLE_STATE, MERKLE_LOG };

struct merkle_hash {
	uint8_t b[MERKLE_HASH_BYTES];
};

/*
 * A tree that is appended to: the roots of its complete subtrees, largest
 * first, one per one-bit of size.  No allocation.
 */
struct merkle_tree {
	enum merkle_kind kind;
	uint64_t size;
	unsigned depth;			/* entries of node[] in use */
	struct merkle_hash node[64];
};

/* Plain SHA-256; parts are hashed one after the other. */
struct merkle_part {
	const void *data;
	size_t len;
};
void merkle_sha256(const struct merkle_part *parts, size_t n,
	struct merkle_hash *out);

void merkle_leaf(enum merkle_kind kind, const void *data, size_t len,
	struct merkle_hash *out);
void merkle_node(enum merkle_kind kind, const struct merkle_hash *left,
	const struct merkle_hash *right, struct merkle_hash *out);

void merkle_tree_init(struct merkle_tree *t, enum merkle_kind kind);
void merkle_tree_append(struct merkle_tree *t, const struct merkle_hash *leaf);
void merkle_tree_root(const struct merkle_tree *t, struct merkle_hash *out);

/* Writes 64 hex digits and a NUL; returns out. */
char *merkle_hex(const struct merkle_hash *h, char out[MERKLE_HEX_BYTES]);

/* The same back; false if it is not 64 lower-case hex digits. */
bool merkle_unhex(const char *hex, size_t len, struct merkle_hash *h);

#endif
