/*
 * query.h: queries of ours on a connection of ours, logged when they fail.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_QUERY_H
#define PGW_QUERY_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "attr.h"

/* The caller's to PQclear(); NULL, logged as `event`, if it failed. */
PGW_MUSTCHECK PGresult *query_rows(PGconn *conn, const char *event,
	const char *sql);
bool query_run(PGconn *conn, const char *event, const char *sql);
/* Identifiers and literals come quoted. */
bool query_runf(PGconn *conn, const char *event, const char *fmt, ...)
	PGW_PRINTF(3, 4);
/* The only value of the only row; false if there is another number. */
PGW_MUSTCHECK bool query_value(PGconn *conn, const char *sql, char *out,
	size_t size);

/* As a literal or an identifier; the caller's to PQfreemem(). */
char *query_quoted(PGconn *conn, const char *name, bool literal);

#endif
