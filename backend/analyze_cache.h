/*
 * analyze_cache.h: analyses kept by the shape of their text.
 *
 * Bounded in entries and in bytes; least recently used goes first within a
 * set of four.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ANALYZE_CACHE_H
#define PGW_ANALYZE_CACHE_H

#include "analyze.h"
#include "shape.h"

#define ANALYZE_CACHE_ENTRIES 512
#define ANALYZE_CACHE_BYTES ((size_t)4 * 1024 * 1024)

struct analyze_cache;

struct analyze_cache *analyze_cache_new(void);
void analyze_cache_free(struct analyze_cache *c);

/*
 * The analysis of the text *s was made from, its spans set for that text;
 * valid until the next call.  NULL: no such shape.
 */
const struct analysis *analyze_cache_find(
    struct analyze_cache *c, const struct shape *s);

/* Keeps a copy of *an, which was made for the text of *s. */
void analyze_cache_add(
    struct analyze_cache *c, const struct shape *s, const struct analysis *an);

#endif
