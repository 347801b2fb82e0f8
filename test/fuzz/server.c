/*
 * server.c: the answers of a PostgreSQL server, decided by the input.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "server.h"

#include <string.h>

#include "pqproto.h"

/* timestamptz_send() of 2026-01-01 UTC, in hex. */
#define SERVER_TIME "0002ea470ae86000"

enum kind {
	KIND_NONE,
	KIND_TABLE,
	KIND_COLUMNS,
	KIND_DEFINITION,
	KIND_FUNCTION,
	KIND_FACTS,
	KIND_QUICK_FACTS, /* and of operators */
	KIND_FINGERPRINTS,
	KIND_WATCH,
	KIND_PREPARED,
	KIND_SETTINGS, /* of DDL */
	KIND_SCOPE,
	KIND_LOCKS,
	KIND_COUNTERS,
	KIND_BESIDE,        /* rows of the transaction's own */
	KIND_ROWS,          /* with images of rows in the last column */
	KIND_CHANGED_ROWS,  /* likewise, of what changes them */
	KIND_JOINED,        /* with two of them and facts */
	KIND_JOINED_INSERT, /* with one */
	KIND_JOINED_BLOCK,  /* likewise, without facts */
	KIND_JOINED_BLOCK_INSERT,
	KIND_JOINED_KNOWN, /* likewise, without settings */
	KIND_JOINED_INSERT_KNOWN,
	KIND_BEGIN,
	KIND_COMMIT,
	KIND_ROLLBACK,
	KIND_DML,
	KIND_COPY,
	KIND_EMPTY,
	KIND_BAD, /* a syntax error */
	KIND_OTHER
};

static const struct {
	const char *start;
	enum kind kind;
} kinds[] = { { "SELECT c.oid, n.nspname", KIND_TABLE },
	{ "SELECT a.attname,", KIND_COLUMNS },
	{ "WITH s AS MATERIALIZED", KIND_DEFINITION },
	{ "SELECT pg_catalog.current_setting('search_path')", KIND_SETTINGS },
	{ "SELECT pg_catalog.current_setting('track_counts')", KIND_COUNTERS },
	{ "WITH RECURSIVE reach", KIND_SCOPE },
	{ "SELECT l.relation", KIND_LOCKS },
	{ "SELECT p.provolatile", KIND_FUNCTION },
	{ "SELECT CAST(pg_catalog.pg_current_xact", KIND_FACTS },
	{ "SELECT pg_catalog.string_agg((SELECT", KIND_FINGERPRINTS },
	{ "SELECT p.statement", KIND_PREPARED }, { "EXECUTE", KIND_DML },
	{ "BEGIN", KIND_BEGIN }, { "COMMIT", KIND_COMMIT },
	{ "ROLLBACK TO", KIND_OTHER }, { "ROLLBACK", KIND_ROLLBACK },
	{ "PREPARE TRANSACTION", KIND_COMMIT }, { "UPDATE", KIND_DML },
	{ "INSERT", KIND_DML }, { "DELETE", KIND_DML }, { "COPY", KIND_COPY },
	{ "SELECT 'not", KIND_BAD }, { "pgwitness", KIND_BAD },
	{ "SELECT", KIND_NONE } };

static enum kind
kind_of_joined(const char *sql)
{
	bool asks = strstr(sql, "'search_path'") != NULL;

	if (strncmp(sql, "WITH", 4) == 0)
		return asks ? KIND_JOINED : KIND_JOINED_KNOWN;
	return asks ? KIND_JOINED_INSERT : KIND_JOINED_INSERT_KNOWN;
}

static enum kind
kind_of(const char *sql)
{
	if (strncmp(sql, "SELECT CASE", 11) == 0)
		return KIND_WATCH;
	if (strncmp(sql, "SELECT CAST(pg_catalog.pg_current_xact", 38) == 0 &&
	    strstr(sql, "pg_operator") != NULL)
		return KIND_QUICK_FACTS;
	if (strstr(sql, "CAST('now'") != NULL &&
	    strstr(sql, "pg_conf_load_time") == NULL)
		return strncmp(sql, "WITH", 4) == 0 ? KIND_JOINED_BLOCK
						    : KIND_JOINED_BLOCK_INSERT;
	if (strstr(sql, "CAST('now'") != NULL)
		return kind_of_joined(sql);
	if (strstr(sql, "t.cmin END") != NULL)
		return KIND_BESIDE;
	if (strstr(sql, "ROW(") != NULL)
		return strncmp(sql, "SELECT", 6) == 0 ? KIND_ROWS
						      : KIND_CHANGED_ROWS;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strncmp(sql, kinds[i].start, strlen(kinds[i].start)) == 0)
			return kinds[i].kind;
	return *sql == '\0' ? KIND_EMPTY : KIND_OTHER;
}

