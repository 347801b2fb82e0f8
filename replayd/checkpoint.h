/*
 * checkpoint.h: the signed head of the evidence log, a C2SP tlog-checkpoint.
 *
 *	origin
 *	size
 *	base64(root)
 *
 *	— NAME base64(key ID || Ed25519 signature over the three lines)
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CHECKPOINT_H
#define PGW_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "key.h"
#include "merkle.h"

struct checkpoint {
	char origin[KEY_NAME_BYTES];
	uint64_t size;
	struct merkle_hash root;
};

/* Appends text and signature. */
void checkpoint_put(const struct checkpoint *c, const struct key_signer *k,
	struct buf *out);
/* The same with a second signature, by the key that follows; or NULL. */
void checkpoint_put_both(const struct checkpoint *c,
	const struct key_signer *k, const struct key_signer *next,
	struct buf *out);

/*
 * The three lines alone, of a file whose signatures cannot be checked here.
 */
PGW_MUSTCHECK bool checkpoint_parse_text(const void *text, size_t len,
	struct checkpoint *c);

/*
 * False unless it has the form above and a signature of one of the keys, and
 * none of a known key is wrong; error says why.
 */
PGW_MUSTCHECK bool checkpoint_parse(const void *text, size_t len,
	const struct key_public *keys, size_t n_keys, struct checkpoint *c,
	char *error, size_t error_size);
/* The same for a file. */
PGW_MUSTCHECK bool checkpoint_load(const char *path,
	const struct key_public *keys, size_t n_keys, struct checkpoint *c,
	char *error, size_t error_size);

#endif
