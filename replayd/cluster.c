/*
 * cluster.c: makes, starts and stops the verification PostgreSQL.
 *
 * Owns DATA_DIR/verification: data/ (the cluster), socket/ and secret (socket
 * directory and the passwords of loader and replay role, 0600).  Nothing in
 * the cluster is worth keeping: it runs with fsync off, and unless it was shut
 * down cleanly it is made anew.  Called by replayd before it forks workers.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "cluster.h"

#include <errno.h>
#include <libpq-fe.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"
#include "program.h"

#define LOADER "pgwitness_loader"
#define REPLAY "pgwitness_replay"
#define SOCKET_NAME "/.s.PGSQL.5432"
#define SOCKET_PATH_MAX 107
#define START_TIMEOUT_MS 60000
#define STOP_TIMEOUT_MS 30000
/* Of each process of the cluster: a job that wants more is out of memory. */
#define MEMORY_BYTES ((size_t)2 << 30)
#define SECRET_BYTES 24
#define SECRET_HEX (2 * SECRET_BYTES + 1)

/* Set by cluster_start(), inherited by the workers. */
static struct cluster {
	char root[PATH_MAX]; /* DATA_DIR/verification */
	char data[PATH_MAX];
	char socket[PATH_MAX];
	char loader[SECRET_HEX]; /* passwords */
	char replay[SECRET_HEX];
	bool known;
} cluster;

/* error: the caller's; printf-like.  Always false. */
static bool fail(char *error, size_t size, const char *fmt, ...)
    PGW_PRINTF(3, 4);

static bool
fail(char *error, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, size, fmt, ap);
	va_end(ap);
	return false;
}

static void
cluster_paths(const struct config *c)
{
	io_path(cluster.root, PATH_MAX, "%s/verification", c->data_dir);
	io_path(cluster.data, PATH_MAX, "%s/verification/data", c->data_dir);
}

