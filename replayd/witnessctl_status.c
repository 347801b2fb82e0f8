/*
 * witnessctl_status.c: the subcommand status: does it run, and what does the
 * evidence say so far.
 *
 * Reads the log, the pid file and the checkpoint's time; asks no process.
 * Bad news: it does not run, the log is broken, or there is a mismatch.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "audit.h"
#include "buf.h"
#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "witnessctl.h"

struct status {
	long pid;			/* 0: no pid file */
	bool alive;
	struct audit audit;
	uint64_t open_records;
	uint64_t open_verdicts;
	double checkpoint_age;		/* seconds, negative: none */
	char broken[1024];		/* "" if the log holds together */
};

static void
read_pid(struct status *s, const char *data_dir)
{
	char path[PATH_MAX];
	struct buf b = { 0 };

	if (data_dir == NULL)
		return;
	io_path(path, sizeof(path), "%s/pgwitness.pid", data_dir);
	if (io_read_file(path, &b, 4096)) {
		buf_put_u8(&b, '\0');
		s->pid = strtol((const char *)b.data, NULL, 10);
	}
	buf_free(&b);
	s->alive = s->pid > 0 &&
	    (kill((pid_t)s->pid, 0) == 0 || errno == EPERM);
}

static void
read_log(struct status *s, const char *dir)
{
	struct evlog *l = evlog_open(dir);
	struct evlog_line line;
	enum evlog_result r = EVLOG_LINE;

	while (l != NULL && r == EVLOG_LINE) {
		char why[512];

		r = evlog_next(l, &line, s->broken, sizeof(s->broken));
		if (r == EVLOG_LINE &&
		    audit_line(&s->audit, line.text, line.len, why,
			sizeof(why)) != AUDIT_GOOD) {
			snprintf(s->broken, sizeof(s->broken),
			    "%s:%" PRIu64 ": %s", line.file, line.number, why);
			break;
		}
	}
	evlog_close(l);
	audit_pending(&s->audit, &s->open_records, &s->open_verdicts);
}

static void
read_checkpoint_age(struct status *s, const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	io_path(path, sizeof(path), "%s/checkpoint", dir);
	s->checkpoint_age = -1;
	if (stat(path, &st) == 0)
		s->checkpoint_age = (double)io_now_us() / 1e6 -
		    ((double)st.st_mtim.tv_sec +
			(double)st.st_mtim.tv_nsec / 1e9);
}

static bool
is_good(const struct status *s)
{
	return s->alive && s->broken[0] == '\0' &&
	    json_object_get(s->audit.verdicts, "mismatch") == NULL;
}

static json_t *
as_json(const struct status *s)
{
	json_t *o = jsonx_object();

	jsonx_set(o, "running", json_boolean(s->alive));
	jsonx_set(o, "pid",
	    s->pid > 0 ? jsonx_int((uint64_t)s->pid) : json_null());
	jsonx_set(o, "lines", jsonx_int(s->audit.tree.size));
	jsonx_set(o, "records",
	    jsonx_int(jsonx_get_int(s->audit.types, "StateCommitmentRecord")));
	jsonx_set(o, "outcomes", json_incref(s->audit.outcomes));
	jsonx_set(o, "verdicts", json_incref(s->audit.verdicts));
	jsonx_set(o, "reasons", json_incref(s->audit.reasons));
	jsonx_set(o, "open_records", jsonx_int(s->open_records));
	jsonx_set(o, "backlog", jsonx_int(s->open_verdicts));
	jsonx_set(o, "checkpoint_age",
	    s->checkpoint_age < 0 ? json_null()
				  : json_real(s->checkpoint_age));
	jsonx_set(o, "broken", jsonx_text_or_null(s->broken));
	return o;
}

static void
put_counts(const char *title, json_t *counts)
{
	const char *name;
	json_t *n;

	json_object_foreach(counts, name, n)
	{
		printf("  %s ", title);
		witnessctl_print(stdout, name);
		printf(": %" JSON_INTEGER_FORMAT "\n", json_integer_value(n));
	}
}

static void
print_text(const struct status *s)
{
	if (s->alive)
		printf("running, pid %ld\n", s->pid);
	else
		printf("not running\n");
	printf("evidence: %" PRIu64 " lines\n", s->audit.tree.size);
	put_counts("outcome", s->audit.outcomes);
	put_counts("verdict", s->audit.verdicts);
	put_counts("reason", s->audit.reasons);
	printf("records without outcome: %" PRIu64 "\n", s->open_records);
	printf("backlog: %" PRIu64 " committed without verdict\n",
	    s->open_verdicts);
	if (s->checkpoint_age < 0)
		printf("last checkpoint: none\n");
	else
		printf("last checkpoint: %.1f s ago\n", s->checkpoint_age);
	if (s->broken[0] != '\0') {
		printf("BROKEN: ");
		witnessctl_print(stdout, s->broken);
		putchar('\n');
	}
}

int
witnessctl_status(const struct witnessctl_args *a)
{
	struct status s = { 0 };
	char dir[PATH_MAX];
	json_t *o;
	int code;

	if (!witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	audit_init(&s.audit, NULL);
	read_pid(&s, a->data_dir);
	read_log(&s, dir);
	read_checkpoint_age(&s, dir);
	if (a->json) {
		o = as_json(&s);
		witnessctl_print_json(stdout, o);
		putchar('\n');
		json_decref(o);
	} else
		print_text(&s);
	code = is_good(&s) ? EXIT_GOOD : EXIT_BAD_NEWS;
	audit_free(&s.audit);
	return code;
}
