/*
 * copy.c: makes a copy: pg_dump, a new database, extensions, pins, restore.
 *
 * Asks the server over the witness role's connection, opened for each dump and
 * closed after it.  Nothing of the server's users runs as the loader.  Called
 * by schema.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "copy.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blueprint.h"
#include "cluster.h"
#include "definition.h"
#include "drift.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"
#include "query.h"
#include "restored.h"
#include "schema_sql.h"

#define SERVER_MAJOR 15

/* --- connections --- */

static const char *
or_null(const char *s)
{
	return s != NULL && s[0] != '\0' ? s : NULL;
}

/* Under an empty search_path. */
PGconn *
copy_ask_server(
    const struct config *c, const char *database, enum reason *reason)
{
	const char *keys[] = { "host", "port", "user", "password", "passfile",
		"connect_timeout", "application_name", "client_encoding",
		"options", "dbname", CONFIG_SSL_NAMES, NULL };
	char port[16];
	const char *values[] = { or_null(c->backend_host), port,
		c->backend_user, or_null(c->backend_password),
		or_null(c->backend_passfile), "5", "pgwitness", "UTF8",
		"-c search_path= -c default_transaction_read_only=on", database,
		CONFIG_SSL_VALUES(c), NULL };
	PGconn *conn;

	snprintf(port, sizeof(port), "%d", c->backend_port);
	conn = PQconnectdbParams(keys, values, 0);
	if (PQstatus(conn) != CONNECTION_OK) {
		log_warning("witness_connect",
		    "cannot read the definitions of database \"%s\": %s",
		    database, PQerrorMessage(conn));
		*reason = REASON_SERVER_UNREACHABLE;
	} else if (PQserverVersion(conn) / 10000 != SERVER_MAJOR) {
		*reason = REASON_SERVER_VERSION;
	} else {
		return conn;
	}
	PQfinish(conn);
	return NULL;
}

static PGconn *
cluster_connect(const struct config *c, bool loader, const char *database)
{
	char conninfo[2 * PATH_MAX];
	PGconn *conn;

	cluster_conninfo(c, loader, database, conninfo, sizeof(conninfo));
	conn = PQconnectdb(conninfo);
	explicit_bzero(conninfo, sizeof(conninfo));
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	log_error("verification_connect", "%s", PQerrorMessage(conn));
	PQfinish(conn);
	return NULL;
}