static void
secret_draw(char out[SECRET_HEX])
{
	uint8_t raw[SECRET_BYTES];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		log_fatal("no_random", "getrandom() failed: %m");
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

static bool
secret_save(void)
{
	char path[PATH_MAX + 16];
	char text[PATH_MAX + 2 * SECRET_HEX + 4];
	int n = snprintf(text, sizeof(text), "%s\n%s\n%s\n", cluster.socket,
	    cluster.loader, cluster.replay);

	io_path(path, sizeof(path), "%s/secret", cluster.root);
	return io_replace_file(path, text, (size_t)n, 0600);
}

/* Takes one line out of text into out. */
static bool
secret_line(char **text, char *out, size_t size)
{
	char *line = strsep(text, "\n");

	if (line == NULL || *text == NULL || strlen(line) >= size)
		return false;
	strcpy(out, line);
	return true;
}

static bool
secret_load(void)
{
	char path[PATH_MAX + 16];
	struct buf b = { 0 };
	char *text;
	bool ok = false;

	io_path(path, sizeof(path), "%s/secret", cluster.root);
	if (io_read_file(path, &b, PATH_MAX + 1024)) {
		buf_put_u8(&b, 0);
		text = (char *)b.data;
		ok = secret_line(&text, cluster.socket, PATH_MAX) &&
		     secret_line(&text, cluster.loader, SECRET_HEX) &&
		     secret_line(&text, cluster.replay, SECRET_HEX);
	}
	buf_free(&b);
	return ok;
}

/* --- the socket --- */

static bool
socket_is_temporary(void)
{
	return strncmp(cluster.socket, "/tmp/pgwitness-", 15) == 0;
}

/* DATA_DIR may be too deep for a socket: then a directory under /tmp. */
static bool
socket_directory(char *error, size_t size)
{
	if (socket_is_temporary())
		(void)io_remove_tree(cluster.socket);
	io_path(cluster.socket, PATH_MAX, "%s/socket", cluster.root);
	if (strlen(cluster.socket) + strlen(SOCKET_NAME) > SOCKET_PATH_MAX) {
		strcpy(cluster.socket, "/tmp/pgwitness-XXXXXX");
		if (mkdtemp(cluster.socket) == NULL)
			return fail(
			    error, size, "mkdtemp %s: %m", cluster.socket);
	} else if (mkdir(cluster.socket, 0700) != 0 && errno != EEXIST) {
		return fail(error, size, "mkdir %s: %m", cluster.socket);
	}
	return true;
}

/* --- a postmaster left over by a killed replayd --- */

/* Ours only if it runs in our data directory and is a postgres. */
static bool
is_our_postmaster(pid_t pid)
{
	char link[64];
	char path[PATH_MAX];
	char real[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/cwd", (int)pid);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0 || realpath(cluster.data, real) == NULL)
		return false;
	path[n] = '\0';
	if (strcmp(path, real) != 0)
		return false;
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	n = readlink(link, path, sizeof(path) - 1);
	return n > 9 && strncmp(path + n - 9, "/postgres", 9) == 0;
}

static bool
stop_leftover(char *error, size_t size)
{
	char path[PATH_MAX + 16];
	struct buf b = { 0 };
	pid_t pid = 0;

	io_path(path, sizeof(path), "%s/postmaster.pid", cluster.data);
	if (io_read_file(path, &b, 4096)) {
		buf_put_u8(&b, 0);
		pid = (pid_t)strtol((const char *)b.data, NULL, 10);
	}
	buf_free(&b);
	if (pid <= 1 || !is_our_postmaster(pid))
		return true;
	log_warning("verification_leftover",
	    "stopping the verification cluster of a former run, process %d",
	    (int)pid);
	kill(pid, SIGQUIT);
	if (!program_gone(pid, STOP_TIMEOUT_MS))
		return fail(error, size,
		    "process %d still runs in %s and does not end", (int)pid,
		    cluster.data);
	return true;
}

/* --- initdb --- */

static bool
run_initdb(const char *log_path, const char *pwfile)
{
	const char *argv[] = { "initdb", "-D", cluster.data, "-U", LOADER, "-E",
		"UTF8", "--locale=C", "--no-sync", "--no-instructions", "-A",
		"scram-sha-256", "--pwfile", pwfile, NULL };
	struct program p = {
		.argv = argv, .err = log_path, .death_signal = SIGTERM
	};

	return program_run(&p) == 0;
}

static bool
cluster_make(const char *log_path, char *error, size_t size)
{
	char pwfile[PATH_MAX + 16];
	bool ok;

	if (!io_remove_tree(cluster.data))
		return fail(error, size, "cannot remove %s: %m", cluster.data);
	secret_draw(cluster.loader);
	io_path(pwfile, sizeof(pwfile), "%s/pwfile", cluster.root);
	if (!io_replace_file(
		pwfile, cluster.loader, strlen(cluster.loader), 0600))
		return fail(error, size, "cannot write %s: %m", pwfile);
	ok = run_initdb(log_path, pwfile);
	unlink(pwfile);
	if (!ok)
		return fail(error, size, "initdb failed, see %s", log_path);
	log_info("verification_made", "made the verification cluster in %s",
	    cluster.data);
	return true;
}

/* The marker says that the last shutdown was clean; this run takes it away. */
static bool
take_clean_marker(void)
{
	char path[PATH_MAX + 16];

	io_path(path, sizeof(path), "%s/clean", cluster.root);
	return unlink(path) == 0;
}

/* --- running --- */

static pid_t
run_postgres(const struct config *c, const char *log_path)
{
	char sockets[PATH_MAX + 32];
	char connections[48];
	const char *argv[] = { "postgres", "-D", cluster.data, "-c", sockets,
		"-c", connections, "-c", "listen_addresses=", "-c", "port=5432",
		"-c", "unix_socket_permissions=0700", "-c", "fsync=off", "-c",
		"synchronous_commit=off", "-c", "full_page_writes=off", "-c",
		"wal_level=minimal", "-c", "max_wal_senders=0", "-c",
		"shared_buffers=64MB", "-c", "autovacuum_max_workers=1", "-c",
		"autovacuum_naptime=60s", "-c", "jit=off", "-c",
		"max_parallel_workers_per_gather=0", "-c",
		"temp_file_limit=1GB", "-c", "logging_collector=off",
		/* no row values in the log: errors are the worker's matter */
		"-c", "log_min_messages=fatal", "-c", "log_statement=none",
		"-c", "log_error_verbosity=terse", NULL };
	struct program p = { .argv = argv,
		.err = log_path,
		.death_signal = SIGQUIT,
		.memory = MEMORY_BYTES };

	snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s",
	    cluster.socket);
	snprintf(connections, sizeof(connections), "max_connections=%d",
	    c->replay_workers * 3 + 10);
	return program_start(&p);
}

static PGconn *
loader_connect(const struct config *c)
{
	char conninfo[2 * PATH_MAX];

	cluster_conninfo(c, true,
	    c->verification_mode == VERIFICATION_EXTERNAL &&
		    c->verification_dbname[0] != '\0'
		? c->verification_dbname
		: "postgres",
	    conninfo, sizeof(conninfo));
	return PQconnectdb(conninfo);
}

/* Tries to connect until it answers, its process ends, or time is up. */
static PGconn *
wait_ready(const struct config *c, pid_t pid)
{
	int64_t end = io_monotonic_us() + START_TIMEOUT_MS * INT64_C(1000);
	PGconn *conn = loader_connect(c);

	while (PQstatus(conn) != CONNECTION_OK) {
		if (program_gone(pid, 20) || io_monotonic_us() > end)
			break;
		PQfinish(conn);
		conn = loader_connect(c);
	}
	return conn;
}

static bool
run_sql(PGconn *conn, const char *sql)
{
	PGresult *res = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(res);

	PQclear(res);
	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* --- roles and old copies --- */

static bool
make_role(PGconn *conn)
{
	PGresult *res = PQexec(conn,
	    "SELECT 1 FROM pg_catalog.pg_roles"
	    " WHERE rolname OPERATOR(pg_catalog.=) '" REPLAY "'");
	bool exists = PQntuples(res) > 0;
	char *verifier = PQencryptPasswordConn(
	    conn, cluster.replay, REPLAY, "scram-sha-256");
	struct buf sql = { 0 };
	bool ok;

	PQclear(res);
	if (verifier == NULL)
		return false;
	buf_printf(&sql, "%s ROLE " REPLAY " LOGIN PASSWORD '%s'",
	    exists ? "ALTER" : "CREATE", verifier);
	buf_put_u8(&sql, 0);
	ok = run_sql(conn, (const char *)sql.data);
	buf_free(&sql);
	PQfreemem(verifier);
	return ok;
}

/*
 * The session defaults of a replay connection: the canonical settings, RI
 * checks off, plans of the worker's own prepared statements made once.
 */
static bool
set_role(const struct config *c, PGconn *conn)
{
	static const char *const settings[] = {
		"session_replication_role = replica",
		"DateStyle = 'ISO, MDY'",
		"IntervalStyle = postgres",
		"TimeZone = 'UTC'",
		"extra_float_digits = 1",
		"bytea_output = hex",
		"lc_monetary = 'C'",
		"array_nulls = on",
		"xmloption = content",
		"xmlbinary = base64",
		"transform_null_equals = off",
		"timezone_abbreviations = 'Default'",
		"quote_all_identifiers = off",
		"jit = off",
		"max_parallel_workers_per_gather = 0",
		"plan_cache_mode = force_generic_plan",
		"synchronous_commit = off",
		"client_min_messages = error",
	};
	char sql[256];
	bool ok = run_sql(conn, "ALTER ROLE " REPLAY " NOSUPERUSER NOCREATEDB"
				" NOCREATEROLE NOREPLICATION BYPASSRLS");

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		snprintf(sql, sizeof(sql), "ALTER ROLE " REPLAY " SET %s",
		    settings[i]);
		ok = run_sql(conn, sql) && ok;
	}
	snprintf(sql, sizeof(sql),
	    "ALTER ROLE " REPLAY " SET statement_timeout = %lld",
	    (long long)c->statement_timeout);
	return run_sql(conn, sql) && ok;
}

static void
drop_old_copies(PGconn *conn)
{
	PGresult *res = PQexec(conn,
	    "SELECT pg_catalog.format('DROP DATABASE"
	    " %I WITH (FORCE)', datname) FROM pg_catalog.pg_database"
	    " WHERE pg_catalog.starts_with(datname::pg_catalog.text,"
	    " 'pgwitness_w')");

	for (int i = 0; i < PQntuples(res); i++) {
		if (!run_sql(conn, PQgetvalue(res, i, 0)))
			log_warning(
			    "verification_drop", "%s", PQerrorMessage(conn));
	}
	PQclear(res);
}

static bool
prepare_cluster(const struct config *c, PGconn *conn, char *error, size_t size)
{
	bool external = c->verification_mode == VERIFICATION_EXTERNAL;

	if (PQstatus(conn) != CONNECTION_OK)
		return fail(error, size, "verification cluster: %s",
		    PQerrorMessage(conn));
	if (!run_sql(conn, "SET client_min_messages = error") ||
	    !make_role(conn) || (!set_role(c, conn) && !external))
		return fail(error, size,
		    "verification cluster: cannot make role " REPLAY ": %s",
		    PQerrorMessage(conn));
	if (!external &&
	    !run_sql(conn,
		"REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC"))
		return fail(error, size, "%s", PQerrorMessage(conn));
	drop_old_copies(conn);
	return true;
}

static bool
start_embedded(const struct config *c, pid_t *pid, char *error, size_t size)
{
	char log_path[PATH_MAX];
	bool clean;

	config_log_path(c, "verification.log", log_path, sizeof(log_path));
	if (!stop_leftover(error, size))
		return false;
	clean = secret_load();
	clean = take_clean_marker() && clean;
	if (!socket_directory(error, size) ||
	    (!clean && !cluster_make(log_path, error, size)))
		return false;
	secret_draw(cluster.replay);
	if (!secret_save())
		return fail(
		    error, size, "cannot write %s/secret: %m", cluster.root);
	cluster.known = true;
	*pid = run_postgres(c, log_path);
	if (*pid < 0)
		return fail(error, size, "cannot fork: %m");
	return true;
}

bool
cluster_start(const struct config *c, pid_t *pid, char *error, size_t size)
{
	PGconn *conn;
	bool ok;

	*pid = 0;
	cluster_paths(c);
	if (mkdir(cluster.root, 0700) != 0 && errno != EEXIST)
		return fail(error, size, "mkdir %s: %m", cluster.root);
	if (c->verification_mode == VERIFICATION_EXTERNAL) {
		secret_draw(cluster.replay);
		cluster.known = true;
		conn = loader_connect(c);
	} else {
		if (!start_embedded(c, pid, error, size))
			return false;
		conn = wait_ready(c, *pid);
	}
	ok = prepare_cluster(c, conn, error, size);
	PQfinish(conn);
	if (!ok && *pid > 0) {
		cluster_stop(*pid);
		*pid = 0;
	}
	return ok;
}

/* False if it has not ended in time.  *clean: it ended with code 0. */
static bool
reap(pid_t pid, bool *clean)
{
	int status;

	if (!program_gone(pid, STOP_TIMEOUT_MS))
		return false;
	if (waitpid(pid, &status, 0) == pid)
		*clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	return true;
}

void
cluster_stop(pid_t pid)
{
	static const int signals[] = { SIGINT, SIGQUIT, SIGKILL };
	char path[PATH_MAX + 16];
	bool clean = false;

	if (pid <= 0)
		return;
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		kill(pid, signals[i]);
		if (reap(pid, &clean))
			break;
		log_warning("verification_stop",
		    "the verification cluster, process %d, does not end",
		    (int)pid);
	}
	io_path(path, sizeof(path), "%s/clean", cluster.root);
	if (clean && !io_replace_file(path, "", 0, 0600))
		log_warning("verification_stop", "cannot write %s: %m", path);
	if (socket_is_temporary())
		(void)io_remove_tree(cluster.socket);
}

