/*
 * witnessctl_line.c: an evidence line in short, for people.
 *
 * All text comes from clients and is printed with control characters escaped.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <inttypes.h>
#include <string.h>

#include "jsonx.h"
#include "witnessctl.h"

void
witnessctl_put(const json_t *line, const char *key, const char *before)
{
	const json_t *v = json_object_get(line, key);

	if (v == NULL || json_is_null(v))
		return;
	fputs(before, stdout);
	witnessctl_print_json(stdout, v);
}

static void
put_record(const json_t *line)
{
	const json_t *statements = json_object_get(line, "query_sequence");
	const json_t *tables = json_object_get(line, "tables");
	size_t i;
	json_t *v;

	witnessctl_put(line, "user", " ");
	witnessctl_put(line, "database", "@");
	witnessctl_put(line, "capture", " ");
	witnessctl_put(line, "capture_reason", ":");
	json_array_foreach(tables, i, v)
	{
		witnessctl_put(v, "name", " ");
		witnessctl_put(v, "access", ":");
	}
	json_array_foreach(statements, i, v) witnessctl_put(v, "sql", " | ");
}

static void
put_outcome(const json_t *line)
{
	witnessctl_put(line, "outcome", " ");
	witnessctl_put(line, "resolved_by", " by ");
	witnessctl_put(line, "reason", " ");
}

static void
put_verdict(const json_t *line)
{
	size_t i;
	json_t *m;

	witnessctl_put(line, "verdict", " ");
	witnessctl_put(line, "reason", " ");
	json_array_foreach(json_object_get(line, "mismatches"), i, m)
	{
		witnessctl_put(m, "table", " ");
		witnessctl_put(m, "column", ".");
		witnessctl_put(m, "row", " at ");
		witnessctl_put(m, "claimed", " claimed ");
		witnessctl_put(m, "calculated", " calculated ");
	}
	witnessctl_put(line, "bundle", " ");
}

static void
put_definitions(const json_t *line)
{
	size_t i;
	json_t *v;

	witnessctl_put(line, "user", " ");
	witnessctl_put(line, "database",
	    json_is_string(json_object_get(line, "user")) ? "@" : " ");
	fputs(json_is_true(json_object_get(line, "witnessed"))
		  ? " witnessed"
		  : " not witnessed",
	    stdout);
	witnessctl_put(line, "reason", ":");
	witnessctl_put(line, "difference", " ");
	json_array_foreach(json_object_get(line, "statements"), i, v)
	    witnessctl_put(v, "sql", " | ");
}

static void
put_rest(const json_t *line)
{
	static const char *const head[] = { "type", "seq", "time", "prev" };
	json_t *copy = json_copy((json_t *)(uintptr_t)line);
	const char *key;
	json_t *v;
	void *next;

	for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
		(void)json_object_del(copy, head[i]);
	json_object_foreach_safe(copy, next, key, v)
	{
		if (json_is_null(v))
			(void)json_object_del(copy, key);
	}
	putchar(' ');
	witnessctl_print_json(stdout, copy);
	json_decref(copy);
}

static const struct printer {
	const char *type;
	const char *shown;
	void (*put)(const json_t *line);
} printers[] = {
	{ "StateCommitmentRecord", "record", put_record },
	{ "TransactionOutcome", "outcome", put_outcome },
	{ "VerificationResult", "verdict", put_verdict },
	{ "SchemaChange", "definitions", put_definitions },
};

void
witnessctl_put_line(const json_t *line)
{
	const char *type = jsonx_get(line, "type");
	uint64_t tx_id = jsonx_get_int(line, "tx_id");

	witnessctl_put(line, "time", "");
	printf(" %" PRIu64 " ", jsonx_get_int(line, "seq"));
	for (size_t i = 0; i < sizeof(printers) / sizeof(*printers); i++)
		if (type != NULL && strcmp(type, printers[i].type) == 0) {
			fputs(printers[i].shown, stdout);
			if (tx_id != 0)
				printf(" tx %" PRIu64, tx_id);
			printers[i].put(line);
			putchar('\n');
			return;
		}
	witnessctl_put(line, "type", "");
	put_rest(line);
	putchar('\n');
}
