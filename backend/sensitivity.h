/*
 * sensitivity.h: which settings the text of a type's values depends on.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SENSITIVITY_H
#define PGW_SENSITIVITY_H

/* Settings that a column's text depends on beyond DateStyle ISO. */
#define SENSITIVE_DATESTYLE 1u
#define SENSITIVE_TIMEZONE 2u		/* a plain timestamptz column */
#define SENSITIVE_INTERVALSTYLE 4u
#define SENSITIVE_FLOAT 8u		/* extra_float_digits */
#define SENSITIVE_BYTEA 16u		/* bytea_output */
#define SENSITIVE_MONEY 32u		/* lc_monetary */
#define SENSITIVE_UTC 64u		/* timestamptz inside something */
#define SENSITIVE_NAMES 128u		/* search_path: no session is canonical */
/* A type that is not known here; SENSITIVE_TIMEZONE stands for itself alone. */
#define SENSITIVE_ALL                                                        \
	(SENSITIVE_DATESTYLE | SENSITIVE_INTERVALSTYLE | SENSITIVE_FLOAT |   \
	SENSITIVE_BYTEA | SENSITIVE_MONEY | SENSITIVE_UTC)

/*
 * The bits for a pg_type.typname in pg_catalog ("_int4": the element's), or
 * for what the catalog's query says instead: "enum", "composite".
 */
unsigned sensitivity_of_type(const char *type);

#endif
