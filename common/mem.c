/*
 * mem.c: memory that is there, or the process ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "mem.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

static void *
checked(void *p)
{
	if (p == NULL)
		log_fatal("out_of_memory", "out of memory");
	return p;
}

void *
mem_zalloc(size_t n, size_t size)
{
	return checked(calloc(n, size));
}

void *
mem_alloc(size_t n, size_t size)
{
	return mem_realloc(NULL, n, size);
}

void *
mem_realloc(void *p, size_t n, size_t size)
{
	size_t bytes;

	/* reallocarray() has the loader look for realloc() in each child. */
	if (__builtin_mul_overflow(n, size, &bytes))
		return checked(NULL);
	return checked(realloc(p, bytes));
}

char *
mem_strdup(const char *s)
{
	return checked(strdup(s));
}

char *
mem_strndup(const char *s, size_t n)
{
	return checked(strndup(s, n));
}
