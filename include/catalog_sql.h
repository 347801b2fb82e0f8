/*
 * catalog_sql.h: the SQL that names a table's definition, asked by a backend in
 * the client's session and by replayd with the witness role; both must get the
 * same answer for the same definition.
 *
 * The fingerprint covers the catalog rows that decide what a statement on the
 * table does, its partitions and its columns' own types included, by (xmin,
 * ctid): each DDL gives new ones, ANALYZE, VACUUM and TRUNCATE do not.  A default
 * is in it by its column, which is written anew with it (pg_attribute.atthasdef:
 * StoreAttrDefault(), RemoveAttrDefaultById()).  Functions of its triggers are
 * in it, those that defaults or checks call are not.
 *
 * It runs under any search_path: every name and operator is qualified.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CATALOG_SQL_H
#define PGW_CATALOG_SQL_H

/* SQL, broken where it reads. */
/* clang-format off */
#define CATALOG_EQ " OPERATOR(pg_catalog.=) "
#define CATALOG_ROWS(catalog, where)                                         \
	"(SELECT pg_catalog.string_agg("                                     \
	"pg_catalog.concat(r.xmin, r.ctid), ',' ORDER BY r.ctid)"            \
	" FROM pg_catalog." catalog " r WHERE " where "),'|',"

/* The types of c's columns that users made: domains, enums, composites. */
#define CATALOG_TYPES                                                        \
	"ANY (SELECT a.atttypid FROM pg_catalog.pg_attribute a"              \
	" WHERE a.attrelid" CATALOG_EQ "c.oid AND"                           \
	" a.atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)"

#define CATALOG_USER_TRIGGERS                                                \
	"pg_catalog.pg_trigger t WHERE t.tgrelid" CATALOG_EQ "c.oid"         \
	" AND NOT t.tgisinternal"

/* The schema by its name: without quotes, for quote_all_identifiers. */
#define CATALOG_CLASS                                                        \
	"c.oid,'|',c.relname,'|',pg_catalog.replace(CAST(CAST("              \
	"c.relnamespace AS pg_catalog.regnamespace) AS pg_catalog.text),"    \
	" '\"', ''),"                                                        \
	"'|',c.relowner,'|',c.relkind,'|',c.relpersistence,"                 \
	"'|',c.relnatts,'|',c.relchecks,'|',c.relhasrules,'|',"              \
	"c.relhastriggers,'|',c.relrowsecurity,'|',c.relispartition,'|',"

/* A text expression over c, a row of pg_catalog.pg_class. */
#define CATALOG_FINGERPRINT                                                  \
	"pg_catalog.md5(pg_catalog.concat(" CATALOG_CLASS                    \
	CATALOG_ROWS("pg_attribute", "r.attrelid" CATALOG_EQ "c.oid")        \
	CATALOG_ROWS("pg_constraint", "r.conrelid" CATALOG_EQ "c.oid")       \
	CATALOG_ROWS("pg_trigger", "r.tgrelid" CATALOG_EQ "c.oid")           \
	CATALOG_ROWS("pg_proc", "r.oid" CATALOG_EQ                           \
	    "ANY (ARRAY(SELECT t.tgfoid FROM " CATALOG_USER_TRIGGERS "))")   \
	CATALOG_ROWS("pg_rewrite", "r.ev_class" CATALOG_EQ "c.oid")          \
	CATALOG_ROWS("pg_policy", "c.relrowsecurity AND r.polrelid"          \
	    CATALOG_EQ "c.oid")                                              \
	CATALOG_ROWS("pg_inherits", "r.inhparent" CATALOG_EQ "c.oid")        \
	CATALOG_ROWS("pg_type", "r.oid" CATALOG_EQ CATALOG_TYPES)            \
	CATALOG_ROWS("pg_constraint", "r.contypid" CATALOG_EQ CATALOG_TYPES) \
	CATALOG_ROWS("pg_enum", "r.enumtypid" CATALOG_EQ CATALOG_TYPES)      \
	"''))"

/*
 * Operators and casts that may run what is not PostgreSQL's own: all that users
 * made, but of functions that only a superuser can make (12 is internal, 13 c).
 * Of the built-in ones ts_rewrite(), say, runs a text.
 */
#define CATALOG_CALLS(catalog, function)                                     \
	"EXISTS (SELECT 1 FROM pg_catalog." catalog " o"                     \
	" JOIN pg_catalog.pg_proc p ON p.oid" CATALOG_EQ "o." function       \
	" WHERE o.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"         \
	" AND (p.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid"           \
	" OR p.prolang OPERATOR(pg_catalog.<>) 12::pg_catalog.oid"           \
	" AND p.prolang OPERATOR(pg_catalog.<>) 13::pg_catalog.oid))"
#define CATALOG_USER_OPERATORS                                               \
	CATALOG_CALLS("pg_operator", "oprcode") " OR "                       \
	CATALOG_CALLS("pg_cast", "castfunc")

/*
 * Of a plain table the rest of the fingerprint is empty, and stays so as long
 * as what is in this does not change; it costs half as much.  No expression over
 * its columns runs code of users, but what calls a function, or an operator or
 * a cast that somebody made since.
 */
#define CATALOG_PLAIN                                                        \
	"(NOT c.relhasrules AND NOT c.relrowsecurity"                        \
	" AND NOT c.relhassubclass AND NOT EXISTS ("                         \
	"SELECT 1 FROM " CATALOG_USER_TRIGGERS ") AND NOT EXISTS ("          \
	"SELECT 1 FROM pg_catalog.pg_attribute a"                            \
	" WHERE a.attrelid" CATALOG_EQ "c.oid AND"                           \
	" a.atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)"         \
	" AND NOT (" CATALOG_USER_OPERATORS "))"
#define CATALOG_QUICK                                                        \
	"pg_catalog.md5(pg_catalog.concat(" CATALOG_CLASS                    \
	"c.relhassubclass,'|',"                                              \
	CATALOG_ROWS("pg_attribute", "r.attrelid" CATALOG_EQ "c.oid")        \
	CATALOG_ROWS("pg_constraint", "r.conrelid" CATALOG_EQ "c.oid")       \
	CATALOG_ROWS("pg_trigger", "r.tgrelid" CATALOG_EQ "c.oid")           \
	"''))"

/* clang-format on */

#endif
