/*
 * replayd.c: the process that makes records durable and finds verdicts.
 *
 * Started by the postmaster, never by hand.  Itself it only drains the lanes
 * (drain.c); the evidence log is written by the recorder, the verification
 * cluster is run by the verifier, both forked here.  What the recorder and the
 * verifier do or fail to do never delays the drain.
 *
 *	replayd --- recorder  (wake pipe; a socket to each worker)
 *	        \-- verifier --- worker ...
 *	                     \-- verification PostgreSQL
 *
 * Signals: SIGTERM: all children of the postmaster are gone; drain, let the
 * recorder finish, stop the verifier, exit 0.  SIGHUP: reload the log level,
 * reopen the log, pass it on.  End of file on --life-fd: the postmaster died;
 * the same once --children-fd has it, too: all its children have ended, and
 * nobody can hand over anything.  With --keep it is the keeper, which becomes
 * replayd only if the postmaster and its replayd both die.
 * Exit: 0 done, 1 the recorder died at the end, 2 usage, 3 the world is broken
 * (disk).  All processes below end with this one.
 *
 * The verifier may die (it ends if a worker or the cluster does), and so may
 * the recorder (a full disk): then both are ended, for the recorder holds the
 * sockets to the workers, and started again, throttled, while the drain goes
 * on.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alarm.h"
#include "config.h"
#include "drain.h"
#include "ioutil.h"
#include "log.h"
#include "procsig.h"
#include "recorder.h"
#include "shmq.h"
#include "verifier.h"

#define TICK_MS 100
#define STUCK_US 10000000  /* at the end, for a disk to come back */
#define ORPHANS_US 1000000 /* children outlive their postmaster less */
#define KEEPER_TICK_MS 20
#define RESTART_MIN_US 1000000
#define RESTART_MAX_US 60000000
#define MAX_WORKERS 64 /* [replay] workers' upper bound */

struct options {
	const char *data_dir;
	const char *file;
	int queue_fd;
	int life_fd;
	int children_fd;
	bool keep;
};

/* The two processes that follow the drain. */
struct helpers {
	pid_t recorder; /* 0: does not run */
	pid_t verifier;
	int wake_fd;        /* -1: the recorder was told to end */
	int alarm_fd;       /* ALARM_RECORDER */
	bool said;          /* that the recorder ends early */
	unsigned n_workers; /* 0: no verifier */
	int64_t started_us;
	int64_t delay_us; /* before the next start */
};

struct replayd {
	struct options options;
	struct config *config;
	struct recorder_shared *shared;
	struct drain *drain;
	struct helpers helpers;
	int64_t orphaned_us; /* 0: the postmaster lives */
	int64_t next_look_us;
	bool said;           /* that its children do not end */
	char boot_id[40];
};

/* --- helpers --- */

enum { RECORDER_END, WORKER_END };

struct sockets {
	int recorder[MAX_WORKERS];
	int worker[MAX_WORKERS];
};

static void
make_sockets(struct sockets *s, unsigned n)
{
	int pair[2];
	unsigned i;

	for (i = 0; i < n; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			log_fatal("socketpair", "cannot make a socket pair: %s",
			    strerror(errno));
		s->recorder[i] = pair[RECORDER_END];
		s->worker[i] = pair[WORKER_END];
	}
}

static void
close_all(const int *fds, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		close(fds[i]);
}

/*
 * Waits until the helper of this name of a replayd that was killed is gone,
 * with the processes that it forked: two of them must not write one log, or
 * use one cluster.
 */
static void
wait_for_predecessor(const struct config *c, const char *name)
{
	char path[PATH_MAX];
	int fd;

	io_path(path, sizeof(path), "%s/%s.lock", c->data_dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1)
		log_fatal(
		    "helper_lock", "cannot open %s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX) == -1) {
		if (errno != EINTR)
			log_fatal("helper_lock", "cannot lock %s: %s", path,
			    strerror(errno));
		if (procsig_pending(SIGTERM))
			exit(0);
	}
}

/*
 * Forks a child that has let go of what belongs to the drain and gets signo
 * when this process dies.  0 in the child.
 */
