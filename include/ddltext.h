/*
 * ddltext.h: what a text of DDL means for a copy of the definitions, by its
 * first words.  Asked by the child, which sends only what is replayed, and by
 * the replay worker, which does not believe the child.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DDLTEXT_H
#define PGW_DDLTEXT_H

#include <stddef.h>

enum ddl_kind {
	/* Makes, changes or drops what a copy has, and runs in a transaction. */
	DDL_REPLAYED,
	/* The same, with rows of a query: CREATE TABLE AS, materialized views;
	 * replayed WITH NO DATA. */
	DDL_OF_QUERY,
	/* A copy has none of it: owners, privileges, roles, comments, databases,
	 * publications, temporary tables ... */
	DDL_IGNORED,
	/* May change what a copy has, but not there: extensions, languages, what
	 * is CONCURRENTLY, anything that is not known. */
	DDL_REFUSED,
	/* The same, and its text may hold a password. */
	DDL_SECRET
};

enum ddl_kind ddl_kind_of(const char *sql, size_t len);

/* Behind white space and comments: where the first word of a text begins. */
const char *ddl_first_word(const char *p, const char *end);

#endif
