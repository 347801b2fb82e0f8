/*
 * query.c: a query, and what it says if it fails.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "query.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

PGresult *
query_rows(PGconn *conn, const char *event, const char *sql)
{
	PGresult *res = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(res);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return res;
	log_warning(event, "%s", PQresultErrorMessage(res));
	PQclear(res);
	return NULL;
}

bool
query_run(PGconn *conn, const char *event, const char *sql)
{
	PGresult *res = query_rows(conn, event, sql);

	PQclear(res);
	return res != NULL;
}

bool
query_runf(PGconn *conn, const char *event, const char *fmt, ...)
{
	char sql[8192];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(sql, sizeof(sql), fmt, ap);
	va_end(ap);
	return n > 0 && (size_t)n < sizeof(sql) && query_run(conn, event, sql);
}

bool
query_value(PGconn *conn, const char *sql, char *out, size_t size)
{
	PGresult *res = query_rows(conn, "schema_query", sql);
	bool ok = res != NULL && PQntuples(res) == 1 &&
		  strlen(PQgetvalue(res, 0, 0)) < size;

	if (ok)
		strcpy(out, PQgetvalue(res, 0, 0));
	PQclear(res);
	return ok;
}

char *
query_quoted(PGconn *conn, const char *name, bool literal)
{
	char *q = literal ? PQescapeLiteral(conn, name, strlen(name))
			  : PQescapeIdentifier(conn, name, strlen(name));

	if (q == NULL)
		log_fatal("out_of_memory", "cannot quote a name: %s",
		    PQerrorMessage(conn));
	return q;
}
