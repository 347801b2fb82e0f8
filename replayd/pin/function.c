/*
 * function.c: which functions repeat in replay what they gave on the server.
 *
 * Built in and immutable: all.  Built in and not: those of a list.  Made by
 * users in SQL or PL/pgSQL: all, as what their bodies call is looked at when
 * they run.  Anything else is refused.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/proclang.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * Not immutable for settings that travel with the record, for the pinned time,
 * for definitions that are the server's, or without a result or an effect that
 * outlives the job: sorted.
 */
static const char *const repeatable[] = { "age", "anytextcat", "array_in",
	"array_out", "array_to_json", "array_to_string", "cash_in", "cash_out",
	"concat", "concat_ws", "convert", "convert_from", "convert_to", "date",
	"date_cmp_timestamptz", "date_eq_timestamptz", "date_ge_timestamptz",
	"date_gt_timestamptz", "date_in", "date_le_timestamptz",
	"date_lt_timestamptz", "date_ne_timestamptz", "date_out", "date_part",
	"date_trunc", "domain_in", "enum_first", "enum_in", "enum_last",
	"enum_out", "enum_range", "extract", "format", "generate_series",
	"get_current_ts_config", "in_range", "interval_in", "interval_out",
	"interval_pl_timestamptz", "json_agg", "json_build_array",
	"json_build_object", "json_object_agg", "json_populate_record",
	"json_populate_recordset", "json_to_record", "json_to_recordset",
	"json_to_tsvector", "jsonb_agg", "jsonb_build_array",
	"jsonb_build_object", "jsonb_object_agg", "jsonb_path_exists_tz",
	"jsonb_path_match_tz", "jsonb_path_query_array_tz",
	"jsonb_path_query_first_tz", "jsonb_path_query_tz",
	"jsonb_populate_record", "jsonb_populate_recordset", "jsonb_to_record",
	"jsonb_to_recordset", "jsonb_to_tsvector", "length",
	"make_timestamptz", "money", "multirange_in", "multirange_out", "now",
	"numeric", "overlaps", "pg_advisory_xact_lock",
	"pg_advisory_xact_lock_shared", "pg_notify", "pg_typeof", "phraseto_tsquery", "plainto_tsquery",
	"quote_literal", "quote_nullable", "range_in", "range_out",
	"record_in", "record_out", "row_to_json", "string_agg",
	"textanycat", "time", "time_in", "timestamp",
	"timestamp_cmp_timestamptz", "timestamp_eq_timestamptz",
	"timestamp_ge_timestamptz", "timestamp_gt_timestamptz",
	"timestamp_in", "timestamp_le_timestamptz",
	"timestamp_lt_timestamptz", "timestamp_ne_timestamptz",
	"timestamp_out", "timestamptz", "timestamptz_cmp_date",
	"timestamptz_cmp_timestamp", "timestamptz_eq_date",
	"timestamptz_eq_timestamp", "timestamptz_ge_date",
	"timestamptz_ge_timestamp", "timestamptz_gt_date",
	"timestamptz_gt_timestamp", "timestamptz_in", "timestamptz_le_date",
	"timestamptz_le_timestamp", "timestamptz_lt_date",
	"timestamptz_lt_timestamp", "timestamptz_mi_interval",
	"timestamptz_ne_date", "timestamptz_ne_timestamp", "timestamptz_out",
	"timestamptz_pl_interval", "timetz", "timetz_in", "timezone",
	"to_char", "to_date", "to_json", "to_jsonb", "to_number",
	"to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp",
	"ts_headline", "ts_match_tq", "ts_match_tt", "websearch_to_tsquery",
	"xml", "xml_in" };

/* backend/catalog.c has the same list; sorted. */
static const char *const recordable[] = { "clock_timestamp", "currval",
	"gen_random_uuid", "inet_client_addr", "inet_client_port",
	"inet_server_addr", "inet_server_port", "lastval", "nextval",
	"pg_backend_pid", "pg_current_xact_id", "random", "session_user",
	"statement_timestamp", "timeofday", "txid_current" };

