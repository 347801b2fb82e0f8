/*
 * dump.c: pg_dump of the server, pg_restore into the verification cluster.
 *
 * The restore runs as the replay role, not as the loader: what a server's
 * users wrote (index expressions, checks) may run while it is restored, and
 * nothing of them may run as superuser.  So extensions and C functions are not
 * restored from here (schema.c creates the extensions).  Called by schema.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "dump.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"
#include "program.h"
#include "query.h"

#define MAX_LIST_BYTES (256u << 20)
/* A third of deadlock_timeout's default. */
#define LOCK_TIMEOUT_MS 333

void
dump_init(struct dump *d, const struct config *c, unsigned index)
{
	d->config = c;
	io_path(d->archive, sizeof(d->archive), "%s/verification/w%u.dump",
	    c->data_dir, index);
	io_path(d->list, sizeof(d->list), "%s/verification/w%u.list",
	    c->data_dir, index);
	io_path(d->errors, sizeof(d->errors), "%s/verification/w%u.errors",
	    c->data_dir, index);
}

/* Schemas of extensions are there before the restore. */
static bool
is_news(const char *line)
{
	return strstr(line, "error:") != NULL &&
	       (strstr(line, "schema \"") == NULL ||
		   strstr(line, "already exists") == NULL);
}

/* The programs' words go to the operator log, a line each, a few of them. */
static void
log_errors(const struct dump *d, const char *event, enum log_level level)
{
	struct buf b = { 0 };
	char *text;
	char *line;
	int n = 0;

	if (io_read_file(d->errors, &b, 1u << 20)) {
		buf_put_u8(&b, 0);
		text = (char *)b.data;
		while (n < 20 && (line = strsep(&text, "\n")) != NULL) {
			if (is_news(line) && ++n > 0)
				log_write(level, event, "%s", line);
		}
	}
	buf_free(&b);
	unlink(d->errors);
}

/* A database name may look like a connection string: quote it as one. */
static void
dbname_argument(const char *name, char *out, size_t size)
{
	struct buf b = { 0 };

	buf_put_str(&b, "dbname='");
	for (; *name != '\0'; name++) {
		if (*name == '\'' || *name == '\\')
			buf_put_u8(&b, '\\');
		buf_put_u8(&b, (uint8_t)*name);
	}
	buf_put_u8(&b, '\'');
	io_path(out, size, "%.*s", (int)b.len, (const char *)b.data);
	buf_free(&b);
}

/*
 * pg_dump locks table after table, so it may be in a deadlock with who locks
 * several, too.  It has to give up before the other one's server looks for the
 * victim.  Read without a catalog (copy.c).
 */
static unsigned
lock_timeout_ms(PGconn *conn)
{
	char text[32];
	char *unit;
	unsigned long n;

	if (!query_value(conn, "SHOW deadlock_timeout", text, sizeof(text)))
		return LOCK_TIMEOUT_MS;
	n = strtoul(text, &unit, 10);
	if (strcmp(unit, "ms") != 0 || n / 3 >= LOCK_TIMEOUT_MS)
		return LOCK_TIMEOUT_MS;
	return n < 3 ? 1 : (unsigned)(n / 3);
}

bool
dump_take(const struct dump *d, PGconn *conn, const char *snapshot)
{
	char snapshot_option[128];
	char timeout_option[64];
	char dbname[512];
	const char *argv[] = { "pg_dump", "--schema-only", "-Fc", "-Z0",
		"--no-owner", "--no-privileges", "--no-comments",
		"--no-publications", "--no-subscriptions", "--no-tablespaces",
		"--no-security-labels", timeout_option, "-w",
		"--exclude-schema=pgwitness_pin", "-E", "UTF8", "-h",
		PQhost(conn), "-p", PQport(conn), "-U", PQuser(conn), "-f",
		d->archive, snapshot_option, "-d", dbname, NULL };
	struct program p = { .argv = argv,
		.err = d->errors,
		.password = PQpass(conn),
		.passfile = d->config->backend_passfile,
		.server = d->config,
		.death_signal = SIGTERM };

	snprintf(snapshot_option, sizeof(snapshot_option), "--snapshot=%s",
	    snapshot);
	snprintf(timeout_option, sizeof(timeout_option),
	    "--lock-wait-timeout=%ums", lock_timeout_ms(conn));
	dbname_argument(PQdb(conn), dbname, sizeof(dbname));
	if (program_run(&p) == 0) {
		unlink(d->errors);
		return true;
	}
	log_errors(d, "schema_dump", LOG_WARNING_);
	return false;
}