static pid_t
fork_helper(struct replayd *r, const char *name, int signo)
{
	pid_t parent = getpid(), pid;
	sigset_t saved;

	procsig_block(&saved);
	pid = fork();
	if (pid == -1)
		log_fatal("helper_fork", "cannot fork the %s: %s", name,
		    strerror(errno));
	if (pid != 0) {
		procsig_restore(&saved);
		return pid;
	}
	procsig_init();
	procsig_catch(SIGTERM);
	procsig_catch(SIGHUP);
	procsig_restore(&saved);
	log_set_process(name);
	procsig_follow_parent(parent, signo);
	drain_close(r->drain);
	close(r->options.queue_fd);
	close(r->options.life_fd);
	close(r->options.children_fd);
	if (r->helpers.alarm_fd >= 0)
		close(r->helpers.alarm_fd);
	wait_for_predecessor(r->config, name);
	return 0;
}

static void
start_recorder(struct replayd *r, const struct sockets *s)
{
	struct helpers *h = &r->helpers;
	int wake[2];

	if (pipe2(wake, O_CLOEXEC) == -1 || !io_set_nonblock(wake[1]))
		log_fatal(
		    "wake_pipe", "cannot make a pipe: %s", strerror(errno));
	h->recorder = fork_helper(r, "recorder", SIGKILL);
	if (h->recorder == 0) {
		close(wake[1]);
		close_all(s->worker, h->n_workers);
		recorder_main(
		    r->config, r->shared, wake[0], s->recorder, h->n_workers);
	}
	close(wake[0]);
	h->wake_fd = wake[1];
	drain_set_wake(r->drain, h->wake_fd);
}

static void
start_verifier(struct replayd *r, const struct sockets *s)
{
	struct helpers *h = &r->helpers;

	if (h->n_workers == 0)
		return;
	h->verifier = fork_helper(r, "verifier", SIGTERM);
	if (h->verifier == 0) {
		close(h->wake_fd);
		close_all(s->recorder, h->n_workers);
		verifier_main(r->config, s->worker, h->n_workers);
	}
}

static void
start_helpers(struct replayd *r)
{
	struct helpers *h = &r->helpers;
	struct sockets s;

	make_sockets(&s, h->n_workers);
	start_recorder(r, &s);
	start_verifier(r, &s);
	close_all(s.recorder, h->n_workers);
	close_all(s.worker, h->n_workers);
	h->started_us = io_monotonic_us();
}

/* The recorder records what is in the spool, signs, and ends. */
static void
finish_recorder(struct replayd *r)
{
	struct helpers *h = &r->helpers;

	drain_set_wake(r->drain, -1);
	if (h->wake_fd != -1)
		close(h->wake_fd);
	h->wake_fd = -1;
}

/*
 * What lived long starts again soon; else twice as late each time, but soon if
 * a signal ended it, for then it may not be its own fault.
 */
static void
delay_restart(struct helpers *h, int status)
{
	int64_t lived = io_monotonic_us() - h->started_us;

	if (lived > RESTART_MAX_US || h->delay_us == 0 || WIFSIGNALED(status))
		h->delay_us = RESTART_MIN_US;
	else if (h->delay_us < RESTART_MAX_US / 2)
		h->delay_us *= 2;
}

