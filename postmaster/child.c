/*
 * child.c: backend children: forked ahead, counted, reaped.
 *
 * Owns the table of children and the session slots' mapping.  A child has the
 * same index here, in the slots and in the lanes.  It waits for a client on
 * the listening sockets itself and tells us with four bytes on a pipe when it
 * has one, so that the next is forked.  Reads nothing that a child wrote, but
 * those four bytes, and bounds-checks them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "heritage.h"
#include "ioutil.h"
#include "killpoint.h"
#include "mem.h"
#include "procsig.h"
#include "shcache.h"

/* Lanes of children that are gone but not yet drained by replayd. */
#define LANES_IN_REST 16
#define SECOND_US INT64_C(1000000)
#define LANE_RETRY_US (SECOND_US / 10)
#define COMPLAIN_EVERY_US (5 * SECOND_US)

struct child {
	pid_t pid;      /* 0: no child */
	bool busy;      /* has accepted a client */
	int64_t forked; /* io_monotonic_us() */
};

struct child_set {
	struct shmq *queue;
	struct shcache *shared;
	struct session_slot *sessions;
	struct child *children;
	unsigned n_lanes;
	unsigned n_children;
	unsigned n_spare;
	int accepted[2]; /* children write to [1] */
	int life[2];     /* children keep [1] to their end */
	int pid_file_fd;
	int never_inherit[2];
	const struct tls_files *tls;
	const uint8_t *auth_secret;
	int64_t next_try;
	int64_t complained;
};

unsigned
child_lanes(const struct config *c)
{
	return (unsigned)(c->max_connections + c->spare_children) +
	       LANES_IN_REST;
}

