/*
 * witnessctl_status.c: the subcommand status: does it run, and what does the
 * evidence say so far.
 *
 * Reads the log, the pid file, /proc, the alarms and the checkpoint's time;
 * asks no process.  How many lanes are busy only the processes know: their
 * memory has no name.  Bad news: it does not run, the spool takes nothing, the
 * recorder ends, the log is broken, or there is a mismatch.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "alarm.h"
#include "audit.h"
#include "buf.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jscan.h"
#include "jsonx.h"
#include "tiles.h"
#include "witnessctl.h"

struct status {
	pid_t pid;         /* postmaster, 0: none */
	pid_t replayd;     /* its child, 0: none */
	unsigned backends; /* with the spare ones */
	unsigned replayds; /* recorder, verifier, workers ... */
	struct audit audit;
	uint64_t open_records;
	uint64_t open_verdicts;
	double lag;            /* seconds the oldest open one waits */
	double checkpoint_age; /* seconds, negative: none */
	bool stalled;          /* ALARM_SPOOL */
	bool recorder_ended; /* ALARM_RECORDER, until it has run for a while */
	bool unreachable;    /* ALARM_SERVER */
	char broken[1024];   /* "" if the log holds together */
};

/* --- processes --- */

struct process {
	pid_t pid;
	pid_t parent;
	char name[32];
};

/* /proc/PID/stat: pid (name) state ppid ...; the name may hold anything. */
static bool
read_process(const char *digits, struct process *p)
{
	char path[64];
	char text[512];
	char *name;
	char *end;
	long parent;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", digits);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	name = strchr(text, '(');
	end = strrchr(text, ')');
	if (name == NULL || end == NULL || strlen(end) < 5 || end[2] == 'Z')
		return false;
	*end = '\0';
	parent = strtol(end + 4, NULL, 10);
	p->pid = (pid_t)strtol(digits, NULL, 10);
	p->parent = (pid_t)parent;
	snprintf(p->name, sizeof(p->name), "%.31s", name + 1);
	return true;
}

static void
each_process(
    struct status *s, void (*take)(struct status *s, const struct process *p))
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	struct process p;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
		    read_process(e->d_name, &p))
			take(s, &p);
	if (d != NULL)
		closedir(d);
}

static void
take_child(struct status *s, const struct process *p)
{
	if (p->parent != s->pid)
		return;
	if (strcmp(p->name, "replayd") == 0)
		s->replayd = p->pid;
	else if (strcmp(p->name, "pgwitness") == 0)
		s->backends++;
}

static void
take_grandchild(struct status *s, const struct process *p)
{
	if (p->parent == s->replayd && strcmp(p->name, "replayd") == 0)
		s->replayds++;
}

static void
read_processes(struct status *s, const char *data_dir)
{
	s->pid = witnessctl_postmaster(data_dir);
	if (s->pid == 0)
		return;
	each_process(s, take_child);
	if (s->replayd != 0)
		each_process(s, take_grandchild);
}

/* --- log --- */

/* Where the first files were moved away: the tiles give the tree before. */
static bool
start_behind(struct status *s, const char *dir, const struct evlog_line *line)
{
	char path[PATH_MAX + 16];
	struct buf b = { 0 };
	struct checkpoint c;
	struct jscan_fields f;
	struct merkle_tree tree;
	struct merkle_hash last;
	struct tiles *t;
	uint64_t seq = 0;
	bool ok;

	if (jscan_line(s->audit.scan, line->text, line->len, &f, s->broken,
		sizeof(s->broken)))
		seq = jscan_count(&f.member[JSCAN_SEQ]);
	if (seq < 2)
		return true;
	io_path(path, sizeof(path), "%s/checkpoint", dir);
	ok = io_read_file(path, &b, 65536) &&
	     checkpoint_parse_text(b.data, b.len, &c) && seq - 1 <= c.size;
	buf_free(&b);
	if (!ok)
		return false;
	t = tiles_open(dir, seq - 1);
	ok = tiles_tree(t, &tree) && tiles_leaf(t, seq - 2, &last);
	tiles_close(t);
	if (ok)
		audit_start_behind(&s->audit, &tree, &last);
	return ok;
}

static bool
read_line(struct status *s, const char *dir, const struct evlog_line *line)
{
	char why[512] = "the lines before are missing";

	if ((line->number > 1 || s->audit.tree.size > 0 ||
		start_behind(s, dir, line)) &&
	    audit_line(&s->audit, line->text, line->len, why, sizeof(why)) ==
		AUDIT_GOOD)
		return true;
	snprintf(s->broken, sizeof(s->broken), "%s:%" PRIu64 ": %s", line->file,
	    line->number, why);
	return false;
}

static void
read_log(struct status *s, const char *dir)
{
	const struct evlog_place first = { evlog_lowest(dir, NULL), 0, 0 };
	struct evlog *l = evlog_open(dir);
	struct evlog_line line;
	enum evlog_result r = EVLOG_LINE;

	if (l != NULL && first.file > 0 && !evlog_seek(l, &first))
		r = EVLOG_END;
	while (l != NULL && r == EVLOG_LINE) {
		r = evlog_next(l, &line, s->broken, sizeof(s->broken));
		if (r == EVLOG_LINE && !read_line(s, dir, &line))
			break;
	}
	evlog_close(l);
	audit_pending(&s->audit, &s->open_records, &s->open_verdicts);
}

