/*
 * schema.c: makes the copies, keeps them like the server's definitions.
 *
 * Owns the databases pgwitness_w<index>_* of the verification cluster.  Asks
 * the server over the witness role's connection, opened for each dump and
 * closed after it.  Nothing of the server's users runs as the loader.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "schema.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blueprint.h"
#include "buf.h"
#include "cluster.h"
#include "dump.h"
#include "ioutil.h"
#include "log.h"
#include "merkle.h"
#include "procsig.h"
#include "query.h"
#include "restored.h"
#include "schema_sql.h"

/* A dump this much younger than a record must have its definitions. */
#define MARGIN_US INT64_C(1000000)
#define SAME_MISS_US INT64_C(500000)
#define INCOMPLETE_US INT64_C(60000000)
#define UNREACHABLE_US INT64_C(2000000)
#define DUMP_TRIES 4
#define SERVER_MAJOR 15

struct schema {
	const struct config *config;
	unsigned index;
	struct dump dump;
	struct schema_copy *copies;
};

struct schema *
schema_new(const struct config *c, unsigned index)
{
	struct schema *s = calloc(1, sizeof(*s));

	if (s == NULL)
		log_fatal("out_of_memory", "out of memory");
	s->config = c;
	s->index = index;
	dump_init(&s->dump, c, index);
	return s;
}

static void
free_tables(struct schema_copy *copy)
{
	for (size_t i = 0; i < copy->n_tables; i++) {
		free(copy->tables[i].schema);
		free(copy->tables[i].table);
		free(copy->tables[i].parts);
	}
	free(copy->tables);
	copy->tables = NULL;
	copy->n_tables = 0;
}

void
schema_free(struct schema *s)
{
	struct schema_copy *copy;

	while ((copy = s->copies) != NULL) {
		s->copies = copy->next;
		PQfinish(copy->conn);
		free_tables(copy);
		free(copy->user);
		free(copy->database);
		free(copy);
	}
	free(s);
}

static char *
copy_string(const char *s)
{
	char *copy = strdup(s);

	if (copy == NULL)
		log_fatal("out_of_memory", "out of memory");
	return copy;
}

/* --- connections --- */

static const char *
or_null(const char *s)
{
	return s != NULL && s[0] != '\0' ? s : NULL;
}