/* --- messages --- */

static size_t
begin(struct server *s, char type)
{
	buf_put_u8(&s->out, (uint8_t)type);
	buf_put_u32(&s->out, 0);
	return s->out.len - 4;
}

static void
end(struct server *s, size_t at)
{
	buf_set_u32(&s->out, at, (uint32_t)(s->out.len - at));
}

static void
empty(struct server *s, char type)
{
	end(s, begin(s, type));
}

static void
text(struct server *s, char type, const char *value)
{
	size_t at = begin(s, type);

	buf_put_cstr(&s->out, value);
	end(s, at);
}

static void
notification(struct server *s)
{
	size_t at = begin(s, PqMsg_NotificationResponse);

	buf_put_u32(&s->out, 1);
	buf_put_cstr(&s->out, "channel");
	buf_put_cstr(&s->out, "payload");
	end(s, at);
	s->notify--;
}

static void
parameter(struct server *s, const char *name, const char *value)
{
	size_t at = begin(s, PqMsg_ParameterStatus);

	buf_put_cstr(&s->out, name);
	buf_put_cstr(&s->out, value);
	end(s, at);
}

/* Notifications come outside of a block, also while nothing is asked. */
static void
ready(struct server *s)
{
	size_t at;

	if (s->notify > 0 && s->status == PQ_IDLE)
		notification(s);
	at = begin(s, PqMsg_ReadyForQuery);
	buf_put_u8(&s->out, (uint8_t)s->status);
	end(s, at);
	if (s->notify > 0 && s->status == PQ_IDLE)
		notification(s);
	/* None outlives its transaction. */
	if (s->status == PQ_IDLE)
		memset(s->portals, 0, sizeof(s->portals));
}

static void
notice(struct server *s, char type, const char *state)
{
	size_t at = begin(s, type);

	buf_printf(&s->out, "SERROR%cVERROR%cC%s%cMno%c", 0, 0, state, 0, 0);
	buf_put_u8(&s->out, 0);
	end(s, at);
}

static void
error(struct server *s, const char *state, bool extended)
{
	notice(s, PqMsg_ErrorResponse, state);
	if (s->status == PQ_IN_BLOCK)
		s->status = PQ_FAILED;
	s->skipping = extended;
	s->copying = false;
}

static void
row(struct server *s, const char *const *values, unsigned n)
{
	size_t at = begin(s, PqMsg_DataRow);

	buf_put_u16(&s->out, (uint16_t)n);
	for (unsigned i = 0; i < n; i++) {
		if (values[i] == NULL)
			buf_put_u32(&s->out, UINT32_MAX);
		else
			buf_put_lp(&s->out, values[i], strlen(values[i]));
	}
	end(s, at);
}

/* --- rows that the proxy asks for --- */

static void
table_row(struct server *s)
{
	const char *values[] = { "16384", "public", "t", "r", "p", "t", "t",
		"f", "f", "f", "f", "f", "f", "fp", "fp", "t", "f", "t" };

	if (s->about == 'u') {
		values[0] = "16385";
		values[2] = "u";
		values[9] = values[16] = "t";
	} else if (s->about == 'a') {
		values[0] = "16386";
		values[2] = "audit";
	}
	row(s, values, sizeof(values) / sizeof(*values));
}

static void
counter_rows(struct server *s)
{
	char n[4][16];
	const char *target[] = { "on", "16385", "public", "u", n[0], n[1],
		n[2] };
	const char *audit[] = { "on", "16386", "public", "audit", n[3], "0",
		"0" };

	snprintf(n[0], sizeof(*n), "%u", s->inserted);
	snprintf(n[1], sizeof(*n), "%u", s->updated);
	snprintf(n[2], sizeof(*n), "%u", s->deleted);
	snprintf(n[3], sizeof(*n), "%u", s->beside);
	row(s, target, 7);
	if (s->beside > 0)
		row(s, audit, 7);
}

static void
scope_rows(struct server *s, unsigned n)
{
	static const char *const target[] = { "public", "t", "r", "t", "8192",
		"f", "f" };
	static const char *const audit[] = { "public", "audit", "r", "f",
		"300000", "f", "f" };

	row(s, target, 7);
	if (n == 3)
		row(s, audit, 7);
}

