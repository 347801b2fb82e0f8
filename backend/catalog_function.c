/*
 * catalog_function.c: what functions do, by their names, and by what the server
 * says of those that are not known here; cached per child.
 *
 * Every name, type and operator in the SQL here is qualified: it runs under
 * the client's search_path (CVE-2025-12819).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "catalog.h"

#include <string.h>

#include "arena.h"
#include "catalog_int.h"
#include "catalog_sql.h"
#include "exchange.h"
#include "log.h"

/* clang-format off */
/* By the name's index.  A row for each function of that name, found by their
 * numbers: aggregates and joins cost more in a new session than the rest. */
static const char function_sql[] =
	"SELECT p.provolatile, p.pronamespace OPERATOR(pg_catalog.<>)"
	" 11::pg_catalog.oid" /* pg_catalog */
	" FROM pg_catalog.pg_proc p"
	" WHERE p.proname" CATALOG_EQ "CAST($1 AS pg_catalog.name)"
	" AND CASE WHEN " TEXT("$2") " IS NULL"
	" THEN pg_catalog.pg_function_is_visible(p.oid)"
	" ELSE p.pronamespace" CATALOG_EQ
	"(SELECT n.oid FROM pg_catalog.pg_namespace n"
	" WHERE " TEXT("n.nspname") CATALOG_EQ TEXT("$2") ") END";
/* clang-format on */

static const struct {
	const char *name;
	enum function_class class;
} builtin[] = {
	/* SQLValueFunction: syntax, not in pg_proc */
	{ "current_date", FUNCTION_TIME },
	{ "current_time", FUNCTION_TIME },
	{ "current_timestamp", FUNCTION_TIME },
	{ "localtime", FUNCTION_TIME },
	{ "localtimestamp", FUNCTION_TIME },
	{ "current_role", FUNCTION_ENVIRONMENT },
	{ "current_user", FUNCTION_ENVIRONMENT },
	{ "user", FUNCTION_ENVIRONMENT },
	{ "session_user", FUNCTION_ENVIRONMENT },
	{ "current_catalog", FUNCTION_ENVIRONMENT },
	{ "current_schema", FUNCTION_ENVIRONMENT },
};

/* Built in, and not as their volatility alone would say. */
static const struct {
	const char *name;
	enum function_class class;
} listed[] = {
	{ "now", FUNCTION_TIME },
	{ "transaction_timestamp", FUNCTION_TIME },
	{ "nextval", FUNCTION_SEQUENCE },
	{ "setval", FUNCTION_SEQUENCE },
	{ "currval", FUNCTION_SEQUENCE },
	{ "lastval", FUNCTION_SEQUENCE },
	{ "set_config", FUNCTION_SETTINGS },
	/* Not immutable for settings that travel with the record, or for
	 * definitions: replayd/pin/function.c has them, too. */
	{ "age", FUNCTION_PURE },
	{ "array_to_json", FUNCTION_PURE },
	{ "array_to_string", FUNCTION_PURE },
	{ "concat", FUNCTION_PURE },
	{ "concat_ws", FUNCTION_PURE },
	{ "convert", FUNCTION_PURE },
	{ "convert_from", FUNCTION_PURE },
	{ "convert_to", FUNCTION_PURE },
	{ "date", FUNCTION_PURE },
	{ "date_part", FUNCTION_PURE },
	{ "date_trunc", FUNCTION_PURE },
	{ "enum_first", FUNCTION_PURE },
	{ "enum_last", FUNCTION_PURE },
	{ "enum_range", FUNCTION_PURE },
	{ "extract", FUNCTION_PURE },
	{ "format", FUNCTION_PURE },
	{ "generate_series", FUNCTION_PURE },
	{ "get_current_ts_config", FUNCTION_PURE },
	{ "json_agg", FUNCTION_PURE },
	{ "json_build_array", FUNCTION_PURE },
	{ "json_build_object", FUNCTION_PURE },
	{ "json_object_agg", FUNCTION_PURE },
	{ "json_populate_record", FUNCTION_PURE },
	{ "json_populate_recordset", FUNCTION_PURE },
	{ "json_to_record", FUNCTION_PURE },
	{ "json_to_recordset", FUNCTION_PURE },
	{ "json_to_tsvector", FUNCTION_PURE },
	{ "jsonb_agg", FUNCTION_PURE },
	{ "jsonb_build_array", FUNCTION_PURE },
	{ "jsonb_build_object", FUNCTION_PURE },
	{ "jsonb_object_agg", FUNCTION_PURE },
	{ "jsonb_path_exists_tz", FUNCTION_PURE },
	{ "jsonb_path_match_tz", FUNCTION_PURE },
	{ "jsonb_path_query_array_tz", FUNCTION_PURE },
	{ "jsonb_path_query_first_tz", FUNCTION_PURE },
	{ "jsonb_path_query_tz", FUNCTION_PURE },
	{ "jsonb_populate_record", FUNCTION_PURE },
	{ "jsonb_populate_recordset", FUNCTION_PURE },
	{ "jsonb_to_record", FUNCTION_PURE },
	{ "jsonb_to_recordset", FUNCTION_PURE },
	{ "jsonb_to_tsvector", FUNCTION_PURE },
	{ "length", FUNCTION_PURE },
	{ "make_timestamptz", FUNCTION_PURE },
	{ "money", FUNCTION_PURE },
	{ "numeric", FUNCTION_PURE },
	{ "overlaps", FUNCTION_PURE },
	{ "pg_typeof", FUNCTION_PURE },
	{ "phraseto_tsquery", FUNCTION_PURE },
	{ "plainto_tsquery", FUNCTION_PURE },
	{ "quote_literal", FUNCTION_PURE },
	{ "quote_nullable", FUNCTION_PURE },
	{ "row_to_json", FUNCTION_PURE },
	{ "string_agg", FUNCTION_PURE },
	{ "time", FUNCTION_PURE },
	{ "timestamp", FUNCTION_PURE },
	{ "timestamptz", FUNCTION_PURE },
	{ "timetz", FUNCTION_PURE },
	{ "timezone", FUNCTION_PURE },
	{ "to_char", FUNCTION_PURE },
	{ "to_date", FUNCTION_PURE },
	{ "to_json", FUNCTION_PURE },
	{ "to_jsonb", FUNCTION_PURE },
	{ "to_number", FUNCTION_PURE },
	{ "to_timestamp", FUNCTION_PURE },
	{ "to_tsquery", FUNCTION_PURE },
	{ "to_tsvector", FUNCTION_PURE },
	{ "ts_headline", FUNCTION_PURE },
	{ "websearch_to_tsquery", FUNCTION_PURE },
	{ "xml", FUNCTION_PURE },
};

