/*
 * arena.c: a list of blocks that are freed together.
 *
 * Owns its blocks; the newest block is filled from the front.  Blocks double
 * in size up to BLOCK_MAX_BYTES, larger requests get a block of their own.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "log.h"

#define BLOCK_MIN_BYTES ((size_t)8 * 1024)
#define BLOCK_MAX_BYTES ((size_t)1024 * 1024)
#define ALIGNMENT ((size_t)16)

struct block {
	struct block *next; /* older */
	size_t size;        /* bytes of data[] */
	size_t used;
	_Alignas(16) unsigned char data[];
};

struct arena {
	struct block *head; /* the newest */
	size_t limit;
	size_t used;
	size_t next_size; /* of the next ordinary block */
};

struct arena *
arena_new(size_t limit)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (a == NULL)
		log_fatal("out_of_memory", "out of memory");
	a->limit = limit;
	a->next_size = BLOCK_MIN_BYTES;
	return a;
}

static void
arena_free_blocks(struct block *b)
{
	while (b != NULL) {
		struct block *next = b->next;

		free(b);
		b = next;
	}
}

void
arena_free(struct arena *a)
{
	if (a == NULL)
		return;
	arena_free_blocks(a->head);
	free(a);
}

void
arena_reset(struct arena *a)
{
	struct block *keep = a->head;

	a->used = 0;
	if (keep == NULL)
		return;
	arena_free_blocks(keep->next);
	keep->next = NULL;
	keep->used = 0;
	if (keep->size > BLOCK_MAX_BYTES) {
		free(keep);
		a->head = NULL;
	}
}

size_t
arena_used(const struct arena *a)
{
	return a->used;
}

static struct block *
arena_add_block(struct arena *a, size_t n)
{
	size_t size = n > a->next_size ? n : a->next_size;
	struct block *b = malloc(sizeof(*b) + size);

	if (b == NULL)
		return NULL;
	b->size = size;
	b->used = 0;
	b->next = a->head;
	a->head = b;
	if (a->next_size < BLOCK_MAX_BYTES)
		a->next_size *= 2;
	return b;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	struct block *b = a->head;
	void *p;

	if (n > SIZE_MAX / 2)
		return NULL;
	n = n == 0 ? ALIGNMENT : (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	if (a->limit != 0 && (n > a->limit || a->used > a->limit - n))
		return NULL;
	if (b == NULL || b->size - b->used < n)
		b = arena_add_block(a, n);
	if (b == NULL)
		return NULL;
	p = b->data + b->used;
	b->used += n;
	a->used += n;
	return p;
}

void *
arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	if (p != NULL)
		memset(p, 0, n);
	return p;
}

char *
arena_memdup(struct arena *a, const void *p, size_t n)
{
	char *copy;

	if (n == SIZE_MAX)
		return NULL;
	copy = arena_alloc(a, n + 1);
	if (copy == NULL)
		return NULL;
	if (n > 0)
		memcpy(copy, p, n);
	copy[n] = '\0';
	return copy;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	return arena_memdup(a, s, strlen(s));
}

void *
arena_grow(
    struct arena *a, void *array, size_t n, size_t *cap, size_t element_size)
{
	size_t want;
	void *p;

	if (n < *cap)
		return array;
	want = *cap == 0 ? 8 : *cap * 2;
	if (want < n + 1)
		want = n + 1;
	if (want < *cap || want > SIZE_MAX / 2 / element_size)
		return NULL;
	p = arena_alloc(a, want * element_size);
	if (p == NULL)
		return NULL;
	if (n > 0)
		memcpy(p, array, n * element_size);
	*cap = want;
	return p;
}
