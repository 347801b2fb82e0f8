/*
 * tiles.h: the hash tiles of the evidence log (C2SP tlog-tiles), from which
 * any proof about a signed size follows without reading lines.
 *
 * Height 8: tile L/N holds the roots of the complete subtrees of 256^L lines
 * number N * 256 and up, 32 bytes each; 256 of them if it is full.
 *
 *	LOG_DIR/tile/L/N	full
 *	LOG_DIR/tile/L/N.p/W	the first W hashes, 1 <= W <= 255
 *
 * N in groups of three digits, all but the last with an x before it:
 * 1234067 is x001/x234/067.  Only hash tiles; entry bundles are made when
 * they are exported.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TILES_H
#define PGW_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "merkle.h"

#define TILES_WIDTH 256
#define TILES_LEVELS 8
#define TILES_MAX_PATH 130		/* hashes of a proof */
#define TILES_NAME_BYTES 64

/*
 * "tile/L/N" or, with a width from 1 to 255, "tile/L/N.p/W".  Returns out.
 */
char *tiles_name(char out[TILES_NAME_BYTES], unsigned level, uint64_t n,
	unsigned width);

/* --- reader: any process; needs the files, no lock --- */

struct tiles;

/*
 * For the tree of `size` lines, which must be a signed size (or one whose
 * tiles are full by now).  Reads nothing yet.  Ends the process without
 * memory.
 */
struct tiles *tiles_open(const char *log_dir, uint64_t size);
void tiles_close(struct tiles *t);

/*
 * These read tiles (blocking on the disk only); a tile that is not there or
 * has another length: false, and tiles_error() says which.  Nothing here
 * knows whether the hashes are the right ones: compare tiles_root() with a
 * signed root first.
 */
/* Leaf hash of line index + 1; index < size. */
PGW_MUSTCHECK bool tiles_leaf(struct tiles *t, uint64_t index,
	struct merkle_hash *out);
/* Root of the first `size` lines; any size up to that of tiles_open(). */
PGW_MUSTCHECK bool tiles_root(struct tiles *t, uint64_t size,
	struct merkle_hash *out);
/* The tree itself, to be appended to. */
PGW_MUSTCHECK bool tiles_tree(struct tiles *t, struct merkle_tree *out);
/* RFC 6962, 2.1.1: from the leaf's sibling upwards. */
PGW_MUSTCHECK bool tiles_inclusion(struct tiles *t, uint64_t index,
	struct merkle_hash path[TILES_MAX_PATH], size_t *n);
/* RFC 6962, 2.1.2: from the tree of `from` lines, 1 <= from <= size. */
PGW_MUSTCHECK bool tiles_consistency(struct tiles *t, uint64_t from,
	struct merkle_hash path[TILES_MAX_PATH], size_t *n);
/* "tile/0/x001/067: No such file or directory" */
const char *tiles_error(const struct tiles *t);

/* --- writer: the recorder --- */

struct tiles_writer;

/*
 * Goes on behind `size` lines, whose right-hand tiles it reads.  NULL: they
 * cannot be read, error says which.  Without memory it ends the process.
 */
PGW_MUSTCHECK struct tiles_writer *tiles_writer_open(const char *log_dir,
	uint64_t size, char *error, size_t error_size);
void tiles_writer_close(struct tiles_writer *w);
/* Of all leaves appended. */
const struct merkle_tree *tiles_writer_tree(const struct tiles_writer *w);

/* Adds a leaf hash; nothing is written. */
void tiles_append(struct tiles_writer *w, const struct merkle_hash *leaf);
/*
 * The lines are durable: so are then all tiles of this size, partial ones too.
 * Removes
 * the partial tiles of those that are full.  Ends the process if it cannot.
 */
void tiles_sync(struct tiles_writer *w);

#endif
