/*
 * arena.c: arena.h with an allocation of its own for each piece, so that a
 * sanitizer sees one byte too much.  Stands in for common/arena.c in fuzz
 * targets.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

struct piece {
	struct piece *next;
	_Alignas(16) unsigned char data[];
};

struct arena {
	struct piece *list;
	size_t limit;
	size_t used;
};

struct arena *
arena_new(size_t limit)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (a == NULL)
		abort();
	a->limit = limit;
	return a;
}

void
arena_reset(struct arena *a)
{
	while (a->list != NULL) {
		struct piece *p = a->list;

		a->list = p->next;
		free(p);
	}
	a->used = 0;
}

void
arena_free(struct arena *a)
{
	if (a == NULL)
		return;
	arena_reset(a);
	free(a);
}

size_t
arena_used(const struct arena *a)
{
	return a->used;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	struct piece *p;

	if (n > SIZE_MAX / 2 ||
	    (a->limit != 0 && (n > a->limit || a->used > a->limit - n)))
		return NULL;
	p = malloc(sizeof(*p) + n);
	if (p == NULL)
		return NULL;
	p->next = a->list;
	a->list = p;
	a->used += n;
	return p->data;
}

void *
arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	return p == NULL ? NULL : memset(p, 0, n);
}

char *
arena_memdup(struct arena *a, const void *p, size_t n)
{
	char *copy = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;

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
	size_t more = *cap == 0 ? 8 : *cap * 2;
	void *p;

	if (n < *cap)
		return array;
	if (more > SIZE_MAX / element_size)
		return NULL;
	p = arena_alloc(a, more * element_size);
	if (p == NULL)
		return NULL;
	if (n > 0)
		memcpy(p, array, n * element_size);
	*cap = more;
	return p;
}