static int
compare(const void *key, const void *element)
{
	return strcmp(key, *(const char *const *)element);
}

static bool
is_listed(const char *name, const char *const *list, size_t n)
{
	return bsearch(name, list, n, sizeof(*list), compare) != NULL;
}

static bool
is_built_in(Oid funcid)
{
	return funcid < FirstNormalObjectId;
}

bool
function_is_recordable(Oid funcid)
{
	char *name = is_built_in(funcid) ? get_func_name(funcid) : NULL;

	return name != NULL &&
	       is_listed(name, recordable, lengthof(recordable));
}

/* Enums, and what is made of types that users made, are hashed by their OIDs. */
static bool
hashes_oids(const char *name)
{
	return strncmp(name, "hash_", 5) == 0 ||
	       strncmp(name, "hashenum", 8) == 0;
}

static void
check_built_in(const Form_pg_proc p)
{
	const char *name = NameStr(p->proname);

	if (hashes_oids(name))
		job_refuse(PIN_ENVIRONMENT, name);
	if (p->provolatile == PROVOLATILE_IMMUTABLE ||
	    p->prorettype == TRIGGEROID)
		return;
	/* age(xid) is of the server's counters. */
	if (strcmp(name, "age") == 0 && p->proargtypes.values[0] == XIDOID)
		job_refuse(PIN_ENVIRONMENT, name);
	if (is_listed(name, repeatable, lengthof(repeatable)))
		return;
	if (strcmp(name, "nextval") == 0 || strcmp(name, "currval") == 0 ||
	    strcmp(name, "lastval") == 0 || strcmp(name, "setval") == 0)
		job_refuse(PIN_SEQUENCE, name);
	job_refuse(p->provolatile == PROVOLATILE_VOLATILE ? PIN_VOLATILE
							  : PIN_ENVIRONMENT,
	    name);
}

static void
check_own(const Form_pg_proc p, bool nested)
{
	static Oid plpgsql = InvalidOid;

	if (!OidIsValid(plpgsql))
		plpgsql = get_language_oid("plpgsql", true);
	if (nested && p->prolang != ClanguageId)
		job_refuse(PIN_USER_FUNCTION, NameStr(p->proname));
	if (p->prolang == SQLlanguageId || p->prolang == plpgsql)
		return;
	/* Those of extensions; this one's own ask for the token. */
	if (p->prolang == ClanguageId &&
	    (p->provolatile == PROVOLATILE_IMMUTABLE ||
		p->pronamespace == get_namespace_oid("pgwitness_pin", true)))
		return;
	job_refuse(PIN_ENVIRONMENT, NameStr(p->proname));
}

/* TG_RELID is the one variable of a trigger function that is an OID. */
static void
check_trigger_text(HeapTuple tuple)
{
	const Form_pg_proc p = (Form_pg_proc)GETSTRUCT(tuple);
	bool null;
	Datum source;
	char *body;

	if (p->prorettype != TRIGGEROID || p->prolang == ClanguageId ||
	    p->prolang == INTERNALlanguageId)
		return;
	source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &null);
	if (null)
		return;
	body = TextDatumGetCString(source);
	if (strstr(asc_tolower(body, strlen(body)), "tg_relid") != NULL)
		job_refuse(PIN_ENVIRONMENT, "TG_RELID");
}

void
function_check(Oid funcid, bool nested)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Form_pg_proc p;

	if (!HeapTupleIsValid(tuple))
		return; /* the executor says so */
	p = (Form_pg_proc)GETSTRUCT(tuple);
	if (is_built_in(funcid)) {
		check_built_in(p);
	} else {
		check_own(p, nested);
		check_trigger_text(tuple);
	}
	ReleaseSysCache(tuple);
}
