/*
 * definition.c: asks a copy for the definitions of its tables.
 *
 * Nothing of a client's runs for it: expressions are printed, not evaluated.
 * Called by schema.c and barrier.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "definition.h"

#include <stdio.h>
#include <string.h>

#include "definition_sql.h"
#include "log.h"
#include "query.h"

#define NAME "pgwitness_definition"

/* SQL, broken where it reads. */
/* clang-format off */
#define TABLES                                                               \
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"         \
	" ON n.oid" CATALOG_EQ "c.relnamespace"
static const char one_sql[] =
	"SELECT pg_catalog.md5(" DEFINITION ")" TABLES
	" WHERE n.nspname" CATALOG_EQ "CAST($1 AS pg_catalog.text)"
	" AND c.relname" CATALOG_EQ "CAST($2 AS pg_catalog.text)";
static const char text_sql[] =
	"SELECT " DEFINITION TABLES
	" WHERE n.nspname" CATALOG_EQ "CAST($1 AS pg_catalog.text)"
	" AND c.relname" CATALOG_EQ "CAST($2 AS pg_catalog.text)";
static const char all_sql[] =
	"SELECT n.nspname, c.relname, pg_catalog.md5(" DEFINITION ")" TABLES
	" WHERE c.relkind" CATALOG_EQ
	"ANY (CAST('{r,p}' AS pg_catalog.\"char\"[]))"
	" AND n.nspname" DEF_NE "'pg_catalog'"
	" AND n.nspname" DEF_NE "'information_schema'"
	" AND c.relpersistence" DEF_NE "'t'";
/* clang-format on */

/* The connection, with the question prepared; NULL: logged. */
static PGconn *
ready(const struct config *c, struct schema_copy *copy)
{
	PGconn *before = copy->catalog;
	PGconn *conn = copy_catalog(c, copy);
	PGresult *res;
	bool ok;

	if (conn == NULL || (conn == before && copy->asked))
		return conn;
	res = PQprepare(conn, NAME, one_sql, 0, NULL);
	ok = PQresultStatus(res) == PGRES_COMMAND_OK;
	if (!ok)
		log_error("schema_query", "%s", PQerrorMessage(conn));
	PQclear(res);
	copy->asked = ok;
	return ok ? conn : NULL;
}

bool
definition_ask(const struct config *c, struct schema_copy *copy,
    const char *schema, const char *table, char out[SCHEMA_FINGERPRINT_BYTES])
{
	const char *values[] = { schema, table };
	PGconn *conn = ready(c, copy);
	PGresult *res;
	bool ok;

	if (conn == NULL)
		return false;
	res = PQexecPrepared(conn, NAME, 2, values, NULL, NULL, 0);
	ok = PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1;
	if (ok)
		snprintf(
		    out, SCHEMA_FINGERPRINT_BYTES, "%s", PQgetvalue(res, 0, 0));
	else if (PQresultStatus(res) != PGRES_TUPLES_OK)
		log_warning("schema_query", "%s", PQresultErrorMessage(res));
	PQclear(res);
	return ok;
}

char *
definition_text(PGconn *conn, const char *schema, const char *table)
{
	const char *values[] = { schema, table };
	char *text = NULL;
	PGresult *res;

	if (conn == NULL)
		return NULL;
	res = PQexecParams(conn, text_sql, 2, NULL, values, NULL, NULL, 0);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		log_warning("schema_query", "%s", PQresultErrorMessage(res));
	else if (PQntuples(res) == 1)
		text = strdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return text;
}

/* Expressions are printed as the child has them printed. */
bool
definition_settings(PGconn *conn)
{
	return query_run(conn, "schema_query",
	    "SELECT pg_catalog.set_config(v.name, v.value, false)"
	    " FROM (VALUES " DEFINITION_SETTINGS ") v(name, value)");
}

static void
keep_row(struct schema_copy *copy, const PGresult *res, int row)
{
	const char *schema = PQgetvalue(res, row, 0);
	const char *table = PQgetvalue(res, row, 1);

	for (size_t i = 0; i < copy->n_tables; i++) {
		struct schema_table *t = &copy->tables[i];

		if (strcmp(t->table, table) == 0 &&
		    strcmp(t->schema, schema) == 0)
			snprintf(t->definition, sizeof(t->definition), "%s",
			    PQgetvalue(res, row, 2));
	}
}

bool
definition_keep(const struct config *c, struct schema_copy *copy)
{
	PGconn *conn = copy_catalog(c, copy);
	PGresult *res = conn == NULL
			    ? NULL
			    : query_rows(conn, "schema_query", all_sql);

	if (res == NULL)
		return false;
	for (int i = 0; i < PQntuples(res); i++)
		keep_row(copy, res, i);
	PQclear(res);
	return true;
}