static void
lock_rows(struct server *s, unsigned n)
{
	static const char *const locks[][5] = { { "16384", "public", "t", "r",
						    "t" },
		{ "16386", "public", "audit", "r", "t" },
		{ "16387", NULL, NULL, NULL, "t" } };

	for (unsigned i = 0; i < n; i++)
		row(s, locks[i], 5);
}

static void
rows_beside(struct server *s)
{
	static const char *const mine[] = { "(1," SERVER_MARK ")", "3" };

	for (unsigned i = 0; i < s->beside % 4; i++)
		row(s, mine, 2);
}

static void
rows_of(struct server *s, enum kind kind, unsigned n)
{
	static const char *const id[] = { "id", "integer", "1", "", "", NULL,
		"int4", "f" };
	static const char *const v[] = { "v", "text", NULL, "", "", NULL,
		"text", "f" };
	static const char *const definition[] = { "d" };
	static const char *const settings[] = { "public", "ISO, MDY",
		"postgres", "UTC", "on", "content", "off", "UTF8", "u" };
	static const char *const function[] = { "i", "f" };
	static const char rare[] = "origin,on,off,base64,content,Default,off";
	static const char *const facts[] = { "777", SERVER_TIME, SERVER_TIME,
		"read committed", "\"$user\", public", "ISO, MDY", "postgres",
		"UTC", "1", "hex", "C", "C", "C", "pg_catalog.simple", "on",
		"UTF8", "on", rare, "f" };
	static const char *const fingerprints[] = { "16384=fp tt" };
	static const char *const prepared[][3] = {
		{ "PREPARE a (int4) AS UPDATE t SET v = 'w' WHERE id = $1", "t",
		    "{23}" },
		{ "DELETE FROM t RETURNING *", "f", "{}" },
		{ "SELECT 1; PREPARE b AS SELECT 1", "t", "{}" }
	};
	static const char *const joined[] = { "x", "(1," SERVER_MARK ")",
		"(1," SERVER_MARK ")", "777", SERVER_TIME, SERVER_TIME,
		"read committed", "\"$user\", public", "ISO, MDY", "postgres",
		"UTC", "1", "hex", "C", "C", "C", "pg_catalog.simple", "on",
		"UTF8", "on", rare, SERVER_TIME };
	/* The settings are known, and the configuration was read since. */
	static const char *const known[] = { "x", "(1," SERVER_MARK ")",
		"(1," SERVER_MARK ")", "777", SERVER_TIME, SERVER_TIME,
		SERVER_TIME };
	static const char *const reloaded[] = { "x", "(1," SERVER_MARK ")",
		"(1," SERVER_MARK ")", "777", SERVER_TIME, "0002ea470af7a240",
		SERVER_TIME };
	const char *const block[] = { joined[1], joined[2], joined[21] };
	static const char *const image[] = { "(1," SERVER_MARK ")" };
	static const char *const two[] = { "x", "(2," SERVER_MARK ")" };

	if (kind == KIND_PREPARED && n > 0)
		row(s, prepared[n - 1], 3);
	else if (kind == KIND_TABLE)
		table_row(s);
	else if (kind == KIND_COUNTERS)
		counter_rows(s);
	else if (kind == KIND_SCOPE)
		scope_rows(s, n);
	else if (kind == KIND_LOCKS)
		lock_rows(s, n);
	else if (kind == KIND_BESIDE)
		rows_beside(s);
	else if (kind == KIND_DEFINITION)
		row(s, definition, 1);
	else if (kind == KIND_SETTINGS)
		row(s, settings, 9);
	else if (kind == KIND_FUNCTION)
		row(s, function, 2);
	else if (kind == KIND_FACTS)
		row(s, facts, 18);
	else if (kind == KIND_QUICK_FACTS)
		row(s, facts, 19);
	else if (kind == KIND_FINGERPRINTS)
		row(s, fingerprints, 1);
	else if (kind == KIND_WATCH)
		row(s, &joined[21], 1);
	else if (kind == KIND_COLUMNS) {
		row(s, id, 8);
		row(s, v, 8);
	}
	for (unsigned i = 0; kind == KIND_JOINED && i < n; i++)
		row(s, joined + (n != 3), 21 + (n == 3));
	for (unsigned i = 0; kind == KIND_JOINED_BLOCK && i < n; i++)
		row(s, block, 3);
	for (unsigned i = 0; kind == KIND_JOINED_BLOCK_INSERT && i < n; i++)
		row(s, block + 1, 2);
	for (unsigned i = 0; kind == KIND_JOINED_INSERT && i < n; i++)
		row(s, joined + 2, 20);
	for (unsigned i = 0; kind == KIND_JOINED_KNOWN && i < n; i++)
		row(s, (n == 2 ? reloaded : known) + (n != 3), 6 + (n == 3));
	for (unsigned i = 0; kind == KIND_JOINED_INSERT_KNOWN && i < n; i++)
		row(s, (n == 2 ? reloaded : known) + 2, 5);
	for (unsigned i = 0;
	     (kind == KIND_ROWS || kind == KIND_CHANGED_ROWS) && i < n; i++)
		row(s, n > 2 ? two : image, n > 2 ? 2 : 1);
	for (unsigned i = 0; kind == KIND_NONE && i < n; i++)
		row(s, two, 1);
}