/* --- connection strings --- */

/* Appends " keyword='value'", quoted as libpq wants it. */
static void
put_keyword(struct buf *b, const char *keyword, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	buf_printf(b, " %s='", keyword);
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, (uint8_t)*value);
	}
	buf_put_u8(b, '\'');
}

static void
put_external(const struct config *c, struct buf *b, bool loader)
{
	put_keyword(b, "host", c->verification_host);
	buf_printf(b, " port=%d", c->verification_port);
	put_keyword(b, "user", loader ? c->verification_user : REPLAY);
	put_keyword(
	    b, "password", loader ? c->verification_password : cluster.replay);
	if (loader)
		put_keyword(b, "passfile", c->verification_passfile);
}

static void
put_embedded(struct buf *b, bool loader)
{
	put_keyword(b, "host", cluster.socket);
	buf_printf(b, " port=5432");
	put_keyword(b, "user", loader ? LOADER : REPLAY);
	put_keyword(b, "password", loader ? cluster.loader : cluster.replay);
}

void
cluster_conninfo(const struct config *c, bool loader, const char *dbname,
    char *out, size_t size)
{
	struct buf b = { 0 };

	if (!cluster.known) {
		cluster_paths(c);
		cluster.known = secret_load();
	}
	buf_printf(&b, "client_encoding=UTF8 connect_timeout=10"
		       " application_name=pgwitness");
	put_keyword(&b, "dbname", dbname);
	if (c->verification_mode == VERIFICATION_EXTERNAL)
		put_external(c, &b, loader);
	else
		put_embedded(&b, loader);
	io_path(out, size, "%.*s", (int)b.len, (const char *)b.data);
	explicit_bzero(b.data, b.len);
	buf_free(&b);
}
