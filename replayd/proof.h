/*
 * proof.h: that one line stands in a signed log, in one file that needs no
 * log to be checked (C2SP tlog-proof).
 *
 *	c2sp.org/tlog-proof@v1
 *	extra BASE64			the line, without its newline
 *	index N				its seq - 1
 *	BASE64				hashes of RFC 6962, 2.1.1, in that order
 *	...
 *					an empty line
 *	the signed checkpoint
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PROOF_H
#define PGW_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "checkpoint.h"
#include "key.h"
#include "merkle.h"
#include "tiles.h"

struct proof {
	struct buf line;
	uint64_t index;
	struct merkle_hash path[TILES_MAX_PATH];
	size_t n_path;
	struct buf checkpoint;
};

void proof_free(struct proof *p);

/* Appends the file's text. */
void proof_put(const struct proof *p, struct buf *out);

/* False: error says what is not of the form.  Free it in any case. */
PGW_MUSTCHECK bool proof_parse(const void *text, size_t len, struct proof *p,
    char *error, size_t error_size);

/*
 * True if the checkpoint is signed by one of the keys and the line is in its
 * tree; else error says why not.  head is what was signed.
 */
PGW_MUSTCHECK bool proof_check(const struct proof *p,
    const struct key_public *keys, size_t n_keys, struct checkpoint *head,
    char *error, size_t error_size);

/* The signatures of a checkpoint are base64 and nothing else. */
PGW_MUSTCHECK bool proof_plain_signatures(const void *checkpoint, size_t len);

/*
 * The root that leaf and path give for a tree of `size` lines (RFC 9162,
 * 2.1.3.2); false if the path has not the length for that.
 */
PGW_MUSTCHECK bool proof_root(const struct merkle_hash *leaf, uint64_t index,
    uint64_t size, const struct merkle_hash *path, size_t n,
    struct merkle_hash *root);

#endif