struct child_set *
child_set_new(struct shmq *queue, int pid_file_fd)
{
	struct child_set *set = mem_zalloc(1, sizeof(*set));
	unsigned n = shmq_lanes(queue);

	set->children = mem_zalloc(n, sizeof(*set->children));
	set->sessions = mmap(NULL, n * sizeof(*set->sessions),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (set->sessions == MAP_FAILED)
		log_fatal("out_of_memory", "cannot map session slots: %m");
	if (pipe2(set->accepted, O_CLOEXEC) != 0 ||
	    pipe2(set->life, O_CLOEXEC) != 0 ||
	    !io_set_nonblock(set->accepted[0]))
		log_fatal("pipe_failed", "cannot make a pipe: %m");
	set->queue = queue;
	set->shared = shcache_new();
	set->n_lanes = n;
	set->pid_file_fd = pid_file_fd;
	set->never_inherit[0] = set->never_inherit[1] = -1;
	set->next_try = INT64_MAX;
	return set;
}

void
child_never_inherit(struct child_set *set, int one, int other)
{
	set->never_inherit[0] = one;
	set->never_inherit[1] = other;
}

void
child_inherit(struct child_set *set, const struct tls_files *tls,
    const uint8_t *auth_secret)
{
	set->tls = tls;
	set->auth_secret = auth_secret;
}

/* The new process: drops what is the postmaster's and becomes a backend. */
PGW_NORETURN
static void
child_run(struct child_set *set, const struct config *c,
    const struct listen_set *listen, unsigned lane, pid_t postmaster,
    const sigset_t *mask)
{
	struct heritage h = { .config = c,
		.tls = set->tls,
		.auth_secret = set->auth_secret,
		.queue = set->queue,
		.lane = lane,
		.shared = set->shared,
		.sessions = set->sessions,
		.n_sessions = set->n_lanes,
		.listen_fds = listen->fds,
		.n_listen_fds = listen->n,
		.accepted_fd = set->accepted[1],
		.pid_file_fd = set->pid_file_fd,
		.life_fd = set->life[1],
		.postmaster = postmaster };

	/* backend_main() catches what it wants; until then signals end it. */
	procsig_init();
	log_set_process("backend");
	log_to_stderr(false);
	close(set->accepted[0]);
	close(set->life[0]);
	for (int i = 0; i < 2; i++)
		if (set->never_inherit[i] >= 0)
			close(set->never_inherit[i]);
	procsig_follow_parent(postmaster, SIGTERM);
	procsig_restore(mask);
	backend_main(&h);
}

/* Says it at most every few seconds; puts the next try off. */
static void
child_put_off(struct child_set *set, int64_t delay, const char *what)
{
	int64_t now = io_monotonic_us();

	set->next_try = now + delay;
	if (set->complained != 0 && now - set->complained < COMPLAIN_EVERY_US)
		return;
	set->complained = now;
	log_error("no_child",
	    "cannot start a process for new clients: %s; "
	    "trying again",
	    what);
}

static bool
child_start(struct child_set *set, const struct config *c,
    const struct listen_set *listen, unsigned lane)
{
	struct session_slot *slot = &set->sessions[lane];
	pid_t postmaster = getpid();
	sigset_t mask;
	pid_t pid;

	atomic_store(&slot->server_pid, 0);
	atomic_store(&slot->cancel_key, 0);
	atomic_store(&slot->state, SESSION_SPARE);
	KILLPOINT("fork_child");
	procsig_block(&mask);
	pid = fork();
	if (pid == 0)
		child_run(set, c, listen, lane, postmaster, &mask);
	procsig_restore(&mask);
	if (pid < 0) {
		atomic_store(&slot->state, SESSION_FREE);
		return false;
	}
	set->children[lane] = (struct child){ .pid = pid,
		.forked = io_monotonic_us() };
	set->n_children++;
	set->n_spare++;
	return true;
}

void
child_fill(struct child_set *set, const struct config *c,
    const struct listen_set *listen)
{
	if (set->next_try != INT64_MAX && io_monotonic_us() < set->next_try)
		return;
	set->next_try = INT64_MAX;
	while (set->n_spare < (unsigned)c->spare_children) {
		unsigned lane = shmq_lane_take(set->queue);

		if (lane == SHMQ_NO_LANE) {
			/* One comes back when a client leaves. */
			set->next_try = io_monotonic_us() + LANE_RETRY_US;
			return;
		}
		if (!child_start(set, c, listen, lane)) {
			const char *why = strerror(errno);

			shmq_lane_retire(set->queue, lane);
			child_put_off(set, SECOND_US, why);
			return;
		}
	}
}

int64_t
child_next_try(const struct child_set *set)
{
	return set->next_try;
}

int
child_fd(const struct child_set *set)
{
	return set->accepted[0];
}

int
child_life_fd(const struct child_set *set)
{
	return set->life[0];
}

static void
child_is_busy(struct child_set *set, uint32_t lane)
{
	struct child *child;

	if (lane >= set->n_lanes)
		return;
	child = &set->children[lane];
	if (child->pid == 0 || child->busy)
		return;
	child->busy = true;
	set->n_spare--;
}

void
child_accepted(struct child_set *set)
{
	uint32_t lanes[64];
	ssize_t n;

	/* Writes of four bytes to a pipe are whole. */
	while ((n = read(set->accepted[0], lanes, sizeof(lanes))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(lanes[0]); i++)
			child_is_busy(set, lanes[i]);
}

/* What we send to children ends one that has not begun to catch it. */
static bool
child_was_told(int status)
{
	int signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	return signo == SIGINT || signo == SIGTERM || signo == SIGHUP ||
	       signo == SIGQUIT;
}

static void
child_log_end(struct child_set *set, const struct child *child, int status)
{
	int64_t lived = io_monotonic_us() - child->forked;
	char how[PROCSIG_ENDING_BYTES];

	if (child_was_told(status))
		return;
	if (WIFSIGNALED(status))
		log_error("child_crashed",
		    "backend %ld was ended by %s; the others go on",
		    (long)child->pid, procsig_ending(status, how));
	else if (WEXITSTATUS(status) != 0)
		log_error("child_failed", "backend %ld ended with %s",
		    (long)child->pid, procsig_ending(status, how));
	else
		return;
	/* What fails before its first client would fail again at once. */
	if (!child->busy && lived < SECOND_US)
		child_put_off(set, SECOND_US, "it ended before its client");
}

bool
child_reaped(struct child_set *set, pid_t pid, int status)
{
	unsigned lane = 0;

	/* It may have told us of its client and be gone already. */
	child_accepted(set);
	while (lane < set->n_lanes && set->children[lane].pid != pid)
		lane++;
	if (lane == set->n_lanes)
		return false;
	child_log_end(set, &set->children[lane], status);
	set->n_children--;
	if (!set->children[lane].busy)
		set->n_spare--;
	set->children[lane].pid = 0;
	atomic_store(&set->sessions[lane].state, SESSION_FREE);
	atomic_store(&set->sessions[lane].server_pid, 0);
	if (status != 0)
		shcache_writer_ended(set->shared, lane);
	KILLPOINT("child_reaped");
	shmq_lane_retire(set->queue, lane);
	return true;
}

void
child_signal(const struct child_set *set, enum child_kind kind, int signo)
{
	for (unsigned i = 0; i < set->n_lanes; i++) {
		const struct child *child = &set->children[i];

		if (child->pid != 0 &&
		    (kind == CHILD_ALL || child->busy == (kind == CHILD_BUSY)))
			kill(child->pid, signo);
	}
}

unsigned
child_count(const struct child_set *set)
{
	return set->n_children;
}
