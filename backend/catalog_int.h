/*
 * catalog_int.h: what catalog.c and catalog_function.c share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CATALOG_INT_H
#define PGW_CATALOG_INT_H

#include <string.h>

#include "catalog.h"
#include "exchange.h"

#define MAX_TABLES 512
#define MAX_FUNCTIONS 1024

#define TEXT(e) "CAST(" e " AS pg_catalog.text)"

struct cached_function {
	const char *schema; /* NULL: as found by search_path */
	const char *name;
	enum function_class class;
};

struct cached_table {
	const char *schema;
	const char *name;
	struct catalog_table *table;
	bool doubted; /* to be compared with the server before it is used */
};

struct catalog {
	struct arena *arena;
	struct analyzer *analyzer; /* of default expressions; NULL: not yet */
	size_t max_parse_bytes;    /* its */
	bool stale;                /* arena holds what nobody finds */
	/* Names, rights or definitions may be others than a new session's of
	 * the same startup packet: nothing is shared. */
	bool strange;
	bool changed; /* definitions, in this transaction */
	struct cached_table *tables; /* room for MAX_TABLES */
	size_t n_tables;
	struct cached_function *functions; /* room for MAX_FUNCTIONS */
	size_t n_functions;
};

/* Schemas, which may be NULL. */
static inline bool
catalog_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

#endif
