/*
 * postmaster.c: listens, forks backends ahead, keeps one replayd running.
 *
 * Owns the configuration, the pid file and the shared memory segment's life.
 * While it runs it looks at nothing that other processes write there, takes
 * no lock and reads no client bytes, so nothing they do can bring it down.
 * One enum says where it is; postmaster_advance() alone changes it for any
 * reason other than a signal.
 *
 *	RUN --SIGTERM--> SMART --SIGINT--> FAST     (SIGINT: RUN -> FAST)
 *	SMART, FAST --no child left--> DRAIN --replayd gone--> DONE
 *	any --SIGQUIT--> IMMEDIATE --all gone--> DONE
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/wait.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advice.h"
#include "child.h"
#include "datadir.h"
#include "heritage.h"
#include "ioutil.h"
#include "listen.h"
#include "merkle.h"
#include "notify.h"
#include "postmaster.h"
#include "procsig.h"
#include "sandbox.h"
#include "shmq.h"
#include "supervise.h"

#define MIN_LANE_BYTES ((size_t)128 * 1024)
#define KILL_AFTER_US INT64_C(5000000)
#define EXIT_CODE_NOT_DRAINED 1

enum postmaster_state {
	STATE_RUN,
	STATE_SMART,     /* no new clients; waiting for them to leave */
	STATE_FAST,      /* children were told to leave */
	STATE_DRAIN,     /* no child left; replayd empties the lanes */
	STATE_IMMEDIATE, /* all were told to exit at once */
	STATE_DONE
};

struct postmaster {
	enum postmaster_state state;
	struct config *config;
	struct tls_files *tls;
	uint8_t auth_secret[DATADIR_SECRET_BYTES];
	int port; /* of the command line, 0: the file's */
	int pid_file_fd;
	struct shmq *queue;
	struct listen_set listen;
	struct child_set *children;
	struct supervise replayd;
	struct supervise keeper;
	int64_t kill_at; /* IMMEDIATE: io_monotonic_us() of SIGKILL */
	int exit_code;
};

/* --- starting --- */

/* The largest power of two with which all lanes fit into queue_bytes. */
static size_t
lane_bytes(const struct config *c)
{
	size_t share = (size_t)c->queue_bytes / child_lanes(c);
	size_t bytes = MIN_LANE_BYTES;

	while (bytes * 2 <= share)
		bytes *= 2;
	return bytes;
}

static void
postmaster_open_log(const struct config *c)
{
	char path[PATH_MAX];

	config_log_path(c, "pgwitness.log", path, sizeof(path));
	if (!log_open(path))
		log_usage("cannot open the log \"%s\": %m", path);
	log_set_level((enum log_level)c->log_level);
	log_to_stderr(true);
}

static void
postmaster_open(struct postmaster *pm)
{
	const struct config *c = pm->config;

	datadir_check(c->data_dir);
	pm->pid_file_fd = datadir_lock(c->data_dir, c->port);
	postmaster_open_log(c);
	listen_open(c, &pm->listen);
	pm->queue = shmq_create(child_lanes(c), lane_bytes(c));
	if (pm->queue == NULL)
		log_fatal("no_shared_memory",
		    "cannot make %u lanes of %zu bytes of shared memory: %m; "
		    "make /dev/shm larger or queue_bytes smaller",
		    child_lanes(c), lane_bytes(c));
	pm->children = child_set_new(pm->queue, pm->pid_file_fd);
	datadir_secret(c->data_dir, pm->auth_secret);
	child_inherit(pm->children, pm->tls, pm->auth_secret);
	backend_prepare(c);
	supervise_init(&pm->replayd, "replayd", shmq_fd(pm->queue),
	    pm->pid_file_fd, child_life_fd(pm->children));
	supervise_init(&pm->keeper, "keeper", shmq_fd(pm->queue),
	    pm->pid_file_fd, child_life_fd(pm->children));
	pm->keeper.option = "--keep";
}

static void
postmaster_catch_signals(void)
{
	static const int caught[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT,
		SIGCHLD };

	procsig_init();
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		procsig_catch(caught[i]);
}

/* --- signals --- */