/* --- what a statement does --- */

static bool
changes_status(struct server *s, enum kind kind)
{
	bool failed = s->status == PQ_FAILED;

	if (kind == KIND_BEGIN) {
		text(s, PqMsg_CommandComplete, "BEGIN");
		s->status = PQ_IN_BLOCK;
	} else if (kind == KIND_COMMIT || kind == KIND_ROLLBACK) {
		text(s, PqMsg_CommandComplete,
		    failed || kind == KIND_ROLLBACK ? "ROLLBACK" : "COMMIT");
		s->status = PQ_IDLE;
	} else {
		return false;
	}
	return true;
}

static bool
changes_rows(enum kind kind)
{
	return kind == KIND_DML ||
	       (kind >= KIND_CHANGED_ROWS && kind <= KIND_JOINED_INSERT_KNOWN);
}

static void
copy_in(struct server *s, bool extended)
{
	size_t at = begin(s, PqMsg_CopyInResponse);

	buf_put(&s->out, "\0\0\0", 3);
	end(s, at);
	s->copying = true;
	s->copy_is_simple = !extended;
}

static void
count(struct server *s, uint8_t choice)
{
	unsigned *n = s->verb == 'I'   ? &s->inserted
		      : s->verb == 'U' ? &s->updated
				       : &s->deleted;

	*n += choice == 0 ? 1 : choice % 4;
	s->beside += choice % 16 >= 12;
}

/* Of one column, which is this table's. */
static void
description(struct server *s, uint32_t table)
{
	size_t at = begin(s, PqMsg_RowDescription);

	buf_put_u16(&s->out, 1);
	buf_put_cstr(&s->out, "row");
	buf_put_u32(&s->out, table);
	buf_put(&s->out, "\0\0\0\0\x08\xc9\xff\xff\xff\xff\xff\xff\0\0", 14);
	end(s, at);
}

static void
run(struct server *s, enum kind kind, bool extended)
{
	uint8_t choice = take_u8(&s->choices);
	char tag[32];

	if (kind == KIND_BAD) {
		error(s, "42601", extended);
		return;
	}
	if (s->status == PQ_FAILED && kind != KIND_COMMIT &&
	    kind != KIND_ROLLBACK && kind != KIND_OTHER) {
		error(s, "25P02", extended);
		return;
	}
	if (choice >= 200 && choice < 220) {
		error(s, choice == 200 ? "40001" : "22012", extended);
		return;
	}
	if (choice >= 220 && choice < 235)
		notice(s, PqMsg_NoticeResponse, "00000");
	if (choice >= 235 && choice < 240)
		parameter(s, "TimeZone", choice & 1 ? "UTC" : "GMT");
	if (choice >= 240 && choice < 245)
		s->notify += choice - 239u;
	if (kind == KIND_EMPTY) {
		empty(s, PqMsg_EmptyQueryResponse);
		return;
	}
	if (changes_status(s, kind))
		return;
	if (kind == KIND_COPY) {
		copy_in(s, extended);
		return;
	}
	if (kind == KIND_DML || kind == KIND_CHANGED_ROWS)
		count(s, choice);
	if (kind == KIND_NONE && !extended)
		description(s, choice & 1 ? 16384 : 0);
	rows_of(s, kind, choice == 0 ? 1 : choice % 4);
	if (extended && choice >= 250) {
		empty(s, PqMsg_PortalSuspended);
		return;
	}
	snprintf(tag, sizeof(tag),
	    changes_rows(kind) ? "UPDATE %u" : "SELECT %u", choice % 4u);
	text(s, PqMsg_CommandComplete, tag);
}

