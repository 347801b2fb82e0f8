/*
 * witnessctl_replay.c: the subcommand replay: a bundle, run again.
 *
 * On a PostgreSQL of its own in a temporary directory, or on the one that
 * --conninfo names: there a role and a database are made and dropped again.
 * The judge is replay.c, as in replayd; nothing but the bundle is read.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "cluster.h"
#include "config.h"
#include "ioutil.h"
#include "jsonx.h"
#include "line.h"
#include "log.h"
#include "mem.h"
#include "procsig.h"
#include "record.h"
#include "replay.h"
#include "txtable.h"
#include "witnessctl.h"

#define MAX_RECORD ((size_t)1 << 30)
#define REPLAY_ROLE "pgwitness_replay"

struct bundle {
	const char *dir;
	uint64_t tx_id;
	struct buf bytes;
	struct arena *arena;
	struct record record;
};

static bool
bundle_read(struct bundle *b)
{
	char path[PATH_MAX], json[PATH_MAX];
	json_t *v;

	io_path(path, sizeof(path), "%s/record.bin", b->dir);
	if (!io_read_file(path, &b->bytes, MAX_RECORD)) {
		fprintf(stderr, "witnessctl: %s: %s\n", path, strerror(errno));
		return false;
	}
	if (!record_decode(b->bytes.data, b->bytes.len, b->arena, &b->record)) {
		fprintf(stderr, "witnessctl: %s is no record of this version\n",
		    path);
		return false;
	}
	io_path(json, sizeof(json), "%s/transaction.json", b->dir);
	v = json_load_file(json, 0, NULL);
	b->tx_id = jsonx_get_int(json_object_get(v, "verdict"), "tx_id");
	json_decref(v);
	return true;
}

/* --- where it is run --- */

static void
put(char **field, const char *value)
{
	free(*field);
	*field = mem_strdup(value != NULL ? value : "");
}

/*
 * A verification cluster that pgwitness uses has databases of the same names,
 * and its role's password would be changed.
 */
static bool
is_free(PGconn *conn, const char *conninfo)
{
	PGresult *res;
	bool taken;

	if (PQstatus(conn) != CONNECTION_OK) {
		fprintf(stderr, "witnessctl: %s", PQerrorMessage(conn));
		return false;
	}
	res = PQexec(conn, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname"
			   " OPERATOR(pg_catalog.=) '" REPLAY_ROLE "'");
	taken = PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) > 0;
	PQclear(res);
	if (taken)
		fprintf(stderr,
		    "witnessctl: there is a role " REPLAY_ROLE
		    " at \"%s\": is it pgwitness's own verification cluster?\n",
		    conninfo);
	return !taken;
}

static bool
use_external(struct config *c, const char *conninfo)
{
	PGconn *conn = PQconnectdb(conninfo);
	bool ok = is_free(conn, conninfo);

	if (ok) {
		c->verification_mode = VERIFICATION_EXTERNAL;
		put(&c->verification_host, PQhost(conn));
		c->verification_port = atoi(PQport(conn));
		put(&c->verification_user, PQuser(conn));
		put(&c->verification_password, PQpass(conn));
		put(&c->verification_dbname, PQdb(conn));
	}
	PQfinish(conn);
	return ok;
}

static struct config *
make_config(const struct witnessctl_args *a, const char *dir)
{
	static const char text[] = "[backend]\nuser = bundle\n"
				   "[replay]\nworkers = 1\n";
	char path[PATH_MAX], error[1024];
	struct config *c;

	io_path(path, sizeof(path), "%s/log", dir);
	if (mkdir(path, 0700) != 0)
		return NULL;
	io_path(path, sizeof(path), "%s/pgwitness.conf", dir);
	if (!io_replace_file(path, text, sizeof(text) - 1, 0600))
		return NULL;
	c = config_load(dir, NULL, error, sizeof(error));
	if (c == NULL) {
		fprintf(stderr, "witnessctl: %s\n", error);
	} else if (a->conninfo != NULL && !use_external(c, a->conninfo)) {
		config_free(c);
		c = NULL;
	} else if (a->conninfo == NULL && geteuid() == 0) {
		fprintf(stderr,
		    "witnessctl: PostgreSQL does not run as root: run this as "
		    "another user, or name a server with --conninfo\n");
		config_free(c);
		c = NULL;
	}
	return c;
}

/* What replay made on a server that is not ours. */
static void
clean_external(const struct config *c, const char *conninfo)
{
	PGconn *conn;
	PGresult *res;

	if (c->verification_mode != VERIFICATION_EXTERNAL)
		return;
	conn = PQconnectdb(conninfo);
	res = PQexec(conn,
	    "SELECT pg_catalog.format('DROP DATABASE %I', datname)"
	    " FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r"
	    " ON r.oid OPERATOR(pg_catalog.=) d.datdba"
	    " WHERE r.rolname OPERATOR(pg_catalog.=) '" REPLAY_ROLE "'");
	for (int i = 0; i < PQntuples(res); i++)
		PQclear(PQexec(conn, PQgetvalue(res, i, 0)));
	PQclear(res);
	res = PQexec(conn, "DROP ROLE " REPLAY_ROLE);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fprintf(stderr, "witnessctl: %s", PQerrorMessage(conn));
	PQclear(res);
	PQfinish(conn);
}