bool
catalog_recordable(const char *name, enum function_class class)
{
	static const char *const names[] = { "clock_timestamp", "currval",
		"current_role", "current_user", "gen_random_uuid",
		"inet_client_addr", "inet_client_port", "inet_server_addr",
		"inet_server_port", "lastval", "nextval", "pg_backend_pid",
		"pg_current_xact_id", "random", "session_user",
		"statement_timestamp", "timeofday", "txid_current", "user" };

	if (class != FUNCTION_SEQUENCE && class != FUNCTION_VOLATILE &&
	    class != FUNCTION_ENVIRONMENT)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static bool
writes_large_object(const char *name)
{
	return strncmp(name, "lo_", 3) == 0 || strcmp(name, "lowrite") == 0;
}

static enum function_class
classify(const char *name, bool volatile_, bool stable, bool user)
{
	if (user)
		return volatile_ ? FUNCTION_USER_VOLATILE : FUNCTION_USER;
	for (size_t i = 0; i < sizeof(listed) / sizeof(*listed); i++)
		if (strcmp(listed[i].name, name) == 0)
			return listed[i].class;
	if (volatile_)
		return writes_large_object(name) ? FUNCTION_WRITES
						 : FUNCTION_VOLATILE;
	return stable ? FUNCTION_ENVIRONMENT : FUNCTION_PURE;
}

/* Of all functions that the name may mean, what the worst of them does. */
struct function_lookup {
	bool bad; /* the answer makes no sense */
	bool found;
	bool volatile_;
	bool stable;
	bool user;
};

static bool
function_row(void *arg, const struct message *row)
{
	struct function_lookup *l = arg;
	struct exchange_value v[2];

	l->bad = !exchange_row_values(row, v, 2) || v[0].len != 1;
	if (l->bad)
		return false;
	l->found = true;
	l->volatile_ |= *v[0].data == 'v';
	l->stable |= *v[0].data == 's';
	l->user |= exchange_is_true(&v[1]);
	return true;
}

enum function_class
catalog_function(
    struct session *s, const char *schema, const char *name, bool may_ask)
{
	struct catalog *c = s->catalog;
	struct function_lookup l = { 0 };
	enum function_class class;
	const char *params[] = { name, schema };
	struct exchange_error error = { "", "" };

	for (size_t i = 0;
	     schema == NULL && i < sizeof(builtin) / sizeof(*builtin); i++)
		if (strcmp(builtin[i].name, name) == 0)
			return builtin[i].class;
	for (size_t i = 0; i < c->n_functions; i++)
		if (catalog_same(c->functions[i].schema, schema) &&
		    strcmp(c->functions[i].name, name) == 0)
			return c->functions[i].class;
	if (!may_ask)
		return FUNCTION_UNKNOWN;
	if (exchange_query(s, function_sql, params, 2, function_row, &l,
		&error) != EXCHANGE_DONE) {
		if (!s->skipping) /* else it is the client's own error */
			log_warning("catalog",
			    "looking up a function failed: %s %s",
			    error.sqlstate, error.message);
		return FUNCTION_UNKNOWN;
	}
	if (l.bad)
		return FUNCTION_UNKNOWN;
	/* No such function: the server will say so; nothing can happen. */
	if (!l.found)
		return FUNCTION_PURE;
	class = classify(name, l.volatile_, l.stable, l.user);
	if (c->n_functions == MAX_FUNCTIONS)
		c->n_functions = 0;
	c->functions[c->n_functions++] =
	    (struct cached_function){ schema == NULL
					  ? NULL
					  : arena_strdup(c->arena, schema),
		    arena_strdup(c->arena, name), class };
	return class;
}