/* "215; 1259 16385 TABLE public t owner": the part from TABLE on. */
static const char *
entry_description(const char *line)
{
	const char *p = strchr(line, ';');

	if (line[0] == ';' || p == NULL)
		return NULL;
	p++;
	for (int i = 0; i < 2; i++) {
		p += strspn(p, " ");
		p += strspn(p, "0123456789");
	}
	return p + strspn(p, " ");
}

static bool
entry_is_left_out(const char *description)
{
	static const char *const kinds[] = { "EVENT TRIGGER ", "PUBLICATION ",
		"SUBSCRIPTION ", "FOREIGN DATA WRAPPER ", "SERVER ",
		"USER MAPPING ", "FOREIGN TABLE ", "PROCEDURAL LANGUAGE ",
		"EXTENSION ", "DATABASE ", "ACL ", "DEFAULT ACL ", "COMMENT " };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strncmp(description, kinds[i], strlen(kinds[i])) == 0)
			return true;
	}
	return false;
}

/* Writes the list without the entries that are left out; names those. */
static bool
filter_list(const struct dump *d)
{
	struct buf b = { 0 };
	struct buf out = { 0 };
	char *text;
	char *line;
	bool ok;

	if (!io_read_file(d->list, &b, MAX_LIST_BYTES))
		return false;
	buf_put_u8(&b, 0);
	text = (char *)b.data;
	while ((line = strsep(&text, "\n")) != NULL) {
		const char *entry = entry_description(line);

		if (entry == NULL)
			continue;
		if (entry_is_left_out(entry)) {
			if (strncmp(entry, "EXTENSION ", 10) != 0)
				log_write(d->again ? LOG_DEBUG_ : LOG_INFO_,
				    "schema_left_out",
				    "not copied for replay: %s", entry);
			continue;
		}
		buf_put_str(&out, line);
		buf_put_u8(&out, '\n');
	}
	ok = io_replace_file(d->list, out.data, out.len, 0600);
	buf_free(&out);
	buf_free(&b);
	return ok;
}

static bool
make_list(const struct dump *d)
{
	const char *argv[] = { "pg_restore", "-l", d->archive, NULL };
	struct program p = { .argv = argv,
		.out = d->list,
		.err = d->errors,
		.death_signal = SIGTERM };

	return program_run(&p) == 0 && filter_list(d);
}

bool
dump_restore(const struct dump *d, PGconn *conn)
{
	char dbname[512];
	const char *argv[] = { "pg_restore", "-w", "--no-owner",
		"--no-privileges", "-L", d->list, "-h", PQhost(conn), "-p",
		PQport(conn), "-U", PQuser(conn), "-d", dbname, d->archive,
		NULL };
	struct program p = { .argv = argv,
		.err = d->errors,
		.password = PQpass(conn),
		.death_signal = SIGTERM };
	int code;

	if (!make_list(d)) {
		log_errors(d, "schema_restore", LOG_WARNING_);
		return false;
	}
	dbname_argument(PQdb(conn), dbname, sizeof(dbname));
	/* 1: some objects failed, and the rest is there */
	code = program_run(&p);
	log_errors(d, "schema_restore", d->again ? LOG_DEBUG_ : LOG_WARNING_);
	unlink(d->list);
	return code == 0 || code == 1;
}
