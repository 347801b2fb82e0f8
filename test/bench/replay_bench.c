/*
 * replay_bench.c: how many jobs per second one replay worker does, whether
 * that stays so, and how long after its commit a transaction has its verdict.
 *
 *	replay_bench DIR [JOBS]		(100000 jobs; DIR is made, and kept)
 *
 * A job is a recorded UPDATE of one row by its key, with now() in it.  Its
 * record is made here as the backend makes it; all else is real: a server, the
 * verification cluster, spool, worker, and for the lag the program replayd with
 * a lane, the recorder and the evidence log.  In the same run the naive way,
 * without any of it: CREATE TABLE, INSERT, the statement, SELECT, DROP TABLE.
 *
 * Run by replay.sh, which makes a data directory DIR/data (pgwitness --init).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../replayd/cluster.h"
#include "../../replayd/dispatch.h"
#include "../../replayd/spool.h"
#include "../../replayd/verdict.h"
#include "../../replayd/worker.h"
#include "../support/server.h"
#include "catalog_sql.h"
#include "config.h"
#include "ioutil.h"
#include "log.h"
#include "procsig.h"
#include "record.h"
#include "shmq.h"

#define DEFAULT_JOBS 100000
#define EDGE 10000 /* the first and the last jobs, compared */
#define NAIVE_US INT64_C(3000000)
#define LAG_US INT64_C(10000000)
#define ROWS 1000
#define N_COLUMNS 4

static char base[PATH_MAX - 64];
static struct config *config;
static pid_t server_pid;
static pid_t cluster; /* its postmaster */
static PGconn *server;
static struct arena *arena;
static struct rowenc_shape shape;
static uint32_t table_oid;
static char fingerprint[64];
static bool with_params; /* bind values in place of literals */

static const char ddl[] =
    "CREATE ROLE witness LOGIN; GRANT pg_read_all_data TO witness;"
    " CREATE TABLE public.account (id int PRIMARY KEY, owner text NOT NULL,"
    " balance numeric(12,2) CHECK (balance >= 0),"
    " changed timestamptz DEFAULT now())";

static PGW_NORETURN void
die(const char *what, const char *why)
{
	fprintf(stderr, "replay_bench: %s: %s\n", what, why);
	if (server_pid > 0)
		kill(server_pid, SIGQUIT);
	exit(3);
}

static PGresult *
ask(PGconn *conn, const char *sql)
{
	PGresult *res = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(res);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		die(sql, PQerrorMessage(conn));
	return res;
}

static void
tell(PGconn *conn, const char *sql)
{
	PQclear(ask(conn, sql));
}

/* --- the server --- */

static void
start_server(void)
{
	server_pid = server_start(base);
	if (server_pid <= 0)
		die("the server", "cannot be made");
	server = server_connect(base, server_pid,
	    "options='-c search_path= -c TimeZone=UTC'");
	if (PQstatus(server) != CONNECTION_OK)
		die("the server", PQerrorMessage(server));
}

static void
read_table(void)
{
	static struct rowenc_column columns[N_COLUMNS] = {
		{ "id", "integer", 1, 0, 0 }, { "owner", "text", 0, 0, 0 },
		{ "balance", "numeric(12,2)", 0, 0, 0 },
		{ "changed", "timestamp with time zone", 0, 0, 0 }
	};
	PGresult *res;

	tell(server, ddl);
	res = ask(server,
	    "SELECT c.oid, " CATALOG_FINGERPRINT " FROM pg_catalog.pg_class c"
	    " WHERE c.oid = 'public.account'::regclass");
	table_oid = (uint32_t)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	snprintf(fingerprint, sizeof(fingerprint), "%s", PQgetvalue(res, 0, 1));
	PQclear(res);
	shape.columns = columns;
	shape.n_columns = N_COLUMNS;
	if (!rowenc_shape_init(&shape, arena_new(0)))
		die("shape", "no memory");
}

/* --- records --- */

static void
encode(const char *const *text, struct record_row *out)
{
	struct rowenc_value values[N_COLUMNS];

	for (unsigned i = 0; i < N_COLUMNS; i++)
		values[i] = (struct rowenc_value){ (const uint8_t *)text[i],
			strlen(text[i]) };
	memset(out, 0, sizeof(*out));
	if (!rowenc_encode(&shape, values, arena, &out->row))
		die("row", "no memory");
}

