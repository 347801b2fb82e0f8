/*
 * settings.c: plans the switching between canonical and client settings.
 *
 * The session's defaults are the canonical settings (cluster.c), so that most
 * jobs need no switch.  All is set for the transaction only and ends with its
 * rollback.  Called by replay.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"

#define DEFAULT_SEARCH_PATH "\"$user\", public"

/* Settings that rows as text depend on, and what they are for rows. */
static const struct record_setting canonical[] = {
	{ "DateStyle", "ISO, MDY" },
	{ "IntervalStyle", "postgres" },
	{ "TimeZone", "UTC" },
	{ "extra_float_digits", "1" },
	{ "bytea_output", "hex" },
	{ "lc_monetary", "C" },
	{ "client_encoding", "UTF8" },
	{ "search_path", "" },
	{ "array_nulls", "on" },
	{ "xmloption", "content" },
	{ "xmlbinary", "base64" },
	{ "transform_null_equals", "off" },
	{ "timezone_abbreviations", "Default" },
	{ "quote_all_identifiers", "off" },
};

/* What the worker alone decides. */
static const char *const refused[] = { "statement_timeout", "lock_timeout",
	"idle_in_transaction_session_timeout", "idle_session_timeout", "role",
	"session_authorization", "session_replication_role",
	"default_transaction_read_only", "transaction_read_only" };

static const char *
canonical_value(const char *name)
{
	for (size_t i = 0; i < sizeof(canonical) / sizeof(*canonical); i++) {
		if (strcasecmp(name, canonical[i].name) == 0)
			return canonical[i].value;
	}
	return NULL;
}

static bool
is_refused(const char *name)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		if (strcasecmp(name, refused[i]) == 0)
			return true;
	}
	return false;
}

char *
settings_expand_user(const char *path, const char *user)
{
	const char *at = strstr(path, "\"$user\"");
	struct buf b = { 0 };

	if (at == NULL) {
		buf_put_cstr(&b, path);
		return (char *)b.data;
	}
	buf_put(&b, path, (size_t)(at - path));
	buf_put_u8(&b, '"');
	for (; *user != '\0'; user++) {
		if (*user == '"')
			buf_put_u8(&b, '"');
		buf_put_u8(&b, (uint8_t)*user);
	}
	buf_put_u8(&b, '"');
	buf_put_cstr(&b, at + strlen("\"$user\""));
	return (char *)b.data;
}

static const char *
expand_user(const char *path, const char *user, struct arena *a)
{
	char *text = settings_expand_user(path, user);
	const char *out = arena_strdup(a, text);

	free(text);
	return out;
}

/* Names of reg* types are printed as short as the search_path allows. */
static bool
rows_need_empty_path(const struct record *r)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct rowenc_shape *s = &r->tables[i].shape;

		for (unsigned k = 0; k < s->n_columns; k++) {
			if (strncmp(s->columns[k].type, "reg", 3) == 0)
				return true;
		}
	}
	return false;
}

static void
call_add(struct settings_call *call, const char *name, const char *value)
{
	call->values[call->n_values++] = name;
	call->values[call->n_values++] = value;
}

static bool
call_finish(struct settings_call *call, struct arena *a)
{
	struct buf b = { 0 };

	if (call->n_values == 1)
		return true;
	for (int i = 2; i <= call->n_values; i += 2)
		buf_printf(&b, "%s pgwitness_pin.set($1, $%d, $%d)",
		    i == 2 ? "SELECT" : ",", i, i + 1);
	buf_put_u8(&b, 0);
	call->sql = arena_strdup(a, (const char *)b.data);
	buf_free(&b);
	return call->sql != NULL;
}

/* False: arena limit. */
static bool
plan_setting(const struct record *r, const struct record_setting *s,
    struct arena *a, struct settings *out)
{
	const char *for_rows = canonical_value(s->name);
	const char *value = s->value;

	if (is_refused(s->name))
		return true;
	if (strcasecmp(s->name, "search_path") == 0)
		value = expand_user(value, r->user, a);
	else if (for_rows != NULL && strcasecmp(for_rows, value) == 0)
		return true;
	if (value == NULL)
		return false;
	call_add(&out->client, s->name, value);
	if (for_rows != NULL)
		call_add(&out->canonical, s->name, for_rows);
	return true;
}

static bool
settings_alloc(
    struct settings_call *call, size_t n, const char *token, struct arena *a)
{
	call->values = arena_alloc(a, (2 * n + 1) * sizeof(*call->values));
	if (call->values == NULL)
		return false;
	call->values[call->n_values++] = token;
	return true;
}

bool
settings_plan(const struct record *r, bool has_user_schema, const char *token,
    struct arena *a, struct settings *out)
{
	static const struct record_setting path = { "search_path",
		DEFAULT_SEARCH_PATH };
	bool has_path = false;

	memset(out, 0, sizeof(*out));
	if (r->n_settings == 0 && !has_user_schema && !rows_need_empty_path(r))
		return true;
	if (!settings_alloc(&out->client, r->n_settings + 1, token, a) ||
	    !settings_alloc(&out->canonical, r->n_settings + 1, token, a))
		return false;
	for (size_t i = 0; i < r->n_settings; i++) {
		if (strcasecmp(r->settings[i].name, "search_path") == 0)
			has_path = true;
		if (!plan_setting(r, &r->settings[i], a, out))
			return false;
	}
	if (!has_path && (has_user_schema || rows_need_empty_path(r)) &&
	    !plan_setting(r, &path, a, out))
		return false;
	return call_finish(&out->client, a) && call_finish(&out->canonical, a);
}
