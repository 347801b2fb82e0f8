/*
 * barrier.c: DDL that was seen, run in a copy.
 *
 * Owns copy->ddl, a connection of the replay role's: what a client's DDL may
 * run there (defaults, functions in them) has that role's rights alone, and no
 * commands (replayd/pin, guard()).  Each statement goes by itself, in the
 * extended protocol, and only if its first words are those of DDL; nothing of
 * it may leave rows in the copy.  Called by schema.c.
 *
 * Whether the copy is then what the server is, is not believed: a job runs only
 * where the definitions of its tables are those that it was captured with.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "barrier.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "ddltext.h"
#include "ioutil.h"
#include "log.h"
#include "query.h"
#include "session.h"
#include "settings.h"

#define NO_TIMEOUT_MS INT64_C(30000)
#define MAX_SETTINGS 16

struct barrier {
	const struct config *config;
	struct schema_copy *copy;
	int64_t deadline; /* monotonic us */
	bool stopped;     /* SIGTERM */
};

enum ran { RAN, RAN_FAILED, RAN_LOST };

/* One statement, its answer thrown away. */
static enum ran
run(struct barrier *b, const char *sql, const char *const *values, int n)
{
	PGconn *conn = b->copy->ddl;
	enum ran ran = RAN;
	PGresult *res;

	if (PQsendQueryParams(conn, sql, n, NULL, values, NULL, NULL, 0) != 1)
		return PQstatus(conn) == CONNECTION_OK ? RAN_FAILED : RAN_LOST;
	for (;;) {
		enum session_wait w = session_wait(conn, b->deadline);

		if (w != SESSION_READY) {
			b->stopped = w == SESSION_STOPPED;
			session_end(b->config, b->copy->name, &b->copy->ddl);
			return RAN_LOST;
		}
		res = PQgetResult(conn);
		if (res == NULL)
			return ran;
		if (PQresultStatus(res) != PGRES_COMMAND_OK &&
		    PQresultStatus(res) != PGRES_TUPLES_OK) {
			log_info("ddl_not_replayed", "%s",
			    PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
			ran = RAN_FAILED;
		}
		PQclear(res);
	}
}

static bool
ours(struct barrier *b, const char *sql)
{
	return run(b, sql, NULL, 0) == RAN;
}

/* --- settings --- */

/* Those that travel with DDL, and what is ours; not what a worker decides. */
static bool
travels(const char *name)
{
	static const char *const names[] = { "search_path", "DateStyle",
		"IntervalStyle", "TimeZone", "array_nulls", "xmloption",
		"transform_null_equals" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

/* For this transaction alone. */
static bool
apply_settings(struct barrier *b, const struct record *r)
{
	const char *values[2 * MAX_SETTINGS];
	struct buf sql = { 0 };
	char *path = NULL;
	int n = 0;
	bool ok;

	buf_put_str(&sql, "SELECT pg_catalog.set_config("
			  "'check_function_bodies', 'off', true)");
	for (size_t i = 0; i < r->n_settings && n < 2 * MAX_SETTINGS; i++) {
		const struct record_setting *s = &r->settings[i];

		if (!travels(s->name))
			continue;
		values[n] = s->name;
		values[n + 1] = s->value;
		if (path == NULL && strcasecmp(s->name, "search_path") == 0)
			values[n + 1] = path = settings_expand_user(
			    s->value, r->user);
		buf_printf(&sql, ", pg_catalog.set_config($%d, $%d, true)",
		    n + 1, n + 2);
		n += 2;
	}
	buf_put_u8(&sql, 0);
	ok = run(b, (const char *)sql.data, values, n) == RAN;
	buf_free(&sql);
	free(path);
	return ok;
}

static bool
guard(struct barrier *b)
{
	const char *values[] = { b->copy->ddl_token };

	return run(b, "SELECT pgwitness_pin.guard($1)", values, 1) == RAN;
}

/* --- statements --- */

static bool
is_ascii(const struct record_statement *st)
{
	for (size_t i = 0; i < st->sql_len; i++)
		if ((unsigned char)st->sql[i] >= 0x80)
			return false;
	return true;
}

static bool
encoding_is_known(const struct record *r)
{
	for (size_t i = 0; i < r->n_settings; i++)
		if (strcasecmp(r->settings[i].name, "client_encoding") == 0)
			return strcasecmp(r->settings[i].value, "UTF8") == 0;
	return false;
}

static bool
ends_with(const struct buf *b, const char *word)
{
	size_t n = strlen(word);

	return b->len > n &&
	       strncasecmp((const char *)b->data + b->len - n, word, n) == 0;
}

/* The rows of a query are not needed, and what it calls shall not run. */
static void
put_without_data(struct buf *sql)
{
	if (ends_with(sql, "WITH DATA"))
		sql->len -= strlen("WITH DATA");
	if (!ends_with(sql, "WITH NO DATA"))
		buf_put_str(sql, "\nWITH NO DATA");
}

/* False: it is none that may run here. */
static bool
text_of(
    const struct record *r, const struct record_statement *st, struct buf *sql)
{
	enum ddl_kind kind = ddl_kind_of(st->sql, st->sql_len);

	if (memchr(st->sql, '\0', st->sql_len) != NULL ||
	    (kind != DDL_REPLAYED && kind != DDL_OF_QUERY) ||
	    (!is_ascii(st) && !encoding_is_known(r)))
		return false;
	buf_put(sql, st->sql, st->sql_len);
	if (kind == DDL_OF_QUERY)
		put_without_data(sql);
	buf_put_u8(sql, 0);
	return true;
}

/* An error takes back this one alone. */
static enum ran
run_one(struct barrier *b, const struct record *r,
    const struct record_statement *st)
{
	struct buf sql = { 0 };
	enum ran ran = RAN_FAILED;

	if (text_of(r, st, &sql)) {
		ran = ours(b, "SAVEPOINT pgwitness")
			  ? run(b, (const char *)sql.data, NULL, 0)
			  : RAN_LOST;
		if (ran == RAN_FAILED &&
		    !ours(b, "ROLLBACK TO SAVEPOINT pgwitness"))
			ran = RAN_LOST;
	}
	buf_free(&sql);
	return ran;
}

/* Division by zero if there are any: what runs in between cannot forge it. */
static bool
no_rows_written(struct barrier *b)
{
	return ours(b,
		   "SELECT pg_catalog.set_config('search_path', '', true)") &&
	       ours(b, "SELECT 1 OPERATOR(pg_catalog./) (CASE WHEN"
		       " pg_catalog.sum(t.n_tup_ins OPERATOR(pg_catalog.+)"
		       " t.n_tup_upd OPERATOR(pg_catalog.+) t.n_tup_del)"
		       " OPERATOR(pg_catalog.>) 0 THEN 0 ELSE 1 END)"
		       " FROM pg_catalog.pg_stat_xact_user_tables t");
}

/* True if it was committed. */
static bool
run_all(struct barrier *b, const struct record *r, bool *all)
{
	if (!ours(b, "BEGIN") || !apply_settings(b, r) || !guard(b))
		return false;
	for (size_t i = 0; i < r->n_statements; i++) {
		enum ran ran = run_one(b, r, &r->statements[i]);

		if (ran == RAN_LOST)
			return false;
		*all = *all && ran == RAN;
	}
	return no_rows_written(b) && ours(b, "COMMIT");
}

static bool
open_session(struct barrier *b)
{
	if (b->copy->ddl != NULL && PQstatus(b->copy->ddl) == CONNECTION_OK)
		return true;
	PQfinish(b->copy->ddl);
	b->copy->ddl = copy_replay_role(b->config, b->copy->name);
	return b->copy->ddl != NULL &&
	       session_arm(b->copy->ddl, b->copy->ddl_token,
		   sizeof(b->copy->ddl_token)) &&
	       PQsetnonblocking(b->copy->ddl, 1) == 0;
}

/* The tables may be others now, and what is prepared for them. */
static void
note_change(struct schema_copy *copy)
{
	copy->generation++;
	copy->triggers_due = true;
	free(copy->user);
	copy->user = NULL;
	for (size_t i = 0; i < copy->n_tables; i++)
		copy->tables[i].touched = false;
}

bool
barrier_run(const struct config *c, struct schema_copy *copy,
    const struct record *r, bool *all)
{
	int64_t ms = c->statement_timeout > 0 ? c->statement_timeout
					      : NO_TIMEOUT_MS;
	struct barrier b = { .config = c,
		.copy = copy,
		.deadline = io_monotonic_us() + 1000 * ms };

	*all = true;
	session_close(copy);
	note_change(copy);
	if (!open_session(&b) || !run_all(&b, r, all)) {
		*all = false;
		PQfinish(copy->ddl);
		copy->ddl = NULL;
	} else if (!ours(&b, "DISCARD ALL")) {
		PQfinish(copy->ddl);
		copy->ddl = NULL;
	}
	return !b.stopped;
}