/* The i-th transaction's bytes, at the end of *out. */
static void
put_record(uint64_t i, struct buf *out)
{
	static const char now[] = "2026-01-02 03:04:05.678901+00";
	char id[24], balance[32], more[32], sql[256];
	const char *old[] = { id, "somebody", balance,
		"2025-12-31 23:59:59+00" };
	const char *new[] = { id, "somebody", more, now };
	struct record_param params[] = { { 1700, 0, (const uint8_t *)"1.25",
					     4 },
		{ 23, 0, (const uint8_t *)id, 0 } };
	struct record_statement st = { .sql = sql, .type = "UPDATE" };
	struct record_row rows[2];
	struct record_table t = { .schema = "public",
		.table = "account",
		.write = true,
		.oid = table_oid,
		.fingerprint = fingerprint,
		.definition = "",
		.shape = shape,
		.before = &rows[0],
		.n_before = 1,
		.after = &rows[1],
		.n_after = 1 };
	struct record r = { .xid = i + 1000,
		.time_us = io_now_us(),
		.now = now,
		.database = "postgres",
		.user = "boss",
		.application_name = "",
		.client_addr = "",
		.isolation = "read committed",
		.capture_reason = "",
		.unverifiable = "",
		.statements = &st,
		.n_statements = 1,
		.has_images = true,
		.tables = &t,
		.n_tables = 1 };

	arena_reset(arena);
	snprintf(id, sizeof(id), "%" PRIu64, i % ROWS);
	snprintf(balance, sizeof(balance), "%" PRIu64 ".50", i);
	snprintf(more, sizeof(more), "%" PRIu64 ".75", i + 1);
	snprintf(sql, sizeof(sql),
	    "UPDATE account SET balance = balance + %s,"
	    " changed = now() WHERE id = %s",
	    with_params ? "$1" : "1.25", with_params ? "$2" : id);
	st.sql_len = strlen(sql);
	params[1].len = strlen(id);
	st.params = params;
	st.n_params = with_params ? 2 : 0;
	encode(old, &rows[0]);
	encode(new, &rows[1]);
	record_set_roots(&r);
	record_encode(&r, out);
}

/* --- the naive way --- */

static const char naive_sql[] =
    "CREATE TABLE job (id int PRIMARY KEY, owner text NOT NULL,"
    " balance numeric(12,2) CHECK (balance >= 0),"
    " changed timestamptz DEFAULT now());"
    " INSERT INTO job VALUES (%d, 'somebody', 7.50, '2025-12-31');"
    " UPDATE job SET balance = balance + 1.25, changed = now() WHERE id = %d;"
    " SELECT * FROM job; DROP TABLE job";

static double
bench_naive(void)
{
	char conninfo[PATH_MAX * 2], sql[1024];
	PGconn *conn;
	int64_t start;
	int n = 0;

	cluster_conninfo(config, true, "postgres", conninfo, sizeof(conninfo));
	conn = PQconnectdb(conninfo);
	tell(conn, "CREATE SCHEMA IF NOT EXISTS naive;"
		   " SET search_path = naive");
	start = io_monotonic_us();
	while (io_monotonic_us() < start + NAIVE_US) {
		const char *p = sql;
		char *end;

		snprintf(sql, sizeof(sql), naive_sql, n, n);
		/* each by itself, as a program that uses a driver does */
		while ((end = strchr(p, ';')) != NULL) {
			*end = '\0';
			tell(conn, p);
			p = end + 1;
		}
		tell(conn, p);
		n++;
	}
	PQfinish(conn);
	return n * 1e6 / (double)(io_monotonic_us() - start);
}

/* --- CPU time, which other programs of the machine do not change much --- */

/* Microseconds of the processes whose parent is pid, as far as they live. */
static int64_t
children_cpu_us(pid_t pid)
{
	char path[300], line[1024];
	unsigned long user, system;
	int64_t ticks = 0;
	struct dirent *e;
	DIR *proc = opendir("/proc");
	int parent;

	while (proc != NULL && (e = readdir(proc)) != NULL) {
		const char *p = NULL;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		f = fopen(path, "r");
		if (f != NULL && fgets(line, sizeof(line), f) != NULL)
			p = strrchr(line, ')');
		if (f != NULL)
			fclose(f);
		if (p != NULL &&
		    sscanf(p,
			") %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u"
			" %lu %lu",
			&parent, &user, &system) == 3 &&
		    parent == pid)
			ticks += (int64_t)(user + system);
	}
	if (proc != NULL)
		closedir(proc);
	return ticks * 1000000 / sysconf(_SC_CLK_TCK);
}

