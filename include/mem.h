/*
 * mem.h: memory that is there, or the process ends.
 *
 * For what is as large as the program decides.  What a client decides is of an
 * arena with a limit (arena.h).
 *
 * The caller owns what is returned: free().
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_MEM_H
#define PGW_MEM_H

#include <stddef.h>

/* n elements of size bytes, zeroed. */
void *mem_zalloc(size_t n, size_t size);
/* The same, not zeroed: what is not written takes no memory. */
void *mem_alloc(size_t n, size_t size);
/* n elements, those that were there first; what is new is not zeroed. */
void *mem_realloc(void *p, size_t n, size_t size);

char *mem_strdup(const char *s);
/* At most n bytes of s, and a NUL. */
char *mem_strndup(const char *s, size_t n);

#endif