/* The verifier, whose sockets lead nowhere now, is ended with it. */
static void
recorder_ended(struct replayd *r, int status)
{
	struct helpers *h = &r->helpers;
	char how[PROCSIG_ENDING_BYTES];

	h->recorder = 0;
	if (h->wake_fd == -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	delay_restart(h, status);
	alarm_set(h->alarm_fd, true);
	if (!h->said)
		log_error("recorder_ended",
		    "the recorder ended (%s); records are kept in the spool, "
		    "it starts again in %lld s, and later if it ends again",
		    procsig_ending(status, how),
		    (long long)(h->delay_us / 1000000));
	h->said = true;
	h->started_us = io_monotonic_us();
	finish_recorder(r);
	if (h->verifier != 0)
		kill(h->verifier, SIGTERM);
}

static void
verifier_ended(struct replayd *r, int status)
{
	struct helpers *h = &r->helpers;
	char how[PROCSIG_ENDING_BYTES];

	h->verifier = 0;
	if (h->recorder == 0)
		return; /* it was ended with the recorder */
	delay_restart(h, status);
	log_error("verifier_ended",
	    "the verifier ended (%s); records are kept, it starts again in "
	    "%lld s",
	    procsig_ending(status, how), (long long)(h->delay_us / 1000000));
	h->started_us = io_monotonic_us();
	finish_recorder(r);
}

static void
watch_helpers(struct replayd *r)
{
	struct helpers *h = &r->helpers;
	int status;

	if (h->verifier != 0 &&
	    waitpid(h->verifier, &status, WNOHANG) == h->verifier)
		verifier_ended(r, status);
	if (h->recorder != 0 &&
	    waitpid(h->recorder, &status, WNOHANG) == h->recorder)
		recorder_ended(r, status);
	if (h->said && h->recorder != 0 &&
	    io_monotonic_us() - h->started_us > RESTART_MAX_US) {
		h->said = false;
		alarm_set(h->alarm_fd, false);
		log_info("recorder_resumed", "the recorder runs again");
	}
	if (h->recorder == 0 && h->verifier == 0 &&
	    io_monotonic_us() - h->started_us >= h->delay_us)
		start_helpers(r);
}

static int
wait_for_end(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR)
			return 0;
	return status;
}