static int64_t
usage_us(const struct rusage *u)
{
	return ((int64_t)u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000 +
	       u->ru_utime.tv_usec + u->ru_stime.tv_usec;
}

/* --- one worker --- */

struct progress {
	uint64_t done;
	uint64_t verified;
	int64_t edge[3]; /* when the first, and all but the last, were done */
	uint64_t jobs;
	int64_t worker_us; /* CPU */
	int64_t cluster_us;
};

static void
take_verdict(void *arg, const uint8_t *bytes, size_t n)
{
	struct progress *p = arg;
	struct verdict v;

	arena_reset(arena);
	if (verdict_decode(bytes, n, arena, &v) && v.kind == VERDICT_VERIFIED)
		p->verified++;
	else if (p->done == p->verified)
		fprintf(stderr, "transaction %" PRIu64 ": %s %s\n", v.tx_id,
		    v.reason, v.detail);
	p->done++;
	if (p->done == EDGE)
		p->edge[0] = io_monotonic_us();
	if (p->done == p->jobs - EDGE)
		p->edge[1] = io_monotonic_us();
	if (p->done == p->jobs)
		p->edge[2] = io_monotonic_us();
}

static void
dispatch_until(struct dispatch *d, struct progress *p, uint64_t done)
{
	while (p->done < done && dispatch_living(d) > 0) {
		struct pollfd pfd;

		dispatch_send(d);
		if (dispatch_poll(d, &pfd) == 1 && poll(&pfd, 1, -1) > 0)
			dispatch_receive(d, &pfd, take_verdict, p);
	}
	if (p->verified != p->done || p->done < done)
		die("worker", "not all was verified");
}

/* Writes n records to the spool and queues their jobs. */
static void
fill_spool(struct dispatch *d, uint64_t n)
{
	struct buf b = { 0 };
	struct spool_reader *reader;
	struct spool_writer *w;
	struct spool_frame f;
	uint64_t last;
	struct spool_position end;

	w = spool_writer_open(config->data_dir, &last);
	if (w == NULL)
		die("spool", "cannot be written");
	for (uint64_t i = 1; i <= n; i++) {
		buf_reset(&b);
		put_record(i, &b);
		spool_append(w, SPOOL_RECORD, last + i, b.data, b.len);
		if (spool_pending(w) > 1000000 && !spool_sync(w))
			die("spool", "cannot be written");
	}
	if (!spool_sync(w))
		die("spool", "cannot be written");
	end = spool_end(w);
	spool_writer_close(w);
	reader = spool_reader_open(config->data_dir);
	while (reader != NULL && spool_next(reader, end, &f))
		if (f.tx_id > last)
			dispatch_push(d, f.tx_id, f.at);
	spool_reader_close(reader);
	buf_free(&b);
}

static void
bench_worker(uint64_t n, struct progress *p)
{
	struct dispatch *d;
	int pair[2], status;
	int64_t start, cluster_us;
	struct rusage usage;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair", "failed");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		worker_main(config, 0, pair[1]);
	}
	close(pair[1]);
	d = dispatch_new(&pair[0], 1);
	fill_spool(d, 1);
	dispatch_until(d, p, 1); /* it has its copy of the database */
	fill_spool(d, n);
	*p = (struct progress){ .jobs = n };
	cluster_us = children_cpu_us(cluster);
	start = io_monotonic_us();
	dispatch_until(d, p, n);
	p->cluster_us = children_cpu_us(cluster) - cluster_us;
	p->edge[0] -= start;
	p->edge[1] = p->edge[2] - p->edge[1];
	p->edge[2] -= start;
	close(pair[0]);
	(void)wait4(pid, &status, 0, &usage);
	p->worker_us = usage_us(&usage);
}