/* Stops at the record: its time says how long it waits. */
static bool
take_time(void *context, const struct evlog_line *line, uint64_t seq)
{
	struct status *s = context;
	json_t *v = json_loadb(line->text, line->len, 0, NULL);
	const char *time = jsonx_get(v, "time");
	struct tm tm = { 0 };

	(void)seq;
	if (time != NULL && strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) != NULL)
		s->lag = (double)io_now_us() / 1e6 - (double)timegm(&tm);
	if (s->lag < 0)
		s->lag = 0;
	json_decref(v);
	return false;
}

static void
read_lag(struct status *s, const char *dir)
{
	uint64_t oldest = 0;
	const struct txn *x;
	size_t i = 0;

	while ((x = txtable_next(&s->audit.open, &i)) != NULL)
		if (oldest == 0 || x->tx_id < oldest)
			oldest = x->tx_id;
	if (oldest != 0 && witnessctl_lines_of(dir, oldest, take_time, s) < 0)
		s->lag = 0;
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
	return s->pid != 0 && s->broken[0] == '\0' && !s->stalled &&
	       !s->recorder_ended &&
	       json_object_get(s->audit.verdicts, "mismatch") == NULL;
}

static json_t *
pid_or_null(pid_t pid)
{
	return pid > 0 ? jsonx_int((uint64_t)pid) : json_null();
}

static json_t *
as_json(const struct status *s)
{
	json_t *o = jsonx_object();

	jsonx_set(o, "running", json_boolean(s->pid != 0));
	jsonx_set(o, "pid", pid_or_null(s->pid));
	jsonx_set(o, "replayd", pid_or_null(s->replayd));
	jsonx_set(o, "replayd_processes", jsonx_int(s->replayds));
	jsonx_set(o, "backends", jsonx_int(s->backends));
	jsonx_set(o, ALARM_SPOOL, json_boolean(s->stalled));
	jsonx_set(o, ALARM_RECORDER, json_boolean(s->recorder_ended));
	jsonx_set(o, ALARM_SERVER, json_boolean(s->unreachable));
	jsonx_set(o, "lines", jsonx_int(s->audit.tree.size));
	jsonx_set(o, "records",
	    jsonx_int(jsonx_get_int(s->audit.types, "StateCommitmentRecord")));
	jsonx_set(o, "outcomes", json_incref(s->audit.outcomes));
	jsonx_set(o, "verdicts", json_incref(s->audit.verdicts));
	jsonx_set(o, "reasons", json_incref(s->audit.reasons));
	jsonx_set(o, "schema_changes", json_incref(s->audit.changes));
	jsonx_set(o, "open_records", jsonx_int(s->open_records));
	jsonx_set(o, "backlog", jsonx_int(s->open_verdicts));
	jsonx_set(o, "lag", json_real(s->lag));
	jsonx_set(o, "checkpoint_age",
	    s->checkpoint_age < 0 ? json_null() : json_real(s->checkpoint_age));
	jsonx_set(o, "broken", jsonx_text_or_null(s->broken));
	return o;
}

/* With the share of each. */
static void
put_counts(const char *title, json_t *counts)
{
	json_int_t all = 0;
	const char *name;
	json_t *n;

	json_object_foreach(counts, name, n) all += json_integer_value(n);
	json_object_foreach(counts, name, n)
	{
		printf("  %s ", title);
		witnessctl_print(stdout, name);
		printf(": %" JSON_INTEGER_FORMAT " (%.1f%%)\n",
		    json_integer_value(n),
		    100.0 * (double)json_integer_value(n) / (double)all);
	}
}

static void
print_text(const struct status *s)
{
	if (s->pid != 0)
		printf("running, pid %ld, %u backends with the spare ones\n",
		    (long)s->pid, s->backends);
	else
		printf("not running\n");
	if (s->replayd != 0)
		printf("replayd: pid %ld and %u processes of its own\n",
		    (long)s->replayd, s->replayds);
	else if (s->pid != 0)
		printf("replayd: NOT RUNNING\n");
	if (s->stalled)
		printf(
		    "SPOOL STALLED: it takes no records, writers wait or "
		    "are refused; spool_stalled in pgwitness.log says why\n");
	if (s->recorder_ended)
		printf("RECORDER ENDED in the last minute, and may again; "
		       "what is before recorder_ended in pgwitness.log says "
		       "why\n");
	if (s->unreachable)
		printf("SERVER UNREACHABLE for the witness role; "
		       "server_unreachable in pgwitness.log says why\n");
	printf("evidence: %" PRIu64 " lines\n", s->audit.tree.size);
	put_counts("outcome", s->audit.outcomes);
	put_counts("verdict", s->audit.verdicts);
	put_counts("reason", s->audit.reasons);
	put_counts("definition changed", s->audit.changes);
	printf("records without outcome: %" PRIu64 "\n", s->open_records);
	printf("backlog: %" PRIu64 " committed without verdict\n",
	    s->open_verdicts);
	printf("lag: %.1f s since the oldest that is open\n", s->lag);
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
	read_processes(&s, a->data_dir);
	s.stalled = alarm_is_on(a->data_dir, ALARM_SPOOL);
	s.recorder_ended = alarm_is_on(a->data_dir, ALARM_RECORDER);
	s.unreachable = alarm_is_on(a->data_dir, ALARM_SERVER);
	read_log(&s, dir);
	read_lag(&s, dir);
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
