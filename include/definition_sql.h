/*
 * definition_sql.h: the SQL that says how a table is defined, by names: lines
 * of text that are the same on the server and in a copy of it if statements on
 * the table do the same on both.  The record has their md5 (record.h,
 * `definition`), so that replay knows a definition again whatever the OIDs are,
 * and however it came about.
 *
 * In it: columns, constraints, indexes that decide what rows there may be,
 * triggers, rules, policies, parents and children, the types of the columns
 * with what they are made of, and the functions that any of these call.  Not
 * in it: owners, privileges, comments, storage, statistics, other indexes, and
 * what those functions call in turn.
 *
 * Expressions are printed as the settings want it: they must be
 * DEFINITION_SETTINGS, which DEFINITION_QUERY sees to by itself.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DEFINITION_SQL_H
#define PGW_DEFINITION_SQL_H

#include "catalog_sql.h"

/* SQL, broken where it reads. */
/* clang-format off */
#define DEF_TEXT(e) "CAST(" e " AS pg_catalog.text)"
#define DEF_USER " OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"
#define DEF_NE " OPERATOR(pg_catalog.<>) "
#define DEF_CLASS(catalog)                                                   \
	"CAST('pg_catalog." catalog "' AS pg_catalog.regclass)"
#define DEF_LINE "SELECT pg_catalog.concat_ws(' ', "

#define DEF_TABLE                                                            \
	DEF_LINE "'table', c.relkind, c.relpersistence,"                     \
	" CASE WHEN c.relrowsecurity THEN 'row security' END,"               \
	" CASE WHEN c.relforcerowsecurity THEN 'forced' END,"                \
	" pg_catalog.pg_get_expr(c.relpartbound, c.oid),"                    \
	" CASE WHEN c.relkind" CATALOG_EQ "'p' THEN"                         \
	" pg_catalog.pg_get_partkeydef(c.oid) END)"

#define DEF_COLUMNS                                                          \
	DEF_LINE "'column', pg_catalog.lpad(" DEF_TEXT(                      \
	"pg_catalog.row_number() OVER (ORDER BY a.attnum)") ", 4, '0'),"     \
	" pg_catalog.quote_ident(" DEF_TEXT("a.attname") "),"                \
	" pg_catalog.format_type(a.atttypid, a.atttypmod),"                  \
	" CASE WHEN a.attcollation" DEF_NE "t.typcollation THEN"             \
	" pg_catalog.concat('collate ', " DEF_TEXT(                          \
	"CAST(a.attcollation AS pg_catalog.regcollation)") ") END,"          \
	" CASE WHEN a.attnotnull THEN 'not null' END,"                       \
	" CASE WHEN a.attidentity" DEF_NE "'' THEN"                          \
	" pg_catalog.concat('identity ', a.attidentity) END,"                \
	" CASE WHEN a.attgenerated" DEF_NE "'' THEN"                         \
	" pg_catalog.concat('generated ', a.attgenerated) END,"              \
	" pg_catalog.concat('default ',"                                     \
	" pg_catalog.pg_get_expr(d.adbin, d.adrelid)))"                      \
	" FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t"          \
	" ON t.oid" CATALOG_EQ "a.atttypid"                                  \
	" LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid" CATALOG_EQ         \
	"a.attrelid AND d.adnum" CATALOG_EQ "a.attnum"                       \
	" WHERE a.attrelid" CATALOG_EQ "c.oid AND NOT a.attisdropped"        \
	" AND a.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2"

/* A partition's foreign keys may have another name after a restore. */
#define DEF_CONSTRAINTS                                                      \
	DEF_LINE "'constraint', CASE WHEN k.contype" DEF_NE "'f' THEN"       \
	" pg_catalog.quote_ident(" DEF_TEXT("k.conname") ") END,"            \
	" pg_catalog.pg_get_constraintdef(k.oid))"                           \
	" FROM pg_catalog.pg_constraint k WHERE k.conrelid" CATALOG_EQ       \
	"c.oid"

#define DEF_INDEXES                                                          \
	DEF_LINE "'index', pg_catalog.pg_get_indexdef(x.indexrelid),"        \
	" CASE WHEN NOT x.indisvalid THEN 'not valid' END)"                  \
	" FROM pg_catalog.pg_index x WHERE x.indrelid" CATALOG_EQ "c.oid"    \
	" AND (x.indisunique OR x.indisexclusion OR"                         \
	" x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)"

/*
 * Those that fire are enabled otherwise in a copy (copy.c), where foreign keys
 * act, and never check.
 */
#define DEF_TRIGGERS                                                         \
	DEF_LINE "'trigger', pg_catalog.pg_get_triggerdef(t.oid),"           \
	" CASE WHEN t.tgenabled" CATALOG_EQ "ANY (CAST('{D,R}' AS"           \
	" pg_catalog.\"char\"[])) THEN 'off' END)"                           \
	" FROM " CATALOG_USER_TRIGGERS " UNION ALL "                         \
	DEF_LINE "'no trigger', p.proname)"                                  \
	" FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p"            \
	" ON p.oid" CATALOG_EQ "t.tgfoid WHERE t.tgrelid" CATALOG_EQ "c.oid" \
	" AND t.tgisinternal AND t.tgenabled" CATALOG_EQ                     \
	"ANY (CAST('{D,R}' AS pg_catalog.\"char\"[]))"                       \
	" AND NOT pg_catalog.starts_with(" DEF_TEXT("p.proname") ","         \
	" 'RI_FKey_check_')"

