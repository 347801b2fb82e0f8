/*
 * schema_sql.h: what is asked of the server's catalog, and of a copy's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCHEMA_SQL_H
#define PGW_SCHEMA_SQL_H

#include "catalog_sql.h"

/*
 * How many constraints, indexes, triggers, rules and defaults table c has: in
 * a copy as many as on the server, if the restore left none of them out.  Not
 * policies, whose roles a copy lacks: captures with row security are not
 * replayed.  Of indexes what pg_dump dumps.  Then what a dump does not keep: the
 * order of inherited columns, and that foreign keys do not act (DISABLE TRIGGER
 * ALL); that they do not check is so in every copy.
 */
/* clang-format off */
#define SCHEMA_COUNT(catalog, column, which) \
	"(SELECT pg_catalog.count(*) FROM pg_catalog." catalog " x" \
	" WHERE x." column CATALOG_EQ "c.oid" which ")"
#define SCHEMA_PARTS \
	"pg_catalog.concat_ws(',', " \
	SCHEMA_COUNT("pg_constraint", "conrelid", "") ", " \
	SCHEMA_COUNT("pg_index", "indrelid", \
	    " AND x.indisready AND (x.indisvalid OR c.relkind" CATALOG_EQ "'p')") \
	", " SCHEMA_COUNT("pg_trigger", "tgrelid", " AND NOT x.tgisinternal") \
	", " SCHEMA_COUNT("pg_rewrite", "ev_class", "") ", " \
	SCHEMA_COUNT("pg_attrdef", "adrelid", "") ", " \
	"(SELECT pg_catalog.md5(pg_catalog.string_agg(x.attname::pg_catalog.text," \
	" '/' ORDER BY x.attnum)) FROM pg_catalog.pg_attribute x" \
	" WHERE x.attrelid" CATALOG_EQ "c.oid AND x.attnum > 0" \
	" AND NOT x.attisdropped), " \
	SCHEMA_COUNT("pg_trigger", "tgrelid", " AND x.tgisinternal" \
	    " AND x.tgenabled IN ('D', 'R') AND x.tgfoid NOT IN (SELECT p.oid" \
	    " FROM pg_catalog.pg_proc p WHERE p.proname LIKE" \
	    " 'RI\\_FKey\\_check\\_%')") ")"

#define SCHEMA_TABLES_SQL \
	"SELECT c.oid, n.nspname, c.relname, " CATALOG_FINGERPRINT \
	", " SCHEMA_PARTS " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n" \
	" ON n.oid" CATALOG_EQ "c.relnamespace" \
	" WHERE c.relkind IN ('r','p') AND c.relpersistence <> 't'" \
	" AND n.nspname NOT IN ('pg_catalog','information_schema')" \
	" ORDER BY c.oid"

/* What tables use and their fingerprints do not cover. */
#define SCHEMA_STAMP_SQL \
	"SELECT pg_catalog.md5(pg_catalog.concat(" \
	CATALOG_ROWS("pg_type", "r.oid >= 16384") \
	CATALOG_ROWS("pg_enum", "true") \
	CATALOG_ROWS("pg_proc", "r.oid >= 16384") \
	CATALOG_ROWS("pg_constraint", "r.contypid <> 0") \
	CATALOG_ROWS("pg_collation", "r.oid >= 16384") \
	CATALOG_ROWS("pg_extension", "true") "''))"

#define SCHEMA_DATABASE_SQL \
	"SELECT pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate," \
	" d.datctype, d.datlocprovider, d.daticulocale," \
	" pg_catalog.pg_database_collation_actual_version(d.oid)" \
	" FROM pg_catalog.pg_database d" \
	" WHERE d.datname" CATALOG_EQ "pg_catalog.current_database()"

#define SCHEMA_EXTENSIONS_SQL \
	"SELECT e.extname, n.nspname FROM pg_catalog.pg_extension e" \
	" JOIN pg_catalog.pg_namespace n ON n.oid" CATALOG_EQ \
	"e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid"
/* clang-format on */

#endif
