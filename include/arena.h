/*
 * arena.h: memory that is freed all at once.
 *
 * One arena per transaction in the backend, one per job in a replay worker.
 * Nothing allocated here is freed singly.  An arena may have a limit: beyond
 * it arena_alloc() returns NULL, so that what comes from the wire cannot take
 * all memory (features.max_capture_bytes).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ARENA_H
#define PGW_ARENA_H

#include <stddef.h>

#include "attr.h"

struct arena;

/* limit: bytes that may be handed out between resets, 0 for no limit. */
struct arena *arena_new(size_t limit);
void arena_free(struct arena *a);

/* Frees all that was allocated; keeps one block for the next round. */
void arena_reset(struct arena *a);

/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *a);

/* Aligned for any type, not zeroed.  NULL if the limit would be exceeded. */
PGW_MUSTCHECK void *arena_alloc(struct arena *a, size_t n);
PGW_MUSTCHECK void *arena_zalloc(struct arena *a, size_t n);

/* Copies n bytes and adds a NUL (not counted in n). */
PGW_MUSTCHECK char *arena_memdup(struct arena *a, const void *p, size_t n);
PGW_MUSTCHECK char *arena_strdup(struct arena *a, const char *s);

/*
 * Grows an array of elements inside the arena: doubles *cap when n == *cap.
 * Returns the array (moved or not), NULL if the limit would be exceeded.
 */
PGW_MUSTCHECK void *arena_grow(struct arena *a, void *array, size_t n,
	size_t *cap, size_t element_size);

#endif