#define DEF_RULES                                                            \
	DEF_LINE "'rule', r.ev_enabled, pg_catalog.pg_get_ruledef(r.oid))"   \
	" FROM pg_catalog.pg_rewrite r WHERE r.ev_class" CATALOG_EQ "c.oid"

#define DEF_POLICIES                                                         \
	DEF_LINE "'policy', pg_catalog.quote_ident(" DEF_TEXT("p.polname")   \
	"), p.polcmd, p.polpermissive,"                                      \
	" pg_catalog.pg_get_expr(p.polqual, p.polrelid), '|',"               \
	" pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))"               \
	" FROM pg_catalog.pg_policy p WHERE p.polrelid" CATALOG_EQ "c.oid"

#define DEF_INHERITS                                                         \
	DEF_LINE "'child', " DEF_TEXT(                                       \
	"CAST(i.inhrelid AS pg_catalog.regclass)") ", i.inhdetachpending)"   \
	" FROM pg_catalog.pg_inherits i WHERE i.inhparent" CATALOG_EQ        \
	"c.oid UNION ALL "                                                   \
	DEF_LINE "'parent', i.inhseqno, " DEF_TEXT(                          \
	"CAST(i.inhparent AS pg_catalog.regclass)") ")"                      \
	" FROM pg_catalog.pg_inherits i WHERE i.inhrelid" CATALOG_EQ "c.oid"

/* The types of c's columns that users made, and those these are made of. */
#define DEF_TYPES                                                            \
	"WITH RECURSIVE y(id) AS ("                                          \
	"SELECT a.atttypid FROM pg_catalog.pg_attribute a"                   \
	" WHERE a.attrelid" CATALOG_EQ "c.oid AND a.atttypid" DEF_USER       \
	" UNION SELECT p.id FROM y JOIN pg_catalog.pg_type t"                \
	" ON t.oid" CATALOG_EQ "y.id CROSS JOIN LATERAL ("                   \
	"SELECT t.typelem UNION ALL SELECT t.typbasetype"                    \
	" UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a"        \
	" WHERE a.attrelid" CATALOG_EQ "t.typrelid AND NOT a.attisdropped"   \
	" UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g"          \
	" WHERE g.rngtypid" CATALOG_EQ "t.oid"                               \
	" OR g.rngmultitypid" CATALOG_EQ "t.oid) p(id)"                      \
	" WHERE p.id" DEF_USER ")"                                           \
	" SELECT y.id FROM y"

#define DEF_TYPE_LINES                                                       \
	DEF_LINE "'type', " DEF_TEXT(                                        \
	"CAST(t.oid AS pg_catalog.regtype)") ", t.typtype,"                  \
	" CASE WHEN t.typbasetype" DEF_NE "0::pg_catalog.oid THEN"           \
	" pg_catalog.format_type(t.typbasetype, t.typtypmod) END,"           \
	" CASE WHEN t.typnotnull THEN 'not null' END, t.typdefault,"         \
	" NULLIF(" DEF_TEXT("CAST(t.typcollation AS"                         \
	" pg_catalog.regcollation)") ", '-'),"                               \
	" (SELECT pg_catalog.string_agg(pg_catalog.quote_literal("           \
	DEF_TEXT("e.enumlabel") "), ',' ORDER BY e.enumsortorder)"           \
	" FROM pg_catalog.pg_enum e WHERE e.enumtypid" CATALOG_EQ "t.oid),"  \
	" (SELECT pg_catalog.string_agg(pg_catalog.concat("                  \
	"pg_catalog.quote_ident(" DEF_TEXT("a.attname") "), ' ',"            \
	" pg_catalog.format_type(a.atttypid, a.atttypmod)), ','"             \
	" ORDER BY a.attnum) FROM pg_catalog.pg_attribute a"                 \
	" WHERE a.attrelid" CATALOG_EQ "t.typrelid"                          \
	" AND NOT a.attisdropped),"                                          \
	" (SELECT pg_catalog.concat_ws(' ', pg_catalog.format_type("         \
	"g.rngsubtype, NULL), " DEF_TEXT("g.rngcanonical") ")"               \
	" FROM pg_catalog.pg_range g WHERE g.rngtypid" CATALOG_EQ "t.oid),"  \
	" (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef("    \
	"k.oid), ',' ORDER BY k.conname) FROM pg_catalog.pg_constraint k"    \
	" WHERE k.contypid" CATALOG_EQ "t.oid))"                             \
	" FROM pg_catalog.pg_type t WHERE t.oid" CATALOG_EQ "ANY (ARRAY("    \
	DEF_TYPES "))"

