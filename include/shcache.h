/*
 * shcache.h: values by key in memory that all children share.
 *
 * A cache and nothing more: what is in it may be gone, and who uses a value
 * must find out by itself when it no longer holds.  Nobody waits for anybody.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SHCACHE_H
#define PGW_SHCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "merkle.h"

struct shcache;

/* Before the first fork; ends the process without memory. */
struct shcache *shcache_new(void);

/* Of a value: whether it still holds shows when it is used. */
#define SHCACHE_CHECKED INT64_MAX

/*
 * What all values are of: take it before asking for what shall be put.  It
 * changes with both: then no older value is found, after a doubt none but those
 * that are SHCACHE_CHECKED.
 */
uint64_t shcache_generation(const struct shcache *c);
void shcache_forget(struct shcache *c);
void shcache_doubt(struct shcache *c);

/* False: it is not there, or too old. */
PGW_MUSTCHECK bool shcache_get(const struct shcache *c,
	const struct merkle_hash *key, struct buf *out);
/*
 * good_us: how long it will be found.  A value that is too long, or whose place
 * is being written, is left out.
 */
void shcache_put(struct shcache *c, unsigned writer, uint64_t generation,
	int64_t good_us, const struct merkle_hash *key, const struct buf *value);

/* By the parent: a writer that died may have been in the middle. */
void shcache_writer_ended(struct shcache *c, unsigned writer);

#endif