/* The new configuration keeps what can only change with a restart. */
static bool
keep_text(char **old, char **new)
{
	bool changed = strcmp(*old, *new) != 0;
	char *text = *old;

	*old = *new;
	*new = text;
	return changed;
}

static bool
keep_int(int old, int *new)
{
	bool changed = old != *new;

	*new = old;
	return changed;
}

static void
keep_until_restart(struct config *old, struct config *new)
{
	bool changed = false;

	changed |= keep_text(&old->listen_addresses, &new->listen_addresses);
	changed |= keep_text(
	    &old->unix_socket_directory, &new->unix_socket_directory);
	changed |= keep_text(&old->log_directory, &new->log_directory);
	changed |= keep_int(old->port, &new->port);
	changed |= keep_int(old->max_connections, &new->max_connections);
	changed |= keep_int(old->spare_children, &new->spare_children);
	changed |= old->queue_bytes != new->queue_bytes;
	new->queue_bytes = old->queue_bytes;
	changed |= old->enable_capture != new->enable_capture;
	new->enable_capture = old->enable_capture;
	if (changed)
		log_warning("restart_needed",
		    "listen_addresses, port, unix_socket_directory, "
		    "max_connections, spare_children, queue_bytes, "
		    "enable_capture and log.directory change only with a "
		    "restart");
}

/* Configuration and certificates: both are new, or both stay. */
static struct config *
postmaster_read_again(struct postmaster *pm)
{
	char error[1024];
	struct config *new = config_load(
	    pm->config->data_dir, pm->config->file, error, sizeof(error));
	struct tls_files *tls = new == NULL
				    ? NULL
				    : tls_files_load(new, error, sizeof(error));

	if (tls == NULL) {
		log_error("reload_failed",
		    "%s; the old configuration stays in force", error);
		config_free(new);
		return NULL;
	}
	child_inherit(pm->children, tls, pm->auth_secret);
	backend_prepare(new);
	tls_files_free(pm->tls);
	pm->tls = tls;
	return new;
}

static void
postmaster_reload(struct postmaster *pm)
{
	struct config *new;

	log_reopen();
	new = postmaster_read_again(pm);
	if (new == NULL)
		return;
	notify_send("RELOADING=1");
	if (pm->port != 0)
		new->port = pm->port;
	keep_until_restart(pm->config, new);
	config_free(pm->config);
	pm->config = new;
	log_set_level((enum log_level) new->log_level);
	supervise_signal(&pm->replayd, SIGHUP);
	/* Spare ones hold the old configuration: others take their place. */
	child_signal(pm->children, CHILD_SPARE, SIGINT);
	child_signal(pm->children, CHILD_BUSY, SIGHUP);
	log_info("reloaded", "configuration read again from \"%s\"", new->file);
	advice_give(new, pm->tls);
	notify_send("READY=1");
}

static void
postmaster_stop(struct postmaster *pm, enum postmaster_state state,
    const char *how, int signo)
{
	if (pm->state >= state)
		return;
	log_info("shutdown", "%s shutdown", how);
	if (pm->state == STATE_RUN) {
		notify_send("STOPPING=1");
		listen_close(&pm->listen);
	}
	pm->state = state;
	child_signal(pm->children, CHILD_ALL, signo);
}

static void
postmaster_immediate(struct postmaster *pm)
{
	if (pm->state >= STATE_IMMEDIATE)
		return;
	postmaster_stop(pm, STATE_IMMEDIATE, "immediate", SIGQUIT);
	supervise_signal(&pm->replayd, SIGQUIT);
	pm->kill_at = io_monotonic_us() + KILL_AFTER_US;
	pm->exit_code = EXIT_CODE_NOT_DRAINED;
}

static void
postmaster_reap(struct postmaster *pm)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (!child_reaped(pm->children, pid, status) &&
		    !supervise_reaped(&pm->replayd, pid, status))
			(void)supervise_reaped(&pm->keeper, pid, status);
}

static void
postmaster_signals(struct postmaster *pm)
{
	procsig_drain();
	if (procsig_take(SIGHUP) && pm->state == STATE_RUN)
		postmaster_reload(pm);
	if (procsig_take(SIGTERM))
		postmaster_stop(pm, STATE_SMART, "smart", SIGINT);
	if (procsig_take(SIGINT))
		postmaster_stop(pm, STATE_FAST, "fast", SIGTERM);
	if (procsig_take(SIGQUIT))
		postmaster_immediate(pm);
	if (procsig_take(SIGCHLD))
		postmaster_reap(pm);
}