/* What of c or its types may call functions. */
#define DEF_CALLERS                                                          \
	"SELECT " DEF_CLASS("pg_constraint") ", k.oid"                       \
	" FROM pg_catalog.pg_constraint k"                                   \
	" WHERE k.conrelid" CATALOG_EQ "c.oid"                               \
	" UNION ALL SELECT " DEF_CLASS("pg_constraint") ", k.oid"            \
	" FROM pg_catalog.pg_constraint k WHERE k.contypid" CATALOG_EQ       \
	"ANY (ARRAY(" DEF_TYPES "))"                                         \
	" UNION ALL SELECT " DEF_CLASS("pg_class") ", x.indexrelid"          \
	" FROM pg_catalog.pg_index x WHERE x.indrelid" CATALOG_EQ "c.oid"    \
	" UNION ALL SELECT " DEF_CLASS("pg_attrdef") ", e.oid"               \
	" FROM pg_catalog.pg_attrdef e WHERE e.adrelid" CATALOG_EQ "c.oid"   \
	" UNION ALL SELECT " DEF_CLASS("pg_rewrite") ", r.oid"               \
	" FROM pg_catalog.pg_rewrite r WHERE r.ev_class" CATALOG_EQ "c.oid"  \
	" UNION ALL SELECT " DEF_CLASS("pg_trigger") ", t.oid"               \
	" FROM " CATALOG_USER_TRIGGERS

#define DEF_FUNCTIONS                                                        \
	DEF_LINE "'function', " DEF_TEXT(                                    \
	"CAST(p.oid AS pg_catalog.regprocedure)") ","                        \
	" pg_catalog.format_type(p.prorettype, NULL), l.lanname,"            \
	" p.prokind, p.provolatile, p.proisstrict, p.prosecdef,"             \
	" pg_catalog.array_to_string(p.proconfig, ','), p.probin,"           \
	" pg_catalog.md5(p.prosrc), pg_catalog.pg_get_function_sqlbody("     \
	"p.oid)) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l"    \
	" ON l.oid" CATALOG_EQ "p.prolang WHERE p.oid" CATALOG_EQ            \
	"ANY (ARRAY(SELECT f.refobjid FROM pg_catalog.pg_depend f"           \
	" JOIN (" DEF_CALLERS ") o(class, id)"                               \
	" ON f.classid" CATALOG_EQ "o.class AND f.objid" CATALOG_EQ "o.id"   \
	" WHERE f.refclassid" CATALOG_EQ DEF_CLASS("pg_proc")                \
	" AND f.refobjid" DEF_USER "))"

/* A text expression over c, a row of pg_catalog.pg_class: lines, sorted. */
#define DEFINITION                                                           \
	"(SELECT pg_catalog.string_agg(l.line, E'\\n' ORDER BY l.line"       \
	" COLLATE pg_catalog.\"C\") FROM ("                                  \
	DEF_TABLE " UNION ALL " DEF_COLUMNS " UNION ALL "                    \
	DEF_CONSTRAINTS " UNION ALL " DEF_INDEXES " UNION ALL "              \
	DEF_TRIGGERS " UNION ALL " DEF_RULES " UNION ALL "                   \
	DEF_POLICIES " UNION ALL " DEF_INHERITS " UNION ALL "                \
	DEF_TYPE_LINES " UNION ALL " DEF_FUNCTIONS ") l(line))"

#define DEFINITION_SETTINGS                                                  \
	"('search_path', ''), ('DateStyle', 'ISO, MDY'),"                    \
	" ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'),"               \
	" ('extra_float_digits', '1'), ('bytea_output', 'hex'),"             \
	" ('quote_all_identifiers', 'off')"

/*
 * What `what` says of the pg_class rows that `where` takes, in a session with
 * settings of its own: they are set for the transaction, and set back, in an
 * order that the data of each step gives.
 */
#define DEFINITION_QUERY(what, where)                                        \
	"WITH s AS MATERIALIZED (SELECT v.name,"                             \
	" pg_catalog.current_setting(v.name) AS old,"                        \
	" pg_catalog.set_config(v.name, v.value, true) AS new"               \
	" FROM (VALUES " DEFINITION_SETTINGS ") v(name, value)),"            \
	" g AS MATERIALIZED (SELECT pg_catalog.count(s.new) AS n FROM s),"   \
	" d AS MATERIALIZED (SELECT c.oid, " what " AS d"                    \
	" FROM g JOIN pg_catalog.pg_class c ON g.n"                          \
	" OPERATOR(pg_catalog.>) 0 WHERE " where "),"                        \
	" b AS MATERIALIZED (SELECT pg_catalog.count("                       \
	"pg_catalog.set_config(s.name, s.old, true)) AS n"                   \
	" FROM (SELECT pg_catalog.count(d.d) AS k FROM d) k JOIN s"          \
	" ON k.k OPERATOR(pg_catalog.>=) 0)"                                 \
	" SELECT d.d FROM d JOIN b ON b.n OPERATOR(pg_catalog.>) 0"
/* clang-format on */

#endif