/* False: the recorder did not finish; the next one goes on. */
static bool
stop_helpers(struct replayd *r)
{
	struct helpers *h = &r->helpers;

	int status = 0;

	finish_recorder(r);
	if (h->recorder != 0)
		status = wait_for_end(h->recorder);
	if (h->verifier != 0) {
		kill(h->verifier, SIGTERM);
		(void)wait_for_end(h->verifier);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* --- the process --- */

static void
reload(struct replayd *r)
{
	char error[1024];
	struct config *c;

	log_reopen();
	c = config_load(
	    r->options.data_dir, r->options.file, error, sizeof(error));
	if (c == NULL) {
		log_error("config_reload", "%s; nothing was changed", error);
		return;
	}
	log_set_level((enum log_level)c->log_level);
	config_free(c);
	if (r->helpers.recorder != 0)
		kill(r->helpers.recorder, SIGHUP);
	if (r->helpers.verifier != 0)
		kill(r->helpers.verifier, SIGHUP);
}

static bool
postmaster_lives(const struct replayd *r)
{
	struct pollfd p = { .fd = r->options.life_fd, .events = POLLIN };
	char c;

	return poll(&p, 1, 0) <= 0 ||
	       (read(r->options.life_fd, &c, 1) == -1 && errno != EBADF);
}

/* With the postmaster, which holds the same end as its children. */
static bool
children_are_gone(const struct options *o)
{
	struct pollfd p = { .fd = o->children_fd };

	return poll(&p, 1, 0) > 0;
}

static void
say_postmaster_gone(struct replayd *r)
{
	log_warning("postmaster_gone",
	    "the postmaster is "
	    "gone; finishing what is in the lanes");
	r->orphaned_us = io_monotonic_us();
	atomic_store(&r->shared->hurry, true);
}

/*
 * Without a postmaster, true when its children are gone, too, and the spool
 * takes what is in the lanes.  However late a child gets to run, it may hand
 * over a record and commit, so there is no bound of time but the children's:
 * they get SIGTERM at the postmaster's death (PR_SET_PDEATHSIG) and end, one
 * whose commit is under way with the server's answer to it, or with its
 * connection.  Nobody waits for us who would not wait for them: as long as one
 * lives the pid file is locked.
 */
static bool
is_over(struct replayd *r)
{
	if (r->orphaned_us == 0 && !postmaster_lives(r))
		say_postmaster_gone(r);
	if (r->orphaned_us == 0)
		return false;
	if (children_are_gone(&r->options))
		return !drain_is_stuck(r->drain);
	if (!r->said && io_monotonic_us() - r->orphaned_us > ORPHANS_US) {
		log_warning("children_left",
		    "the postmaster is gone, but not all its backends; "
		    "waiting until they have ended");
		r->said = true;
	}
	return false;
}

/* What need not be looked at for each group. */
static bool
look_around(struct replayd *r)
{
	int64_t now = io_monotonic_us();

	if (r->orphaned_us == 0 && now < r->next_look_us)
		return false;
	r->next_look_us = now + TICK_MS * 1000;
	procsig_drain();
	watch_helpers(r);
	return is_over(r);
}

static void
run(struct replayd *r)
{
	for (;;) {
		(void)drain_step(r->drain, TICK_MS);
		if (procsig_take(SIGHUP))
			reload(r);
		if (procsig_pending(SIGTERM) || look_around(r))
			return;
	}
}

/* Nobody is left who waits, but for async what is in the lanes counts. */
static bool
empty_lanes(struct replayd *r)
{
	int64_t since = io_monotonic_us();

	while (drain_step(r->drain, drain_is_stuck(r->drain) ? TICK_MS : 0)) {
		if (!drain_is_stuck(r->drain))
			since = io_monotonic_us();
		else if (io_monotonic_us() - since > STUCK_US)
			return false;
	}
	drain_stop(r->drain);
	return true;
}

static int
finish(struct replayd *r)
{
	struct drain_counts c;
	bool emptied = empty_lanes(r), done = stop_helpers(r);

	if (!emptied)
		log_error("records_lost",
		    "the spool took nothing for %d s; "
		    "what was in the lanes and not acknowledged is lost",
		    STUCK_US / 1000000);
	if (!done)
		log_error("recorder_ended", "the recorder could not finish; "
					    "records are kept in the spool");
	c = drain_counts(r->drain);
	log_info("replayd_stopped",
	    "replayd ends: %llu messages, %llu records, %llu syncs",
	    (unsigned long long)c.messages, (unsigned long long)c.records,
	    (unsigned long long)c.syncs);
	drain_close(r->drain);
	config_free(r->config);
	return emptied ? (done ? 0 : 1) : 3;
}

static void
open_log(const struct config *c)
{
	char path[PATH_MAX];

	config_log_path(c, "pgwitness.log", path, sizeof(path));
	if (!log_open(path))
		log_fatal(
		    "log_open", "cannot open %s: %s", path, strerror(errno));
	log_set_level((enum log_level)c->log_level);
}

/* "" if it cannot be read. */
static const char *
boot_id(char *out, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? -1 : read(fd, out, size - 1);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (fd != -1)
		close(fd);
	return out;
}

static void
begin_run(struct replayd *r)
{
	const struct config *c = r->config;
	struct drain_policy p = {
		.spool_max_bytes = (uint64_t)c->spool_max_bytes,
		.refuse = c->on_spool_full == SPOOL_FULL_REJECT,
		.async = c->commit == COMMIT_ASYNC,
		.boot_id = boot_id(r->boot_id, sizeof(r->boot_id))
	};

	drain_begin(r->drain, &p);
}

static void
start(struct replayd *r)
{
	const struct config *c;
	char error[1024];

	r->config = config_load(
	    r->options.data_dir, r->options.file, error, sizeof(error));
	if ((c = r->config) == NULL)
		log_usage("%s", error);
	open_log(c);
	r->shared = shmq_anonymous(sizeof(*r->shared));
	if (r->shared == NULL)
		log_fatal(
		    "out_of_memory", "no shared memory: %s", strerror(errno));
	r->drain = drain_open(c->data_dir, r->options.queue_fd, r->shared);
	begin_run(r);
	r->helpers.wake_fd = -1;
	r->helpers.alarm_fd = alarm_open(r->config->data_dir, ALARM_RECORDER);
	if (c->enable_verification && c->backend_user[0] != '\0')
		r->helpers.n_workers = c->replay_workers < MAX_WORKERS
					   ? (unsigned)c->replay_workers
					   : MAX_WORKERS;
	start_helpers(r);
	log_info("replayd_started", "replayd runs with %u replay workers",
	    r->helpers.n_workers);
}

/* --- command line --- */

static void
help(FILE *out)
{
	fputs("replayd is started by pgwitness, never by hand.\n"
	      "\n"
	      "  replayd --queue-fd N --life-fd N --children-fd N -D DIR "
	      "[-c FILE] [--keep]\n"
	      "\n"
	      "It makes records durable, writes the evidence log and finds\n"
	      "verdicts.  Start pgwitness instead: pgwitness -D DIR\n",
	    out);
}

static int
descriptor(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n < 0 || n > INT_MAX ||
	    fcntl((int)n, F_GETFD) == -1)
		log_usage("\"%s\" is not an open descriptor; replayd is "
			  "started by pgwitness",
		    text);
	return (int)n;
}

static struct options
parse_options(int argc, char **argv)
{
	static const struct option names[] = { { "queue-fd", required_argument,
						   NULL, 'q' },
		{ "life-fd", required_argument, NULL, 'l' },
		{ "children-fd", required_argument, NULL, 'b' },
		{ "keep", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	struct options o = { .queue_fd = -1, .life_fd = -1, .children_fd = -1 };
	int c;

	while ((c = getopt_long(argc, argv, "D:c:h", names, NULL)) != -1) {
		if (c == 'h') {
			help(stdout);
			exit(0);
		}
		if (c == 'q')
			o.queue_fd = descriptor(optarg);
		else if (c == 'l')
			o.life_fd = descriptor(optarg);
		else if (c == 'b')
			o.children_fd = descriptor(optarg);
		else if (c == 'k')
			o.keep = true;
		else if (c == 'D')
			o.data_dir = optarg;
		else if (c == 'c')
			o.file = optarg;
		else
			exit(2);
	}
	if (optind != argc || o.queue_fd == -1 || o.life_fd == -1 ||
	    o.children_fd == -1 || o.data_dir == NULL) {
		help(stderr);
		exit(2);
	}
	return o;
}

static void
guard_process(const struct options *o)
{
	/* Terminal signals are the postmaster's business. */
	(void)setpgid(0, 0);
	if (getenv("PGWITNESS_DEBUGGER") == NULL)
		(void)prctl(PR_SET_DUMPABLE, 0);
	if (!io_set_cloexec(o->queue_fd, true) ||
	    !io_set_cloexec(o->life_fd, true) ||
	    !io_set_cloexec(o->children_fd, true))
		log_fatal("descriptor", "cannot set close-on-exec: %s",
		    strerror(errno));
}

/* One at a time: who gets it finds nobody else at the lanes. */
static void
lock_lanes(const struct options *o)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	int fd;

	io_path(path, sizeof(path), "%s/replayd.lock", o->data_dir);
	/* Of the process: not inherited over fork, gone with it. */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1)
		log_fatal("replayd_lock", "cannot open %s: %s", path,
		    strerror(errno));
	while (fcntl(fd, F_SETLKW, &lock) == -1)
		if (errno != EINTR)
			log_fatal("replayd_lock", "cannot lock %s: %s", path,
			    strerror(errno));
}

/* Ends the process if it never will be. */
static bool
is_needed(const struct options *o, struct shmq *q, int64_t gone_us)
{
	/* In this order: they may hand over and end in between. */
	bool last_look = children_are_gone(o);

	if (!shmq_is_empty(q))
		return true;
	if (last_look)
		_exit(0);
	return io_monotonic_us() - gone_us > ORPHANS_US;
}

/*
 * The keeper waits for the postmaster's death and for the end of the replayd
 * that it left.  If that was killed, too, and something is in the lanes, which
 * nobody else can reach any more, or may still come (children that do not end
 * soon), it goes on as replayd.
 */
static void
keep(const struct options *o)
{
	struct pollfd life = { .fd = o->life_fd, .events = POLLIN };
	struct shmq *q;
	int64_t gone;

	(void)prctl(PR_SET_NAME, "keeper");
	log_set_process("keeper");
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	while (poll(&life, 1, -1) <= 0)
		;
	gone = io_monotonic_us();
	lock_lanes(o);
	q = shmq_attach(o->queue_fd);
	if (q == NULL)
		_exit(1);
	while (!is_needed(o, q, gone))
		(void)poll(NULL, 0, KEEPER_TICK_MS);
	shmq_detach(q);
	(void)prctl(PR_SET_NAME, "replayd");
	log_set_process("replayd");
}

int
main(int argc, char **argv)
{
	struct replayd r = { .options = parse_options(argc, argv) };

	log_set_process("replayd");
	guard_process(&r.options);
	if (r.options.keep)
		keep(&r.options);
	else
		lock_lanes(&r.options);
	procsig_init();
	procsig_catch(SIGTERM);
	procsig_catch(SIGHUP);
	procsig_catch(SIGCHLD);
	start(&r);
	run(&r);
	return finish(&r);
}
