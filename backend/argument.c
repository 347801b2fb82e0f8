/*
 * argument.c: constants that SQL EXECUTE gives to parameters.
 *
 * EXECUTE casts as an assignment does, a bound text is read by the type's input
 * function: the same for strings that have no type yet, and for numbers that
 * are written as the type itself writes them.  What the type would refuse is
 * left to EXECUTE, whose error is another one.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "argument.h"

#include <stdlib.h>
#include <string.h>

/* Digits that each integer and each float of that length can hold. */
#define INTEGER_DIGITS 18
#define FLOAT_CHARS 30
#define NUMERIC_CHARS 1000

static size_t
digits(const char *s)
{
	return strspn(s, "0123456789");
}

/* -12 */
static bool
is_integer(const char *s, long long least, long long most)
{
	const char *d = s + (*s == '-');
	size_t n = digits(d);
	long long v;

	if (n == 0 || n > INTEGER_DIGITS || d[n] != '\0')
		return false;
	v = strtoll(s, NULL, 10);
	return v >= least && v <= most;
}

/* -12.50 */
static bool
is_decimal(const char *s, size_t max)
{
	const char *d = s + (*s == '-');
	size_t n = digits(d);

	if (n == 0 || strlen(s) > max)
		return false;
	d += n;
	if (*d == '\0')
		return true;
	n = *d == '.' ? digits(d + 1) : 0;
	return n > 0 && d[n + 1] == '\0';
}

/* The text has the form: 0 a digit, x a small hexadecimal one, else itself. */
static bool
has_form(const char *s, const char *form)
{
	for (; *form != '\0'; form++, s++)
		if (*s == '\0' ||
		    (*form == '0'      ? digits(s) == 0
			: *form == 'x' ? strchr("0123456789abcdef", *s) == NULL
				       : *s != *form))
			return false;
	return true;
}

static bool
is_uuid(const char *s)
{
	return strlen(s) == 36 &&
	       has_form(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

static int
two_digits(const char *s)
{
	return (s[0] - '0') * 10 + s[1] - '0';
}

/* 2000-12-31, read the same in each DateStyle. */
static bool
begins_with_date(const char *s)
{
	int year, month, day, last;

	if (!has_form(s, "0000-00-00"))
		return false;
	year = two_digits(s) * 100 + two_digits(s + 2);
	month = two_digits(s + 5);
	day = two_digits(s + 8);
	last = month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
	if (month == 2)
		last = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
			   ? 29
			   : 28;
	return year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= last;
}

static bool
is_date(const char *s)
{
	return strlen(s) == 10 && begins_with_date(s);
}

/* +02, +02:30 */
static bool
is_offset(const char *s)
{
	if ((*s != '+' && *s != '-') || !has_form(s + 1, "00") ||
	    two_digits(s + 1) > 14)
		return false;
	return s[3] == '\0' || (strlen(s) == 6 && has_form(s + 3, ":00") &&
				   two_digits(s + 4) < 60);
}

/* 2000-12-31 23:59:59.999999 */
static bool
is_timestamp(const char *s, bool zone)
{
	size_t n;

	if (!begins_with_date(s))
		return false;
	s += 10;
	if (*s == '\0')
		return true;
	if ((*s != ' ' && *s != 'T') || !has_form(s + 1, "00:00") ||
	    two_digits(s + 1) > 23 || two_digits(s + 4) > 59)
		return false;
	s += 6;
	if (has_form(s, ":00")) {
		if (two_digits(s + 1) > 59)
			return false;
		s += 3;
		n = *s == '.' ? digits(s + 1) : 0;
		if (n > 6)
			return false;
		s += n > 0 ? n + 1 : 0;
	}
	return *s == '\0' || (zone && is_offset(s));
}

static bool
is_bytea(const char *s)
{
	size_t n = strlen(s);

	return n % 2 == 0 && strncmp(s, "\\x", 2) == 0 &&
	       strspn(s + 2, "0123456789abcdef") == n - 2;
}

static bool
is_bool(const char *s)
{
	return strcmp(s, "true") == 0 || strcmp(s, "false") == 0 ||
	       strcmp(s, "t") == 0 || strcmp(s, "f") == 0;
}

/* pg_type.oid of the types that are known here. */
enum {
	BOOL = 16,
	BYTEA = 17,
	INT8 = 20,
	INT2 = 21,
	INT4 = 23,
	TEXT = 25,
	FLOAT4 = 700,
	FLOAT8 = 701,
	BPCHAR = 1042,
	VARCHAR = 1043,
	DATE = 1082,
	TIMESTAMP = 1114,
	TIMESTAMPTZ = 1184,
	NUMERIC = 1700,
	UUID = 2950
};

static uint32_t
type_of(const char *name)
{
	static const struct {
		const char *name;
		uint32_t oid;
	} types[] = { { "bool", BOOL }, { "bytea", BYTEA }, { "int8", INT8 },
		{ "int2", INT2 }, { "int4", INT4 }, { "text", TEXT },
		{ "float4", FLOAT4 }, { "float8", FLOAT8 },
		{ "bpchar", BPCHAR }, { "varchar", VARCHAR }, { "date", DATE },
		{ "timestamp", TIMESTAMP }, { "timestamptz", TIMESTAMPTZ },
		{ "numeric", NUMERIC }, { "uuid", UUID } };

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(types[i].name, name) == 0)
			return types[i].oid;
	return 0;
}

/* A cast to it changes nothing behind which the parameter is assigned. */
static bool
cast_is_idle(const char *cast, uint32_t type)
{
	uint32_t to = cast != NULL ? type_of(cast) : type;

	return to == type || (to == TEXT && type == VARCHAR) ||
	       (to == VARCHAR && type == TEXT);
}

bool
argument_fits(const struct analyzed_argument *a, uint32_t type)
{
	bool string = a->kind == ARGUMENT_STRING;
	bool number = a->kind == ARGUMENT_INTEGER ||
		      a->kind == ARGUMENT_NUMERIC;

	if (a->kind == ARGUMENT_OTHER || !cast_is_idle(a->cast, type))
		return false;
	if (a->kind == ARGUMENT_NULL)
		return true;
	switch (type) {
	case TEXT:
	case VARCHAR:
	case BPCHAR:
		return string || a->kind == ARGUMENT_INTEGER;
	case INT2:
		return (string || number) &&
		       is_integer(a->value, INT16_MIN, INT16_MAX);
	case INT4:
		return (string || number) &&
		       is_integer(a->value, INT32_MIN, INT32_MAX);
	case INT8:
		return (string || number) &&
		       is_integer(a->value, INT64_MIN, INT64_MAX);
	case NUMERIC:
		return (string || number) &&
		       is_decimal(a->value, NUMERIC_CHARS);
	case FLOAT4:
	case FLOAT8:
		return (string || number) && is_decimal(a->value, FLOAT_CHARS);
	case BOOL:
		return (string || a->kind == ARGUMENT_BOOLEAN) &&
		       is_bool(a->value);
	case UUID:
		return string && is_uuid(a->value);
	case DATE:
		return string && is_date(a->value);
	case TIMESTAMP:
		return string && is_timestamp(a->value, false);
	case TIMESTAMPTZ:
		return string && is_timestamp(a->value, true);
	case BYTEA:
		return string && is_bytea(a->value);
	default:
		return false;
	}
}
