/*
 * blob.h: parts of evidence lines that are too long for them, by their hash.
 *
 * A part becomes {"sha256": HASH, "bytes": N}; the N bytes lie in
 * LOG/blob/HH/HASH, HH being the hash's first two digits.  The text of a
 * string lies there as it is, any other value as compact JSON.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BLOB_H
#define PGW_BLOB_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "merkle.h"

struct blob_ref {
	struct merkle_hash hash;
	uint64_t bytes;
};

/* Makes it durable and gives the object that stands for it. */
json_t *blob_put(const char *log_dir, const void *data, size_t n);

/* The file is there and has that hash and size; else error says. */
PGW_MUSTCHECK bool blob_check(const char *log_dir, const struct blob_ref *ref,
	char *error, size_t error_size);

/*
 * Replaces parts of the line's body until its compact JSON has at most `max`
 * bytes: first long strings, then the longest members.
 */
void blob_shorten(const char *log_dir, json_t *body, size_t max);

#endif