/* --- names --- */

static struct server_name *
find(struct server_name *list, const char *name)
{
	for (size_t i = 0; i < SERVER_NAMES; i++)
		if (list[i].kind != 0 && strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

/* NULL: there is no room. */
static struct server_name *
put(struct server_name *list, const char *name, enum kind kind)
{
	struct server_name *n = find(list, name);

	for (size_t i = 0; n == NULL && i < SERVER_NAMES; i++)
		if (list[i].kind == 0)
			n = &list[i];
	if (n == NULL || strlen(name) >= sizeof(n->name))
		return NULL;
	memcpy(n->name, name, strlen(name) + 1);
	n->kind = (int)kind + 1;
	return n;
}

/* --- the client's messages --- */

static void
on_parse(struct server *s, struct rd *r)
{
	const char *name = rd_cstr(r), *sql = rd_cstr(r);
	struct server_name *n;

	if (r->bad || rd_left(r) < 2) {
		error(s, "08P01", true);
		return;
	}
	if (kind_of(sql) == KIND_BAD) {
		error(s, "42601", true);
		return;
	}
	n = put(s->statements, name, kind_of(sql));
	if (n != NULL)
		n->verb = *sql;
	empty(s, PqMsg_ParseComplete);
}

/* Of a Bind, behind the names: what its first value is the name of. */
static char
table_named(struct rd *r)
{
	uint16_t formats = rd_u16(r), n;
	const uint8_t *value;
	uint32_t len;

	(void)rd_bytes(r, 2 * (size_t)formats);
	n = rd_u16(r);
	len = n > 0 ? rd_u32(r) : UINT32_MAX;
	value = len == UINT32_MAX ? NULL : rd_bytes(r, len);
	if (r->bad || value == NULL)
		return 't';
	if (memmem(value, len, "audit", 5) != NULL)
		return 'a';
	/* u, or "public"."u" */
	return len == 1 ? (char)*value
	       : len >= 3 && memcmp(value + len - 3, "\"u\"", 3) == 0 ? 'u'
								      : 't';
}

static void
on_bind(struct server *s, struct rd *r)
{
	const char *portal = rd_cstr(r), *name = rd_cstr(r);
	struct server_name *n = r->bad ? NULL : find(s->statements, name);
	char verb;

	if (n == NULL) {
		error(s, r->bad ? "08P01" : "26000", true);
		return;
	}
	verb = n->verb;
	n = put(s->portals, portal, (enum kind)(n->kind - 1));
	if (n != NULL) {
		n->verb = verb;
		n->table = table_named(r);
	}
	empty(s, PqMsg_BindComplete);
}

static void
on_describe(struct server *s, struct rd *r)
{
	bool statement = rd_u8(r) == 'S';
	const char *name = rd_cstr(r);
	struct server_name *n =
	    r->bad ? NULL : find(statement ? s->statements : s->portals, name);
	size_t at;

	if (n == NULL) {
		error(s, "34000", true);
		return;
	}
	if (statement) {
		at = begin(s, PqMsg_ParameterDescription);
		buf_put_u16(&s->out, 0);
		end(s, at);
	}
	if (n->kind - 1 != KIND_NONE && n->kind - 1 != KIND_ROWS &&
	    n->kind - 1 != KIND_CHANGED_ROWS) {
		empty(s, PqMsg_NoData);
		return;
	}
	description(s, n->kind - 1 == KIND_NONE ? 16384 : 0);
}

static void
on_execute(struct server *s, struct rd *r)
{
	const char *portal = rd_cstr(r);
	struct server_name *n = r->bad ? NULL : find(s->portals, portal);

	if (n == NULL || rd_left(r) < 4)
		error(s, n == NULL ? "34000" : "08P01", true);
	else {
		s->verb = n->verb;
		s->about = n->table;
		run(s, (enum kind)(n->kind - 1), true);
	}
	if (s->skipping && s->status == PQ_FAILED && !r->bad &&
	    strcmp(portal, "pgwitness") == 0)
		s->own_failed = true;
}

static void
on_close(struct server *s, struct rd *r)
{
	struct server_name *list = rd_u8(r) == 'S' ? s->statements : s->portals;
	const char *name = rd_cstr(r);
	struct server_name *n = r->bad ? NULL : find(list, name);

	if (r->bad) {
		error(s, "08P01", true);
		return;
	}
	if (n != NULL)
		n->kind = 0;
	empty(s, PqMsg_CloseComplete);
}

static void
on_query(struct server *s, struct rd *r)
{
	const char *sql = rd_cstr(r);
	struct server_name *unnamed[] = { find(s->statements, ""),
		find(s->portals, "") };

	for (int i = 0; i < 2; i++)
		if (unnamed[i] != NULL)
			unnamed[i]->kind = 0;
	if (r->bad)
		error(s, "08P01", false);
	else {
		s->verb = *sql;
		run(s, kind_of(sql), false);
	}
	if (!s->copying)
		ready(s);
}

/* What is no copy data ends the session; its length is not even read. */
static void
refuse_session(struct server *s)
{
	size_t at;

	error(s, "08P01", false);
	at = begin(s, PqMsg_ErrorResponse);
	buf_printf(&s->out, "SFATAL%cVFATAL%cC08P01%cMno%c", 0, 0, 0, 0);
	buf_put_u8(&s->out, 0);
	end(s, at);
	s->ended = true;
}

static void
on_copy_message(struct server *s, char type, struct rd *r)
{
	bool extended = !s->copy_is_simple;

	switch (type) {
	case PqMsg_CopyData:
		if (rd_u8(r) != '!')
			return;
		error(s, "22P02", extended);
		break;
	case PqMsg_Flush:
	case PqMsg_Sync:
		return;
	case PqMsg_CopyDone:
		text(s, PqMsg_CommandComplete, "COPY 1");
		s->copying = false;
		break;
	case PqMsg_CopyFail:
		error(s, "57014", extended);
		break;
	default:
		refuse_session(s);
		return;
	}
	if (!extended)
		ready(s);
}

static void
on_message(struct server *s, char type, struct rd *r)
{
	if (s->copying) {
		on_copy_message(s, type, r);
		return;
	}
	if (s->skipping && type != PqMsg_Sync && type != PqMsg_Terminate) {
		s->skipped += type == PqMsg_Query || type == PqMsg_FunctionCall;
		return;
	}
	switch (type) {
	case PqMsg_Parse:
		on_parse(s, r);
		break;
	case PqMsg_Bind:
		on_bind(s, r);
		break;
	case PqMsg_Describe:
		on_describe(s, r);
		break;
	case PqMsg_Execute:
		on_execute(s, r);
		break;
	case PqMsg_Close:
		on_close(s, r);
		break;
	case PqMsg_Query:
		on_query(s, r);
		break;
	case PqMsg_FunctionCall:
		empty(s, PqMsg_FunctionCallResponse);
		ready(s);
		break;
	case PqMsg_Sync:
		s->skipping = false;
		ready(s);
		break;
	case PqMsg_Terminate:
		s->ended = true;
		break;
	default:
		/* CopyData and its kin are passed over; Flush is done. */
		break;
	}
}

void
server_open(struct server *s, struct take choices)
{
	static const char *const parameters[][2] = { { "server_version",
							 "15.0" },
		{ "client_encoding", "UTF8" }, { "server_encoding", "UTF8" },
		{ "standard_conforming_strings", "on" }, { "TimeZone", "UTC" },
		{ "DateStyle", "ISO, MDY" }, { "IntervalStyle", "postgres" } };
	size_t at;

	memset(s, 0, sizeof(*s));
	s->choices = choices;
	s->status = PQ_IDLE;
	at = begin(s, PqMsg_AuthenticationRequest);
	buf_put_u32(&s->out, AUTH_REQ_OK);
	end(s, at);
	for (size_t i = 0; i < sizeof(parameters) / sizeof(*parameters); i++)
		parameter(s, parameters[i][0], parameters[i][1]);
	ready(s);
}

void
server_close(struct server *s)
{
	buf_free(&s->in);
	buf_free(&s->out);
}

void
server_run(struct server *s)
{
	struct rd r = rd_init(s->in.data, s->in.len);

	while (rd_left(&r) >= 5 && !s->ended) {
		uint32_t len = get_u32(r.p + 1);
		struct rd body;

		if (len < 4) {
			s->broken = true;
			return;
		}
		if (len > rd_left(&r) - 1)
			break;
		body = rd_init(r.p + 5, len - 4);
		on_message(s, (char)r.p[0], &body);
		r.p += len + 1;
	}
	if (r.p != NULL)
		buf_consume(&s->in, (size_t)(r.p - s->in.data));
}