/* The witness role's, under an empty search_path; NULL with *reason. */
static PGconn *
witness_connect(
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
		log_warning("witness_connect", "%s", PQerrorMessage(conn));
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

static PGconn *
loader_connect(const struct config *c, const char *database)
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

/* --- reading the server --- */

static bool
read_tables(PGconn *conn, struct schema_copy *copy)
{
	PGresult *res = query_rows(conn, "schema_query", SCHEMA_TABLES_SQL);
	size_t n;

	if (res == NULL)
		return false;
	n = (size_t)PQntuples(res);
	copy->tables = calloc(n + 1, sizeof(*copy->tables));
	if (copy->tables == NULL)
		log_fatal("out_of_memory", "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct schema_table *t = &copy->tables[i];

		t->oid = (uint32_t)strtoul(
		    PQgetvalue(res, (int)i, 0), NULL, 10);
		t->schema = copy_string(PQgetvalue(res, (int)i, 1));
		t->table = copy_string(PQgetvalue(res, (int)i, 2));
		snprintf(t->fingerprint, sizeof(t->fingerprint), "%s",
		    PQgetvalue(res, (int)i, 3));
		t->parts = copy_string(PQgetvalue(res, (int)i, 4));
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
schema_find(const struct schema_copy *copy, uint32_t oid)
{
	if (copy->n_tables == 0)
		return NULL;
	return bsearch(&oid, copy->tables, copy->n_tables,
	    sizeof(*copy->tables), compare_oid);
}

/* Asked for each job, mostly for the same user: remembers the last answer. */
bool
schema_has_namespace(struct schema_copy *copy, const char *name)
{
	if (copy->user != NULL && strcmp(copy->user, name) == 0)
		return copy->user_has_schema;
	free(copy->user);
	copy->user = copy_string(name);
	copy->user_has_schema = false;
	for (size_t i = 0; i < copy->n_tables; i++) {
		if (strcmp(copy->tables[i].schema, name) == 0)
			copy->user_has_schema = true;
	}
	return copy->user_has_schema;
}

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
		struct schema_table *t = schema_find(
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
read_server(struct schema *s, struct schema_copy *copy, PGconn *conn)
{
	char snapshot[64];
	int64_t now = io_now_us();

	if (!query_run(conn, "schema_query",
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") ||
	    !query_value(conn, "SELECT pg_catalog.pg_export_snapshot()",
		snapshot, sizeof(snapshot)) ||
	    !dump_take(&s->dump, conn, snapshot) || !read_tables(conn, copy) ||
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
create_database_as(PGconn *loader, const char *name, PGresult *server)
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

/* With the server's locale if this machine has it, else with C. */
static bool
create_database(struct schema *s, struct schema_copy *copy, PGresult *server)
{
	PGconn *loader = loader_connect(
	    s->config, s->config->verification_mode == VERIFICATION_EXTERNAL &&
			       s->config->verification_dbname[0] != '\0'
			   ? s->config->verification_dbname
			   : "postgres");
	char *encoding;
	bool ok;

	if (loader == NULL)
		return false;
	ok = query_runf(loader, "schema_restore",
	    "DROP DATABASE IF EXISTS %s WITH (FORCE)", copy->name);
	copy->same_locale = ok &&
			    create_database_as(loader, copy->name, server);
	if (ok && !copy->same_locale) {
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
create_extensions(PGconn *loader, PGresult *list, bool again)
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
	{ "begin_job(text, timestamptz, text[]) RETURNS void", "begin_job" },
	{ "input(text, text, text, text[]) RETURNS void STRICT", "input" },
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
    struct schema *s, struct schema_copy *copy, PGresult *extensions)
{
	PGconn *loader = loader_connect(s->config, copy->name);

	if (loader == NULL)
		return false;
	create_extensions(loader, extensions, s->dump.again);
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
restore(struct schema *s, struct schema_copy *copy)
{
	PGconn *conn = cluster_connect(s->config, false, copy->name);
	bool ok;

	if (conn == NULL)
		return false;
	ok = dump_restore(&s->dump, conn) && restored_check(conn, copy);
	PQfinish(conn);
	return ok;
}

/*
 * Foreign keys act in replay, but never check: parents of rows that nobody
 * changed are not there.  No trigger of users' fires while rows are loaded, and
 * with the client's statements those do that would on a server.  As the loader:
 * some of the triggers are the system's.
 */
static bool
set_triggers(struct schema *s, struct schema_copy *copy)
{
	PGconn *loader = loader_connect(s->config, copy->name);
	bool ok = loader != NULL &&
		  query_run(loader, "schema_restore",
		      "SET allow_system_table_mods = on;"
		      " UPDATE pg_catalog.pg_trigger t SET tgenabled ="
		      " CASE WHEN p.proname LIKE 'RI\\_FKey\\_check\\_%'"
		      " THEN 'D'::\"char\" ELSE 'A'::\"char\" END"
		      " FROM pg_catalog.pg_proc p WHERE p.oid = t.tgfoid"
		      " AND t.tgisinternal AND p.pronamespace ="
		      " 'pg_catalog'::pg_catalog.regnamespace AND (p.proname"
		      " LIKE 'RI\\_FKey\\_check\\_%' OR p.proname LIKE"
		      " 'RI\\_FKey\\_cascade\\_%' OR p.proname LIKE"
		      " 'RI\\_FKey\\_set%');"
		      " UPDATE pg_catalog.pg_trigger SET tgenabled ="
		      " CASE tgenabled WHEN 'A' THEN 'O'::\"char\""
		      " ELSE 'D'::\"char\" END"
		      " WHERE NOT tgisinternal AND tgenabled IN ('A', 'R')");

	PQfinish(loader);
	return ok;
}

static bool
build(struct schema *s, struct schema_copy *copy, PGresult *server,
    PGresult *extensions)
{
	return create_database(s, copy, server) &&
	       prepare_database(s, copy, extensions) && restore(s, copy) &&
	       set_triggers(s, copy);
}

static void
forget(struct schema_copy *copy)
{
	PQfinish(copy->conn);
	copy->conn = NULL;
	copy->ready = false;
	copy->jobs = 0;
	free(copy->user);
	copy->user = NULL;
	free_tables(copy);
}

static bool
make_from(struct schema *s, struct schema_copy *copy, PGconn *conn,
    enum reason *reason)
{
	PGresult *server = NULL;
	PGresult *extensions = NULL;

	*reason = REASON_SCHEMA_DUMP_FAILED;
	server = query_rows(conn, "schema_query", SCHEMA_DATABASE_SQL);
	extensions = query_rows(conn, "schema_query", SCHEMA_EXTENSIONS_SQL);
	if (server != NULL && extensions != NULL && PQntuples(server) == 1 &&
	    read_server(s, copy, conn)) {
		*reason = REASON_VERIFICATION_CLUSTER;
		copy->ready = build(s, copy, server, extensions);
		blueprint_keep(
		    s->config, copy->name, s->dump.archive, server, extensions);
	}
	PQclear(server);
	PQclear(extensions);
	return copy->ready;
}

static bool
make_once(struct schema *s, struct schema_copy *copy, enum reason *reason)
{
	int64_t start = io_monotonic_us();
	PGconn *conn = witness_connect(s->config, copy->database, reason);
	bool ok;

	if (conn == NULL)
		return false;
	forget(copy);
	s->dump.again = copy->dump_us != 0;
	ok = make_from(s, copy, conn, reason);
	PQfinish(conn);
	if (ok)
		log_info("schema_copied",
		    "copied the definitions of %zu"
		    " tables for replay in %lld ms",
		    copy->n_tables,
		    (long long)((io_monotonic_us() - start) / 1000));
	return ok;
}

static struct schema_copy *
copy_of(struct schema *s, const char *database)
{
	struct merkle_part part = { database, strlen(database) };
	struct merkle_hash hash;
	char hex[MERKLE_HEX_BYTES];
	struct schema_copy *copy;

	for (copy = s->copies; copy != NULL; copy = copy->next) {
		if (strcmp(copy->database, database) == 0)
			return copy;
	}
	copy = calloc(1, sizeof(*copy));
	if (copy == NULL)
		log_fatal("out_of_memory", "out of memory");
	copy->database = copy_string(database);
	merkle_sha256(&part, 1, &hash);
	snprintf(copy->name, sizeof(copy->name), "pgwitness_w%u_%.16s",
	    s->index, merkle_hex(&hash, hex));
	copy->next = s->copies;
	s->copies = copy;
	return copy;
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
	copy->tables = calloc(r->n_tables + 1, sizeof(*copy->tables));
	if (copy->tables == NULL)
		log_fatal("out_of_memory", "out of memory");
	copy->n_tables = r->n_tables;
	for (size_t i = 0; i < r->n_tables; i++) {
		struct schema_table *t = &copy->tables[i];

		t->oid = r->tables[i].oid;
		t->schema = copy_string(r->tables[i].schema);
		t->table = copy_string(r->tables[i].table);
		snprintf(t->fingerprint, sizeof(t->fingerprint), "%s",
		    r->tables[i].fingerprint);
	}
	qsort(copy->tables, copy->n_tables, sizeof(*copy->tables),
	    compare_tables);
}

bool
schema_copy_from(struct schema *s, const struct record *r, const char *dir)
{
	struct schema_copy *copy = copy_of(s, r->database);
	PGresult *server = NULL;
	PGresult *extensions = NULL;

	if (blueprint_read(dir, s->dump.archive, &server, &extensions)) {
		take_tables(copy, r);
		copy->dump_us = copy->stamp_us = INT64_MAX;
		copy->ready = build(s, copy, server, extensions);
	}
	PQclear(server);
	PQclear(extensions);
	return copy->ready;
}

/* Waits, but not if we are asked to stop.  False then. */
static bool
back_off(int ms)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = procsig_fd();
	if (!procsig_pending(SIGTERM))
		(void)poll(&pfd, 1, ms);
	if (pfd.revents != 0)
		procsig_drain();
	return !procsig_pending(SIGTERM);
}

/* Several tries; after that, fails at once for a while. */
static bool
make(struct schema *s, struct schema_copy *copy, enum reason *reason)
{
	if (copy->unreachable_us != 0 &&
	    io_monotonic_us() - copy->unreachable_us < UNREACHABLE_US) {
		*reason = copy->unreachable;
		return false;
	}
	for (int i = 0, ms = 100; i < DUMP_TRIES; i++, ms *= 3) {
		if (i > 0 && !back_off(ms)) {
			*reason = REASON_NONE;
			return false;
		}
		if (make_once(s, copy, reason)) {
			copy->unreachable_us = 0;
			return true;
		}
		if (*reason == REASON_SERVER_VERSION)
			break;
	}
	if (procsig_pending(SIGTERM))
		*reason = REASON_NONE;
	copy->unreachable_us = io_monotonic_us();
	copy->unreachable = *reason;
	return false;
}

/* --- which copy, and does it fit --- */

enum fit {
	FIT,
	FIT_OTHER,     /* another definition of a table is wanted */
	FIT_INCOMPLETE /* this one, but the restore left something out */
};

/* *wanted: the first fingerprint of the job that the copy does not have. */
static enum fit
fits(
    const struct schema_copy *copy, const struct record *r, const char **wanted)
{
	enum fit fit = FIT;

	for (size_t i = 0; i < r->n_tables; i++) {
		const struct schema_table *t = schema_find(
		    copy, r->tables[i].oid);

		*wanted = r->tables[i].fingerprint;
		if (t == NULL || t->fingerprint[0] == '\0' ||
		    strcmp(t->fingerprint, *wanted) != 0 ||
		    strcmp(t->schema, r->tables[i].schema) != 0 ||
		    strcmp(t->table, r->tables[i].table) != 0)
			return FIT_OTHER;
		if (t->incomplete)
			fit = FIT_INCOMPLETE;
	}
	return fit;
}

struct schema_copy *
schema_copy_ready(struct schema *s, const struct record *r)
{
	struct schema_copy *copy = copy_of(s, r->database);
	const char *wanted;

	return copy->ready && fits(copy, r, &wanted) == FIT ? copy : NULL;
}

/*
 * Could another dump have what this one has not?  Of what could not be
 * restored hardly: only now and then, someone may have mended the reason.
 */
static bool
worth_another_dump(const struct schema_copy *copy, const struct record *r,
    enum fit fit, const char *wanted)
{
	if (copy->dump_us >= r->time_us + MARGIN_US)
		return false;
	if (fit == FIT_INCOMPLETE)
		return io_now_us() - copy->dump_us >= INCOMPLETE_US;
	return strcmp(copy->missed, wanted) != 0 ||
	       io_monotonic_us() - copy->missed_us >= SAME_MISS_US;
}

struct schema_copy *
schema_copy_for(struct schema *s, const struct record *r, enum reason *reason)
{
	struct schema_copy *copy;
	const char *wanted = NULL;
	enum fit fit = FIT;

	if (s->config->backend_user[0] == '\0') {
		*reason = REASON_NO_WITNESS_ROLE;
		return NULL;
	}
	copy = copy_of(s, r->database);
	if (copy->ready)
		fit = fits(copy, r, &wanted);
	if (!copy->ready ||
	    (fit != FIT && worth_another_dump(copy, r, fit, wanted))) {
		if (!make(s, copy, reason))
			return NULL;
		fit = fits(copy, r, &wanted);
	}
	if (fit == FIT)
		return copy;
	if (fit == FIT_INCOMPLETE) {
		*reason = REASON_SCHEMA_NOT_RESTORED;
		return NULL;
	}
	snprintf(copy->missed, sizeof(copy->missed), "%s", wanted);
	copy->missed_us = io_monotonic_us();
	*reason = REASON_SCHEMA_CHANGED;
	return NULL;
}

bool
schema_is_stale(
    struct schema *s, struct schema_copy *copy, const struct record *r)
{
	char stamp[SCHEMA_FINGERPRINT_BYTES];
	int64_t now = io_now_us();
	enum reason reason;
	PGconn *conn;
	bool stale;

	if (copy->stamp_us > r->time_us)
		return false;
	conn = witness_connect(s->config, copy->database, &reason);
	stale = conn == NULL ||
		!query_value(conn, SCHEMA_STAMP_SQL, stamp, sizeof(stamp)) ||
		strcmp(stamp, copy->stamp) != 0;
	PQfinish(conn);
	if (stale)
		copy->ready = false;
	else
		copy->stamp_us = now;
	return stale;
}