static double
print_worker(const char *what, uint64_t n, double naive)
{
	struct progress p = { .jobs = n };
	double rate;

	bench_worker(n, &p);
	rate = (double)n * 1e6 / (double)p.edge[2];
	printf("%-26s %7.0f jobs/s, %.1f times naive, CPU per job %.0f us"
	       " worker and %.0f us cluster",
	    what, rate, rate / naive, (double)p.worker_us / (double)n,
	    (double)p.cluster_us / (double)n);
	if (n >= 2 * EDGE)
		printf("; first %d: %.0f/s, last %d: %.0f/s", EDGE,
		    EDGE * 1e6 / (double)p.edge[0], EDGE,
		    EDGE * 1e6 / (double)p.edge[1]);
	printf("\n");
	fflush(stdout);
	return rate;
}

/* --- lag --- */

static pid_t
start_replayd(struct shmq *q, int life, int children)
{
	char queue_arg[16], life_arg[16], children_arg[16];
	char self[PATH_MAX], program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t pid;

	if (n <= 0)
		die("replayd", "cannot be found");
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	io_path(program, sizeof(program), "%s/../replayd", self);
	snprintf(queue_arg, sizeof(queue_arg), "%d", shmq_fd(q));
	snprintf(life_arg, sizeof(life_arg), "%d", life);
	snprintf(children_arg, sizeof(children_arg), "%d", children);
	pid = fork();
	if (pid == 0) {
		if (io_set_cloexec(shmq_fd(q), false) &&
		    io_set_cloexec(life, false) &&
		    io_set_cloexec(children, false))
			execl(program, "replayd", "--queue-fd", queue_arg,
			    "--life-fd", life_arg, "--children-fd",
			    children_arg, "-D", config->data_dir, "-c",
			    config->file, (char *)NULL);
		_exit(127);
	}
	return pid;
}

struct commits {
	uint64_t n;
	int64_t *at;
};

/* As a backend does, but that it does not wait for the disk. */
static void
commit_one(struct shmq_producer *p, struct commits *c, struct buf *b)
{
	static const struct record_outcome_message m = { OUTCOME_COMMITTED, 0,
		"server", "" };

	buf_reset(b);
	put_record(c->n + 1, b);
	if (shmq_send(p, RECORD_TRANSACTION, b->data, b->len, NULL, NULL) == 0)
		die("lane", "broken");
	buf_reset(b);
	record_outcome_encode(&m, b);
	c->at[c->n++] = io_now_us();
	if (shmq_send(p, RECORD_OUTCOME, b->data, b->len, NULL, NULL) == 0)
		die("lane", "broken");
}

/* "2026-01-02T03:04:05.678901Z", microseconds since 1970. */
static int64_t
line_time(const char *text)
{
	struct tm tm = { 0 };
	int us;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%6d", &tm.tm_year, &tm.tm_mon,
		&tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &us) != 7)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return (int64_t)timegm(&tm) * 1000000 + us;
}

/* Lags of the verdicts that the log has. */
static size_t
read_lags(const struct commits *c, int64_t *lags)
{
	char command[PATH_MAX + 256], line[256];
	size_t n = 0;
	FILE *f;

	io_path(command, sizeof(command),
	    "cat %s/log/evidence-*.jsonl 2>/dev/null | jq -r 'select(.type =="
	    " \"VerificationResult\" and .success) | \"\\(.tx_id) \\(.time)\"'",
	    config->data_dir);
	f = popen(command, "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		uint64_t tx = strtoull(line, NULL, 10);
		const char *time = strchr(line, ' ');

		if (tx >= 1 && tx <= c->n && time != NULL)
			lags[n++] = line_time(time + 1) - c->at[tx - 1];
	}
	if (f != NULL)
		pclose(f);
	return n;
}

static int
by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void
commit_at_rate(struct shmq_producer *p, struct commits *c, double rate)
{
	struct buf b = { 0 };
	int64_t start = io_monotonic_us();
	uint64_t n = c->n;

	while (io_monotonic_us() < start + LAG_US) {
		int64_t due = start +
			      (int64_t)((double)(c->n - n) * 1e6 / rate);
		int64_t left = due - io_monotonic_us();

		if (left > 0) {
			struct timespec ts = { 0, (long)left * 1000 };

			(void)nanosleep(&ts, NULL);
		}
		commit_one(p, c, &b);
	}
	buf_free(&b);
}