PGconn *
copy_loader(const struct config *c, const char *database)
{
	PGconn *conn = cluster_connect(c, true, database);

	if (conn != NULL &&
	    !query_run(conn, "verification_connect",
		"SET client_min_messages = error; SET search_path = ''")) {
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

PGconn *
copy_catalog(const struct config *c, struct schema_copy *copy)
{
	if (copy->catalog != NULL && PQstatus(copy->catalog) == CONNECTION_OK)
		return copy->catalog;
	PQfinish(copy->catalog);
	copy->asked = false;
	copy->catalog = copy_loader(c, copy->name);
	if (copy->catalog != NULL && !definition_settings(copy->catalog)) {
		PQfinish(copy->catalog);
		copy->catalog = NULL;
	}
	return copy->catalog;
}

PGconn *
copy_replay_role(const struct config *c, const char *database)
{
	return cluster_connect(c, false, database);
}

/* --- its tables --- */

static void
free_table(struct schema_table *t)
{
	free(t->schema);
	free(t->table);
	free(t->parts);
}

static void
free_tables(struct schema_copy *copy)
{
	for (size_t i = 0; i < copy->n_tables; i++)
		free_table(&copy->tables[i]);
	free(copy->tables);
	copy->tables = NULL;
	copy->n_tables = 0;
}

static bool
read_tables(PGconn *conn, struct schema_copy *copy)
{
	PGresult *res = query_rows(conn, "schema_query", SCHEMA_TABLES_SQL);
	size_t n;

	if (res == NULL)
		return false;
	n = (size_t)PQntuples(res);
	copy->tables = mem_zalloc(n + 1, sizeof(*copy->tables));
	for (size_t i = 0; i < n; i++) {
		struct schema_table *t = &copy->tables[i];

		t->oid = (uint32_t)strtoul(
		    PQgetvalue(res, (int)i, 0), NULL, 10);
		t->schema = mem_strdup(PQgetvalue(res, (int)i, 1));
		t->table = mem_strdup(PQgetvalue(res, (int)i, 2));
		snprintf(t->fingerprint, sizeof(t->fingerprint), "%s",
		    PQgetvalue(res, (int)i, 3));
		t->parts = mem_strdup(PQgetvalue(res, (int)i, 4));
	}
	copy->n_tables = n;
	PQclear(res);
	return true;
}

static int
compare_oid(const void *key, const void *element)
{
	uint32_t oid = *(const uint32_t *)key;
	const struct schema_table *t = element;

	return oid < t->oid ? -1 : oid > t->oid;
}

struct schema_table *
copy_find(const struct schema_copy *copy, uint32_t oid)
{
	if (copy->n_tables == 0)
		return NULL;
	return bsearch(&oid, copy->tables, copy->n_tables,
	    sizeof(*copy->tables), compare_oid);
}

static struct schema_table *
find_name(const struct schema_copy *copy, const char *schema, const char *table)
{
	for (size_t i = 0; i < copy->n_tables; i++)
		if (strcmp(copy->tables[i].schema, schema) == 0 &&
		    strcmp(copy->tables[i].table, table) == 0)
			return &copy->tables[i];
	return NULL;
}

/* Moves what is behind it. */
static void
remove_table(struct schema_copy *copy, struct schema_table *t)
{
	size_t at = (size_t)(t - copy->tables);

	free_table(t);
	copy->n_tables--;
	memmove(t, t + 1, (copy->n_tables - at) * sizeof(*t));
}

static struct schema_table *
insert_table(struct schema_copy *copy, const struct record_table *t)
{
	size_t at = 0;

	copy->tables = mem_realloc(copy->tables, copy->n_tables + 1,
	    sizeof(*copy->tables));
	while (at < copy->n_tables && copy->tables[at].oid < t->oid)
		at++;
	memmove(&copy->tables[at + 1], &copy->tables[at],
	    (copy->n_tables - at) * sizeof(*copy->tables));
	copy->n_tables++;
	memset(&copy->tables[at], 0, sizeof(*copy->tables));
	copy->tables[at].oid = t->oid;
	copy->tables[at].schema = mem_strdup(t->schema);
	copy->tables[at].table = mem_strdup(t->table);
	return &copy->tables[at];
}

/* Names and OIDs that the server has given to other tables go. */
void
copy_adopt(struct schema_copy *copy, const struct record_table *t,
    const char *definition)
{
	struct schema_table *own = find_name(copy, t->schema, t->table);
	struct schema_table *other;

	if (own != NULL && own->oid != t->oid)
		remove_table(copy, own);
	other = copy_find(copy, t->oid);
	if (other != NULL && (strcmp(other->schema, t->schema) != 0 ||
				 strcmp(other->table, t->table) != 0))
		remove_table(copy, other);
	own = copy_find(copy, t->oid);
	if (own == NULL)
		own = insert_table(copy, t);
	snprintf(
	    own->fingerprint, sizeof(own->fingerprint), "%s", t->fingerprint);
	snprintf(own->definition, sizeof(own->definition), "%s", definition);
	own->generation = copy->generation;
	own->incomplete = false;
}

/* --- reading the server --- */

/*
 * pg_dump reads some of a definition not from its snapshot but as it is now:
 * what changed while it ran is not trusted.
 */
static bool
drop_changed_tables(PGconn *conn, struct schema_copy *copy)
{
	PGresult *res = query_rows(conn, "schema_query", SCHEMA_TABLES_SQL);

	if (res == NULL)
		return false;
	for (int i = 0; i < PQntuples(res); i++) {
		struct schema_table *t = copy_find(
		    copy, (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10));

		if (t != NULL &&
		    strcmp(t->fingerprint, PQgetvalue(res, i, 3)) != 0)
			t->fingerprint[0] = '\0';
	}
	PQclear(res);
	return true;
}

/*
 * Fingerprints, stamp and dump, all of one snapshot.  No catalog is read, and
 * so locked, before pg_dump is done: while it connects it needs the catalogs
 * itself, and would wait for ever behind a VACUUM FULL that waits for us.
 */
static bool
read_server(const struct copy_maker *m, struct schema_copy *copy, PGconn *conn)
{
	char snapshot[64];
	int64_t now = io_now_us();

	if (!query_run(conn, "schema_query",
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") ||
	    !query_value(conn, "SELECT pg_catalog.pg_export_snapshot()",
		snapshot, sizeof(snapshot)) ||
	    !dump_take(&m->dump, conn, snapshot) || !read_tables(conn, copy) ||
	    !query_value(
		conn, SCHEMA_STAMP_SQL, copy->stamp, sizeof(copy->stamp)) ||
	    !query_run(conn, "schema_query", "COMMIT") ||
	    !drop_changed_tables(conn, copy))
		return false;
	copy->dump_us = copy->stamp_us = now;
	return true;
}

/* --- making the copy --- */

static bool
create_database_as(PGconn *loader, const char *name, const PGresult *server)
{
	char *encoding = query_quoted(loader, PQgetvalue(server, 0, 0), true);
	char *collate = query_quoted(loader, PQgetvalue(server, 0, 1), true);
	char *ctype = query_quoted(loader, PQgetvalue(server, 0, 2), true);
	char *icu = query_quoted(loader, PQgetvalue(server, 0, 4), true);
	bool is_icu = PQgetvalue(server, 0, 3)[0] == 'i';
	bool ok = query_runf(loader, "schema_locale",
	    "CREATE DATABASE %s"
	    " TEMPLATE template0 OWNER pgwitness_replay ENCODING %s"
	    " LC_COLLATE %s LC_CTYPE %s LOCALE_PROVIDER %s%s",
	    name, encoding, collate, ctype, is_icu ? "icu ICU_LOCALE " : "libc",
	    is_icu ? icu : "");

	PQfreemem(encoding);
	PQfreemem(collate);
	PQfreemem(ctype);
	PQfreemem(icu);
	return ok;
}

/* libc and ICU sort otherwise from version to version. */
static bool
sorts_alike(PGconn *loader, const char *name, const PGresult *server)
{
	char sql[256];
	char version[128];

	snprintf(sql, sizeof(sql),
	    "SELECT COALESCE(pg_catalog.pg_database_collation_actual_version("
	    "oid), '') FROM pg_catalog.pg_database WHERE datname = '%s'",
	    name);
	return query_value(loader, sql, version, sizeof(version)) &&
	       strcmp(version, PQgetvalue(server, 0, 5)) == 0;
}

/* With the server's locale if this machine has it, else with C. */
static bool
create_database(
    struct copy_maker *m, struct schema_copy *copy, const PGresult *server)
{
	PGconn *loader = copy_loader(
	    m->config, m->config->verification_mode == VERIFICATION_EXTERNAL &&
			       m->config->verification_dbname[0] != '\0'
			   ? m->config->verification_dbname
			   : "postgres");
	char *encoding;
	bool made;
	bool ok;

	if (loader == NULL)
		return false;
	ok = query_runf(loader, "schema_restore",
	    "DROP DATABASE IF EXISTS %s WITH (FORCE)", copy->name);
	made = ok && create_database_as(loader, copy->name, server);
	copy->same_locale = made && sorts_alike(loader, copy->name, server);
	if (ok && !made) {
		encoding = query_quoted(loader, PQgetvalue(server, 0, 0), true);
		ok = query_runf(loader, "schema_restore",
		    "CREATE DATABASE %s"
		    " TEMPLATE template0 OWNER pgwitness_replay"
		    " ENCODING %s LC_COLLATE 'C' LC_CTYPE 'C'",
		    copy->name, encoding);
		PQfreemem(encoding);
	}
	PQfinish(loader);
	return ok;
}

/* Extensions that reach files, programs or the network stay out. */
static bool
extension_is_refused(const char *name)
{
	static const char *const refused[] = { "adminpack", "dblink",
		"file_fdw", "postgres_fdw", "plperlu", "plpython3u", "pltclu" };

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		if (strcmp(name, refused[i]) == 0)
			return true;
	}
	return false;
}

static void
create_extension(
    PGconn *loader, const char *name, const char *schema, bool again)
{
	char *qname;
	char *qschema;

	if (extension_is_refused(name)) {
		log_write(again ? LOG_DEBUG_ : LOG_INFO_, "schema_left_out",
		    "not copied for replay: extension %s", name);
		return;
	}
	qname = query_quoted(loader, name, false);
	qschema = query_quoted(loader, schema, false);
	if (strcmp(schema, "pg_catalog") != 0)
		(void)query_runf(loader, "schema_extension",
		    "CREATE SCHEMA IF NOT"
		    " EXISTS %s AUTHORIZATION pgwitness_replay",
		    qschema);
	(void)query_runf(loader, "schema_extension",
	    "CREATE EXTENSION IF NOT EXISTS %s SCHEMA %s CASCADE", qname,
	    qschema);
	PQfreemem(qname);
	PQfreemem(qschema);
}

static void
create_extensions(PGconn *loader, const PGresult *list, bool again)
{
	for (int i = 0; i < PQntuples(list); i++)
		create_extension(loader, PQgetvalue(list, i, 0),
		    PQgetvalue(list, i, 1), again);
}

/* Beside the program when it runs from the build directory, else installed. */
static bool
pin_path(char *out, size_t size)
{
	static const char *const places[] = { "pin", "../pin",
		"../lib/pgwitness" };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return false;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		io_path(out, size, "%s/%s/pgwitness_pin.so", self, places[i]);
		if (access(out, R_OK) == 0)
			return true;
	}
	return false;
}

/* replayd/pin: what SQL knows of it, and the names in the library. */
static const struct {
	const char *declaration;
	const char *symbol;
} pin_functions[] = {
	{ "arm(text) RETURNS void STRICT", "arm" },
	{ "begin_job(text, timestamptz, text[], text[]) RETURNS void",
	    "begin_job" },
	{ "input(text, text, text, text[]) RETURNS void STRICT", "input" },
	{ "sure(text) RETURNS bool STRICT", "sure" },
	{ "caught(text) RETURNS bool STRICT", "caught" },
	{ "guard(text) RETURNS void STRICT", "guard" },
	{ "set(text, text, text) RETURNS void STRICT", "set" },
	{ "has(internal) RETURNS internal", "has" },
	{ "take(internal) RETURNS internal", "take" },
};

static bool
create_pins(PGconn *loader)
{
	char path[PATH_MAX + 64];
	char *literal;
	bool ok;

	if (!pin_path(path, sizeof(path))) {
		log_error("pin_missing",
		    "pgwitness_pin.so is neither beside"
		    " this program nor installed: nothing can be verified");
		return false;
	}
	literal = query_quoted(loader, path, true);
	ok = query_run(loader, "pin_missing",
	    "CREATE SCHEMA pgwitness_pin;"
	    " GRANT USAGE ON SCHEMA pgwitness_pin TO pgwitness_replay");
	for (size_t i = 0;
	     ok && i < sizeof(pin_functions) / sizeof(*pin_functions); i++)
		ok = query_runf(loader, "pin_missing",
		    "CREATE FUNCTION pgwitness_pin.%s LANGUAGE c"
		    " AS %s, 'pgwitness_pin_%s'",
		    pin_functions[i].declaration, literal,
		    pin_functions[i].symbol);
	PQfreemem(literal);
	return ok;
}

/*
 * As the loader: extensions, pins, and what a replay must not be able to do to
 * another one.
 */
static bool
prepare_database(
    struct copy_maker *m, struct schema_copy *copy, const PGresult *extensions)
{
	PGconn *loader = copy_loader(m->config, copy->name);

	if (loader == NULL)
		return false;
	create_extensions(loader, extensions, m->dump.again);
	copy->pinned = create_pins(loader);
	(void)query_run(loader, "schema_restore",
	    "REVOKE EXECUTE ON FUNCTION"
	    " pg_catalog.pg_terminate_backend(integer, bigint),"
	    " pg_catalog.pg_cancel_backend(integer),"
	    " pg_catalog.pg_export_snapshot() FROM PUBLIC");
	PQfinish(loader);
	return true;
}

static bool
restore(struct copy_maker *m, struct schema_copy *copy)
{
	PGconn *conn = copy_replay_role(m->config, copy->name);
	bool ok;

	if (conn == NULL)
		return false;
	ok = dump_restore(&m->dump, conn) && restored_check(conn, copy);
	PQfinish(conn);
	return ok;
}

/*
 * Foreign keys act in replay, but never check: parents of rows that nobody
 * changed are not there.  No trigger of users' fires while rows are loaded, and
 * with the client's statements those do that would on a server.  As the loader:
 * some of the triggers are the system's.
 */
bool
copy_set_triggers(const struct copy_maker *m, struct schema_copy *copy)
{
	PGconn *conn = copy_catalog(m->config, copy);
	bool ok =
	    conn != NULL &&
	    query_run(conn, "schema_restore",
		"BEGIN; SET LOCAL allow_system_table_mods = on;"
		" UPDATE pg_catalog.pg_trigger t SET tgenabled = w.enabled"
		" FROM (SELECT p.oid, CASE WHEN p.proname LIKE"
		" 'RI\\_FKey\\_check\\_%' THEN 'D'::\"char\""
		" ELSE 'A'::\"char\" END AS enabled"
		" FROM pg_catalog.pg_proc p WHERE p.pronamespace ="
		" 'pg_catalog'::pg_catalog.regnamespace AND (p.proname"
		" LIKE 'RI\\_FKey\\_check\\_%' OR p.proname LIKE"
		" 'RI\\_FKey\\_cascade\\_%' OR p.proname LIKE"
		" 'RI\\_FKey\\_set%')) w WHERE w.oid = t.tgfoid"
		" AND t.tgisinternal AND t.tgenabled <> w.enabled;"
		" UPDATE pg_catalog.pg_trigger SET tgenabled ="
		" CASE tgenabled WHEN 'A' THEN 'O'::\"char\""
		" ELSE 'D'::\"char\" END"
		" WHERE NOT tgisinternal AND tgenabled IN ('A', 'R');"
		" COMMIT");

	copy->triggers_due = !ok;
	return ok;
}

static bool
build(struct copy_maker *m, struct schema_copy *copy, const PGresult *server,
    const PGresult *extensions)
{
	return create_database(m, copy, server) &&
	       prepare_database(m, copy, extensions) && restore(m, copy) &&
	       copy_set_triggers(m, copy);
}

void
copy_forget(struct schema_copy *copy)
{
	PQfinish(copy->conn);
	PQfinish(copy->catalog);
	PQfinish(copy->ddl);
	copy->conn = copy->catalog = copy->ddl = NULL;
	copy->ready = false;
	copy->generation = 0;
	copy->triggers_due = copy->asked = false;
	copy->jobs = 0;
	free(copy->user);
	copy->user = NULL;
	free_tables(copy);
}

void
copy_forget_older(struct schema_copy *copy)
{
	if (copy->older == NULL)
		return;
	copy_forget(copy->older);
	free(copy->older);
	copy->older = NULL;
}

/* Two names in turn: that of the one which is forgotten is free. */
static void
other_name(struct schema_copy *copy)
{
	size_t n = strlen(copy->name);

	if (n > 1 && copy->name[n - 2] == '_')
		copy->name[n - 2] = '\0';
	else
		snprintf(copy->name + n, sizeof(copy->name) - n, "_b");
}

/* All that was the copy's is now the older one's. */
static void
set_aside(struct schema_copy *copy)
{
	struct schema_copy *older = mem_zalloc(1, sizeof(*older));

	copy_forget_older(copy);
	*older = *copy;
	older->drift = NULL;
	older->next = NULL;
	copy->conn = copy->catalog = copy->ddl = NULL;
	copy->tables = NULL;
	copy->n_tables = 0;
	copy->user = NULL;
	copy->older = older;
	other_name(copy);
}

/* What was read of the server takes the place of what the copy had. */
static void
renew(struct schema_copy *copy, const struct schema_copy *fresh)
{
	if (copy->ready)
		set_aside(copy);
	copy_forget(copy);
	copy->tables = fresh->tables;
	copy->n_tables = fresh->n_tables;
	copy->dump_us = fresh->dump_us;
	copy->stamp_us = fresh->stamp_us;
	memcpy(copy->stamp, fresh->stamp, sizeof(copy->stamp));
}

static bool
make_of(struct copy_maker *m, struct schema_copy *copy, PGconn *conn,
    enum reason *reason)
{
	PGresult *server = query_rows(
	    conn, "schema_query", SCHEMA_DATABASE_SQL);
	PGresult *extensions = query_rows(
	    conn, "schema_query", SCHEMA_EXTENSIONS_SQL);
	struct schema_copy fresh = { 0 };
	bool ok = server != NULL && extensions != NULL &&
		  PQntuples(server) == 1 && read_server(m, &fresh, conn);

	*reason = REASON_SCHEMA_DUMP_FAILED;
	if (ok) {
		*reason = REASON_VERIFICATION_CLUSTER;
		if (copy->ready)
			drift_begin(m->config, copy, &fresh, conn);
		renew(copy, &fresh);
		ok = copy->ready = build(m, copy, server, extensions);
		copy->outdated = false;
		if (ok)
			drift_restored(m->config, copy);
		blueprint_keep(
		    m->config, copy->name, m->dump.archive, server, extensions);
	} else {
		free_tables(&fresh);
	}
	PQclear(server);
	PQclear(extensions);
	return ok;
}

bool
copy_make(struct copy_maker *m, struct schema_copy *copy, enum reason *reason)
{
	int64_t start = io_monotonic_us();
	PGconn *conn = copy_ask_server(m->config, copy->database, reason);
	bool ok;

	if (conn == NULL)
		return false;
	m->dump.again = copy->dump_us != 0;
	ok = make_of(m, copy, conn, reason);
	PQfinish(conn);
	if (ok)
		log_info("schema_copied",
		    "copied the definitions of %zu"
		    " tables for replay in %lld ms",
		    copy->n_tables,
		    (long long)((io_monotonic_us() - start) / 1000));
	return ok;
}

bool
copy_is_outdated(const struct copy_maker *m, struct schema_copy *copy)
{
	enum reason reason;
	PGconn *conn = copy_ask_server(m->config, copy->database, &reason);
	struct schema_copy now = { 0 };
	bool outdated = conn != NULL && read_tables(conn, &now) &&
			drift_looks_so(m->config, copy, &now, conn);

	free_tables(&now);
	PQfinish(conn);
	return outdated;
}

static int
compare_tables(const void *a, const void *b)
{
	const struct schema_table *t = b;
	uint32_t oid = ((const struct schema_table *)a)->oid;

	return compare_oid(&oid, t);
}

/* What the record says of its tables is what the bundle's archive has. */
static void
take_tables(struct schema_copy *copy, const struct record *r)
{
	copy->tables = mem_zalloc(r->n_tables + 1, sizeof(*copy->tables));
	copy->n_tables = r->n_tables;
	for (size_t i = 0; i < r->n_tables; i++) {
		struct schema_table *t = &copy->tables[i];

		t->oid = r->tables[i].oid;
		t->schema = mem_strdup(r->tables[i].schema);
		t->table = mem_strdup(r->tables[i].table);
		snprintf(t->fingerprint, sizeof(t->fingerprint), "%s",
		    r->tables[i].fingerprint);
	}
	qsort(copy->tables, copy->n_tables, sizeof(*copy->tables),
	    compare_tables);
}

bool
copy_make_from(struct copy_maker *m, struct schema_copy *copy,
    const struct record *r, const PGresult *server, const PGresult *extensions)
{
	take_tables(copy, r);
	copy->dump_us = copy->stamp_us = INT64_MAX;
	copy->ready = build(m, copy, server, extensions);
	return copy->ready;
}
