/*
 * verifier.c: the process that runs the verification cluster and the workers.
 *
 * Apart from replayd because making a cluster takes seconds, and the path that
 * writers wait for must not.  Its parent keeps nothing of it but the pid.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "verifier.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"
#include "procsig.h"
#include "worker.h"

#define RETRY_MS 1000
#define RETRY_MAX_MS 60000
#define STOP_MS 5000

struct verifier {
	const struct config *config;
	pid_t cluster;  /* its postmaster, 0 if external */
	pid_t *workers; /* 0: ended */
	unsigned n;
};

/* True if SIGTERM came within ms. */
static bool
wait_for_stop(int ms)
{
	struct pollfd p = { .fd = procsig_fd(), .events = POLLIN };

	(void)poll(&p, 1, ms);
	procsig_drain();
	if (procsig_take(SIGHUP))
		log_reopen();
	return procsig_pending(SIGTERM);
}

/* The same for all of ms, whatever else comes. */
static bool
pause_unless_stopped(int ms)
{
	int64_t end = io_monotonic_us() + (int64_t)ms * 1000, left;

	while ((left = end - io_monotonic_us()) > 0)
		if (wait_for_stop((int)(left / 1000) + 1))
			return true;
	return false;
}

static bool
start_cluster(struct verifier *v)
{
	int ms = RETRY_MS;
	char error[1024];

	while (!procsig_pending(SIGTERM)) {
		if (cluster_start(v->config, &v->cluster, error, sizeof(error)))
			return true;
		log_error("verification_cluster",
		    "the verification cluster does not run: %s; records are "
		    "kept, verdicts wait; next attempt in %d s",
		    error, ms / 1000);
		if (pause_unless_stopped(ms))
			return false;
		ms = ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : ms * 2;
	}
	return false;
}

static void
close_others(const int *job_fds, unsigned n, unsigned mine)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (i != mine)
			close(job_fds[i]);
}

static bool
start_worker(struct verifier *v, const int *job_fds, unsigned i)
{
	pid_t parent = getpid(), pid;
	sigset_t saved;

	procsig_block(&saved);
	pid = fork();
	if (pid == 0) {
		procsig_init();
		procsig_restore(&saved);
		log_set_process("worker");
		procsig_follow_parent(parent, SIGTERM);
		close_others(job_fds, v->n, i);
		worker_main(v->config, i, job_fds[i]);
	}
	procsig_restore(&saved);
	if (pid == -1)
		log_error(
		    "worker_fork", "cannot fork a worker: %s", strerror(errno));
	v->workers[i] = pid == -1 ? 0 : pid;
	return pid != -1;
}

static bool
start_workers(struct verifier *v, const int *job_fds)
{
	unsigned i;

	for (i = 0; i < v->n; i++)
		if (!start_worker(v, job_fds, i))
			return false;
	close_others(job_fds, v->n, v->n);
	log_info("verification_started", "%u replay workers run", v->n);
	return true;
}

/* Reaps what has ended; false if something has that should not. */
static bool
all_run(struct verifier *v)
{
	char how[PROCSIG_ENDING_BYTES];
	int status;
	unsigned i;

	for (i = 0; i < v->n; i++) {
		if (waitpid(v->workers[i], &status, WNOHANG) == 0)
			continue;
		/* 0: the recorder closed its socket, as at a shutdown. */
		log_write(status == 0 ? LOG_INFO_ : LOG_ERROR_, "worker_ended",
		    "replay worker %u ended (%s)", i,
		    procsig_ending(status, how));
		v->workers[i] = 0;
		return false;
	}
	if (v->cluster == 0 || waitpid(v->cluster, &status, WNOHANG) == 0)
		return true;
	log_error("verification_cluster_ended",
	    "the verification cluster ended unexpectedly (%s)",
	    procsig_ending(status, how));
	v->cluster = 0;
	return false;
}

static void
signal_workers(const struct verifier *v, int signo)
{
	unsigned i;

	for (i = 0; i < v->n; i++)
		if (v->workers[i] != 0)
			kill(v->workers[i], signo);
}

/* Reaps workers; true when none is left.  options: 0 or WNOHANG. */
static bool
reap_workers(struct verifier *v, int options)
{
	unsigned i, left = 0;
	pid_t pid;

	for (i = 0; i < v->n; i++) {
		if (v->workers[i] == 0)
			continue;
		do
			pid = waitpid(v->workers[i], NULL, options);
		while (pid == -1 && errno == EINTR);
		if (pid == 0)
			left++;
		else
			v->workers[i] = 0;
	}
	return left == 0;
}

/* A worker may be in the middle of a job: it gets STOP_MS, then SIGKILL. */
static void
stop_all(struct verifier *v)
{
	int64_t end = io_monotonic_us() + STOP_MS * INT64_C(1000), left;

	signal_workers(v, SIGTERM);
	while (
	    !reap_workers(v, WNOHANG) && (left = end - io_monotonic_us()) > 0)
		(void)wait_for_stop((int)(left / 1000) + 1);
	signal_workers(v, SIGKILL);
	(void)reap_workers(v, 0);
	if (v->cluster != 0)
		cluster_stop(v->cluster);
}

void
verifier_main(const struct config *config, const int *job_fds, unsigned n)
{
	struct verifier v = { .config = config, .n = n };
	bool fine = true;

	procsig_catch(SIGTERM);
	procsig_catch(SIGHUP);
	procsig_catch(SIGCHLD);
	v.workers = mem_zalloc(n, sizeof(*v.workers));
	if (start_cluster(&v)) {
		fine = start_workers(&v, job_fds);
		while (fine && !wait_for_stop(-1))
			fine = all_run(&v);
	}
	stop_all(&v);
	exit(fine ? 0 : 1);
}