static void
print_lags(int64_t *lags, size_t n)
{
	qsort(lags, n, sizeof(*lags), by_size);
	printf("%-26s %7.0f commits/s: verdict after p50 %.1f ms,"
	       " p95 %.1f ms, p99 %.1f ms, max %.1f ms\n",
	    "lag at half load", (double)n * 1e6 / (double)LAG_US,
	    (double)lags[n / 2] / 1e3, (double)lags[n * 95 / 100] / 1e3,
	    (double)lags[n * 99 / 100] / 1e3, (double)lags[n - 1] / 1e3);
}

/* The first one waits for cluster and copy: it is in no figure. */
static void
bench_lag(double rate)
{
	struct shmq *q = shmq_create(1, (size_t)1 << 20);
	unsigned lane = shmq_lane_take(q);
	size_t most = (size_t)(rate * 12) + 1000, n;
	struct commits c = { .at = calloc(most, sizeof(*c.at)) };
	int64_t *lags = calloc(most, sizeof(*lags));
	struct shmq_producer *p;
	struct buf b = { 0 };
	int life[2], children[2], status;
	struct rusage usage;
	pid_t pid;

	if (pipe(life) != 0 || pipe(children) != 0 || c.at == NULL ||
	    lags == NULL)
		die("pipe", "cannot be made");
	pid = start_replayd(q, life[0], children[0]);
	p = shmq_producer_open(q, lane);
	if (p == NULL)
		die("lane", "cannot be opened");
	commit_one(p, &c, &b);
	while (read_lags(&c, lags) == 0)
		if (waitpid(pid, &status, WNOHANG) != 0)
			die("replayd", "ended");
	commit_at_rate(p, &c, rate);
	kill(pid, SIGTERM); /* the verdicts are written before it ends */
	(void)wait4(pid, &status, 0, &usage);
	n = read_lags(&c, lags);
	if (n < c.n)
		fprintf(stderr, "%zu of %" PRIu64 " verdicts\n", n, c.n);
	print_lags(lags + 1, n - 1);
	printf("%-26s %7.0f us CPU per commit in all of replayd\n", "",
	    (double)usage_us(&usage) / (double)n);
	buf_free(&b);
	free(c.at);
	free(lags);
}

/* --- set-up --- */

static void
load_config(void)
{
	char path[PATH_MAX], text[PATH_MAX + 256], error[1024];
	int n;

	io_path(path, sizeof(path), "%s/data/pgwitness.conf", base);
	n = snprintf(text, sizeof(text),
	    "[backend]\nhost = %s\nport = 5432\ndbname = postgres\n"
	    "user = witness\n[replay]\nworkers = 1\n",
	    base);
	if (!io_replace_file(path, text, (size_t)n, 0600))
		die(path, "cannot be written");
	*strrchr(path, '/') = '\0';
	config = config_load(path, NULL, error, sizeof(error));
	if (config == NULL)
		die("configuration", error);
	config_log_path(config, "pgwitness.log", path, sizeof(path));
	if (!log_open(path))
		die(path, "cannot be opened");
}

/* The records of the jobs before have no outcome. */
static void
clear_spool(void)
{
	char command[PATH_MAX + 32];

	io_path(command, sizeof(command), "rm -f %s/spool/*", config->data_dir);
	if (system(command) != 0)
		die(command, "failed");
}

int
main(int argc, char **argv)
{
	uint64_t jobs = argc > 2 ? strtoull(argv[2], NULL, 10) : DEFAULT_JOBS;
	char error[1024];
	double naive, rate;

	if (argc < 2 || jobs == 0) {
		fprintf(stderr, "usage: replay_bench DIR [JOBS]\n");
		return 2;
	}
	snprintf(base, sizeof(base), "%s", argv[1]);
	procsig_init();
	procsig_catch(SIGTERM);
	arena = arena_new(0);
	load_config();
	start_server();
	read_table();
	if (!cluster_start(config, &cluster, error, sizeof(error)))
		die("verification cluster", error);
	naive = bench_naive();
	printf("%-26s %7.0f jobs/s\n", "naive, CREATE and DROP", naive);
	fflush(stdout);
	with_params = true;
	(void)print_worker("one worker, bind values", jobs / 4, naive);
	with_params = false;
	rate = print_worker("one worker, literals", jobs, naive);
	cluster_stop(cluster);
	clear_spool();
	bench_lag(rate / 2);
	kill(server_pid, SIGQUIT);
	return 0;
}