/* --- what came out --- */

static void
print_json(const struct bundle *b, const struct verdict *v)
{
	const struct txn x = { .tx_id = b->tx_id,
		.has_roots = b->record.has_images,
		.pre_root = b->record.pre_root,
		.post_root = b->record.post_root };
	struct line line = { 0 };
	json_t *members;

	line_verdict(&line, &x, v, NULL);
	members = line_json(&line);
	line_free(&line);
	witnessctl_print_json(stdout, members);
	putchar('\n');
	json_decref(members);
}

static void
print_value(const char *before, const char *value)
{
	printf("%s", before);
	witnessctl_print(stdout, value == NULL ? "NULL" : value);
}

static void
print_mismatch(const struct verdict_mismatch *m)
{
	print_value("  table ", m->table);
	for (size_t i = 0; i < m->n_row; i++) {
		print_value(i == 0 ? " row " : ", ", m->row[i].column);
		print_value("=", m->row[i].value);
	}
	if (m->column != NULL)
		print_value(" column ", m->column);
	print_value(": claimed ",
	    m->column == NULL && m->claimed == NULL ? "absent" : m->claimed);
	print_value(", calculated ", m->column == NULL && m->calculated == NULL
					 ? "absent"
					 : m->calculated);
	putchar('\n');
}

static void
print_text(const struct bundle *b, const struct verdict *v)
{
	printf("transaction %llu: %s%s%s\n", (unsigned long long)b->tx_id,
	    verdict_kind_name(v->kind), v->reason[0] != '\0' ? ", " : "",
	    v->reason);
	if (v->detail[0] != '\0')
		print_value("  ", v->detail), putchar('\n');
	if (v->statement >= 0 &&
	    (size_t)v->statement < b->record.n_statements) {
		const struct record_statement *s =
		    &b->record.statements[v->statement];
		char *sql = arena_memdup(b->arena, s->sql, s->sql_len);

		printf("  first at statement %d", v->statement);
		print_value(": ", sql != NULL ? sql : "");
		putchar('\n');
	}
	for (size_t i = 0; i < v->n_mismatches; i++)
		print_mismatch(&v->mismatches[i]);
	if (v->more)
		printf("  and more\n");
}

static int
exit_code(const struct verdict *v)
{
	switch (v->kind) {
	case VERDICT_VERIFIED:
		return EXIT_GOOD;
	case VERDICT_MISMATCH:
		return EXIT_BAD_NEWS;
	case VERDICT_UNVERIFIABLE:
	case VERDICT_ERROR:
	default:
		return EXIT_CANNOT_RUN;
	}
}

/* --- running --- */

static int
run(struct bundle *b, const struct config *c, const struct witnessctl_args *a)
{
	struct replay *p = replay_new(c, 0);
	struct verdict v = { .tx_id = b->tx_id };
	int code = EXIT_CANNOT_RUN;

	if (schema_copy_from(replay_schema(p), &b->record, b->dir) &&
	    replay_run(p, &b->record, b->arena, &v)) {
		if (a->json)
			print_json(b, &v);
		else
			print_text(b, &v);
		code = exit_code(&v);
	}
	replay_free(p);
	return code;
}

static int
run_in(const char *dir, struct bundle *b, const struct witnessctl_args *a)
{
	struct config *c = make_config(a, dir);
	int code = EXIT_CANNOT_RUN;
	char error[1024];
	pid_t pid;

	if (c == NULL)
		return EXIT_CANNOT_RUN;
	c->keep_payload = KEEP_NONE;
	if (cluster_start(c, &pid, error, sizeof(error))) {
		code = run(b, c, a);
		cluster_stop(pid);
	} else {
		fprintf(stderr, "witnessctl: %s\n", error);
	}
	clean_external(c, a->conninfo);
	config_free(c);
	return code;
}

int
witnessctl_replay(const struct witnessctl_args *a)
{
	char dir[] = "/tmp/witnessctl-XXXXXX";
	struct bundle b = { .dir = a->words[0] };
	int code = EXIT_CANNOT_RUN;

	if (a->n_words != 1) {
		fprintf(stderr, "witnessctl: replay needs one BUNDLE: a "
				"directory under DIR/bundles\n");
		return EXIT_USAGE;
	}
	log_set_level(LOG_WARNING_);
	procsig_init();
	procsig_catch(SIGTERM);
	procsig_catch(SIGINT);
	b.arena = arena_new(0);
	if (bundle_read(&b)) {
		if (mkdtemp(dir) == NULL) {
			fprintf(stderr, "witnessctl: %s: %s\n", dir,
			    strerror(errno));
		} else {
			code = run_in(dir, &b, a);
			if (!io_remove_tree(dir))
				fprintf(stderr, "witnessctl: %s: %s\n", dir,
				    strerror(errno));
		}
	}
	buf_free(&b.bytes);
	arena_free(b.arena);
	return code;
}
