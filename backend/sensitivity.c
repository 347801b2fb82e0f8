/*
 * sensitivity.c: which settings the text of a type's values depends on.
 *
 * A type that is not in the table depends on all of them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "sensitivity.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *type; /* pg_type.typname */
	unsigned sensitive;
} type_list[] = {
	{ "int2", 0 },
	{ "int4", 0 },
	{ "int8", 0 },
	{ "numeric", 0 },
	{ "text", 0 },
	{ "varchar", 0 },
	{ "bpchar", 0 },
	{ "char", 0 },
	{ "name", 0 },
	{ "bool", 0 },
	{ "uuid", 0 },
	{ "json", 0 },
	{ "jsonb", 0 },
	{ "oid", 0 },
	{ "inet", 0 },
	{ "cidr", 0 },
	{ "macaddr", 0 },
	{ "macaddr8", 0 },
	{ "bit", 0 },
	{ "varbit", 0 },
	{ "time", 0 },
	{ "timetz", 0 },
	{ "tsvector", 0 },
	{ "tsquery", 0 },
	{ "pg_lsn", 0 },
	{ "xid", 0 },
	{ "xid8", 0 },
	{ "enum", 0 },
	{ "int4range", 0 },
	{ "int8range", 0 },
	{ "numrange", 0 },
	{ "int4multirange", 0 },
	{ "int8multirange", 0 },
	{ "nummultirange", 0 },
	{ "xml", 0 },
	{ "tid", 0 },
	{ "cid", 0 },
	{ "int2vector", 0 },
	{ "oidvector", 0 },
	{ "jsonpath", 0 },
	{ "txid_snapshot", 0 },
	{ "pg_snapshot", 0 },
	{ "date", SENSITIVE_DATESTYLE },
	{ "timestamp", SENSITIVE_DATESTYLE },
	{ "daterange", SENSITIVE_DATESTYLE },
	{ "tsrange", SENSITIVE_DATESTYLE },
	{ "timestamptz", SENSITIVE_DATESTYLE | SENSITIVE_TIMEZONE },
	{ "tstzrange", SENSITIVE_DATESTYLE | SENSITIVE_UTC },
	{ "interval", SENSITIVE_INTERVALSTYLE },
	{ "float4", SENSITIVE_FLOAT },
	{ "float8", SENSITIVE_FLOAT },
	{ "point", SENSITIVE_FLOAT },
	{ "box", SENSITIVE_FLOAT },
	{ "line", SENSITIVE_FLOAT },
	{ "lseg", SENSITIVE_FLOAT },
	{ "path", SENSITIVE_FLOAT },
	{ "polygon", SENSITIVE_FLOAT },
	{ "circle", SENSITIVE_FLOAT },
	{ "bytea", SENSITIVE_BYTEA },
	{ "money", SENSITIVE_MONEY },
	/* printed with or without their schema, or may hold what is */
	{ "composite", SENSITIVE_NAMES },
	{ "regclass", SENSITIVE_NAMES },
	{ "regproc", SENSITIVE_NAMES },
	{ "regprocedure", SENSITIVE_NAMES },
	{ "regoper", SENSITIVE_NAMES },
	{ "regoperator", SENSITIVE_NAMES },
	{ "regtype", SENSITIVE_NAMES },
	{ "regcollation", SENSITIVE_NAMES },
	{ "regconfig", SENSITIVE_NAMES },
	{ "regdictionary", SENSITIVE_NAMES },
	{ "regnamespace", SENSITIVE_NAMES },
	{ "regrole", SENSITIVE_NAMES },
};

static unsigned
of_type(const char *type, bool array)
{
	if (type[0] == '_' && !array) {
		unsigned n = of_type(type + 1, true);

		return n & SENSITIVE_TIMEZONE
			   ? (n & ~SENSITIVE_TIMEZONE) | SENSITIVE_UTC
			   : n;
	}
	for (size_t i = 0; i < sizeof(type_list) / sizeof(*type_list); i++)
		if (strcmp(type, type_list[i].type) == 0)
			return type_list[i].sensitive;
	return SENSITIVE_ALL;
}

unsigned
sensitivity_of_type(const char *type)
{
	return of_type(type, false);
}