/* --- running --- */

static void
postmaster_kill_late(struct postmaster *pm)
{
	if (io_monotonic_us() < pm->kill_at)
		return;
	log_warning("killed", "processes that did not exit are killed");
	child_signal(pm->children, CHILD_ALL, SIGKILL);
	supervise_signal(&pm->replayd, SIGKILL);
	pm->kill_at = INT64_MAX;
}

/* Does what the state asks for, and leaves it when it is done. */
static void
postmaster_advance(struct postmaster *pm)
{
	switch (pm->state) {
	case STATE_RUN:
		supervise_run(&pm->replayd, pm->config);
		supervise_run(&pm->keeper, pm->config);
		/* Their write ends in a child would outlive us. */
		child_never_inherit(
		    pm->children, pm->replayd.life_fd, pm->keeper.life_fd);
		child_fill(pm->children, pm->config, &pm->listen);
		break;
	case STATE_SMART:
	case STATE_FAST:
		/* Children may wait for replayd's acknowledgement. */
		if (child_count(pm->children) > 0) {
			supervise_run(&pm->replayd, pm->config);
			break;
		}
		pm->state = STATE_DRAIN;
		supervise_signal(&pm->replayd, SIGTERM);
		if (pm->replayd.pid == 0)
			pm->state = STATE_DONE;
		break;
	case STATE_DRAIN:
		if (pm->replayd.pid == 0)
			pm->state = STATE_DONE;
		break;
	case STATE_IMMEDIATE:
		postmaster_kill_late(pm);
		if (child_count(pm->children) == 0 && pm->replayd.pid == 0)
			pm->state = STATE_DONE;
		break;
	case STATE_DONE:
		break;
	}
}

/* Milliseconds until something is due, -1: nothing is. */
static int
postmaster_timeout(const struct postmaster *pm)
{
	int64_t due = INT64_MAX;
	int64_t left;

	if (pm->state <= STATE_FAST)
		due = pm->replayd.next_start;
	if (pm->state == STATE_RUN && pm->keeper.next_start < due)
		due = pm->keeper.next_start;
	if (pm->state == STATE_RUN && child_next_try(pm->children) < due)
		due = child_next_try(pm->children);
	if (pm->state == STATE_IMMEDIATE)
		due = pm->kill_at;
	if (due == INT64_MAX)
		return -1;
	left = due - io_monotonic_us();
	return left < 0 ? 0 : (int)(left / 1000) + 1;
}

static void
postmaster_wait(struct postmaster *pm)
{
	struct pollfd fds[2] = { { .fd = procsig_fd(), .events = POLLIN },
		{ .fd = child_fd(pm->children), .events = POLLIN } };

	if (poll(fds, 2, postmaster_timeout(pm)) < 0 && errno != EINTR)
		log_fatal("poll_failed", "cannot wait: %m");
	child_accepted(pm->children);
	postmaster_signals(pm);
}

int
postmaster_run(struct config *config, struct tls_files *tls, int port)
{
	struct postmaster pm = {
		.state = STATE_RUN, .config = config, .tls = tls, .port = port
	};
	struct merkle_hash ignored;

	log_set_process("postmaster");
	postmaster_catch_signals();
	if (port != 0)
		config->port = port;
	/* OpenSSL sets itself up for its first digest: once, for all children. */
	merkle_sha256(NULL, 0, &ignored);
	postmaster_open(&pm);
	postmaster_advance(&pm);
	log_info("started", "listening on port %d", config->port);
	advice_give(config, tls);
	if (!sandbox_is_available())
		log_warning("no_landlock",
		    "the kernel has no Landlock: a session's process could "
		    "open the evidence key");
	notify_send("READY=1");
	while (pm.state != STATE_DONE) {
		postmaster_wait(&pm);
		postmaster_advance(&pm);
	}
	supervise_end(&pm.keeper);
	log_info("stopped", "all processes have ended");
	shmq_detach(pm.queue);
	tls_files_free(pm.tls);
	config_free(pm.config);
	return pm.exit_code;
}
