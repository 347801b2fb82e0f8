/*
 * restored.c: compares the tables of a copy with the server's, by their parts.
 *
 * A table may lack a default, a CHECK, a trigger or itself in the copy, where
 * that uses what is not restored: a C function, an extension that is not
 * installed or not wanted here.  Nothing that runs on it would prove anything.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "restored.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "query.h"
#include "schema_sql.h"

static int
compare_names(const struct schema_table *a, const struct schema_table *b)
{
	int c = strcmp(a->schema, b->schema);

	return c != 0 ? c : strcmp(a->table, b->table);
}

static int
by_name(const void *a, const void *b)
{
	return compare_names(*(const struct schema_table *const *)a,
	    *(const struct schema_table *const *)b);
}

static struct schema_table **
sorted(struct schema_copy *copy)
{
	struct schema_table **list = mem_zalloc(
	    copy->n_tables + 1, sizeof(struct schema_table *));

	for (size_t i = 0; i < copy->n_tables; i++)
		list[i] = &copy->tables[i];
	qsort(list, copy->n_tables, sizeof(struct schema_table *), by_name);
	return list;
}

static void
take_row(struct schema_table **list, size_t n, const PGresult *res, int row)
{
	struct schema_table key = { .schema = PQgetvalue(res, row, 1),
		.table = PQgetvalue(res, row, 2) };
	const struct schema_table *want = &key;
	struct schema_table **found = bsearch(
	    &want, list, n, sizeof(struct schema_table *), by_name);

	if (found != NULL)
		(*found)->incomplete = (*found)->parts != NULL &&
				       strcmp((*found)->parts,
					   PQgetvalue(res, row, 4)) != 0;
}

bool
restored_check(PGconn *conn, struct schema_copy *copy)
{
	PGresult *res = query_rows(conn, "schema_query", SCHEMA_TABLES_SQL);
	struct schema_table **list;

	if (res == NULL)
		return false;
	list = sorted(copy);
	for (size_t i = 0; i < copy->n_tables; i++)
		copy->tables[i].incomplete = true;
	for (int i = 0; i < PQntuples(res); i++)
		take_row(list, copy->n_tables, res, i);
	for (size_t i = 0; i < copy->n_tables; i++)
		if (copy->tables[i].incomplete)
			log_warning("schema_not_restored",
			    "table %s.%s could not be copied with all that "
			    "belongs to it: its transactions cannot be verified",
			    copy->tables[i].schema, copy->tables[i].table);
	free(list);
	PQclear(res);
	return true;
}
