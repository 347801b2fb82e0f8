/*
 * worker.c: the loop of a replay worker process.
 *
 * Takes jobs from the recorder, reads their records from the spool, gives back
 * verdicts in the same order.  Owns its end of the socketpair, a spool reader
 * and its copies of the databases.  Never writes to the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "killpoint.h"
#include "log.h"
#include "procsig.h"
#include "record.h"
#include "replay.h"
#include "verdict.h"

/* A record and what its replay makes of it, in captures of the largest. */
#define ARENA_PER_CAPTURE 8

struct worker {
	const struct config *config;
	int fd;
	struct spool_reader *spool;
	struct arena *arena;
	struct replay *replay;
	struct buf out;
};

/* --- the socket --- */

/* False when a signal asks us to stop. */
static bool
wait_for_input(const struct worker *w)
{
	struct pollfd pfd[2] = { { .events = POLLIN }, { .events = POLLIN } };

	pfd[0].fd = w->fd;
	pfd[1].fd = procsig_fd();
	while (!procsig_pending(SIGTERM)) {
		int n = poll(pfd, 2, -1);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0 && pfd[1].revents != 0)
			procsig_drain();
		if (n > 0 && pfd[0].revents != 0)
			return !procsig_pending(SIGTERM);
	}
	return false;
}

/* False at the end of file, or when asked to stop. */
static bool
read_job(const struct worker *w, struct worker_job *job)
{
	char *p = (char *)job;
	size_t have = 0;

	while (have < sizeof(*job)) {
		ssize_t n;

		if (!wait_for_input(w))
			return false;
		n = read(w->fd, p + have, sizeof(*job) - have);
		if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
			return false;
		have += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool
write_verdict(struct worker *w, const struct verdict *v)
{
	struct pollfd pfd = { .events = POLLOUT };
	size_t done = 0;

	buf_reset(&w->out);
	buf_put_u32(&w->out, 0);
	verdict_encode(v, &w->out);
	buf_set_u32(&w->out, 0, (uint32_t)(w->out.len - 4));
	KILLPOINT("worker_verdict");
	pfd.fd = w->fd;
	while (done < w->out.len) {
		ssize_t n = write(w->fd, w->out.data + done, w->out.len - done);

		if (n < 0 && errno == EAGAIN)
			(void)poll(&pfd, 1, -1);
		else if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* --- one job --- */

static bool
read_record(struct worker *w, const struct worker_job *job, struct record *r)
{
	struct spool_frame frame;

	if (w->spool == NULL)
		w->spool = spool_reader_open(w->config->data_dir);
	return w->spool != NULL && spool_read(w->spool, job->at, &frame) &&
	       frame.tx_id == job->tx_id && frame.kind == SPOOL_RECORD &&
	       record_decode(frame.payload, frame.payload_len, w->arena, r);
}

/* False: no verdict, we are to stop. */
static bool
run_job(struct worker *w, const struct worker_job *job, struct verdict *v)
{
	struct record r;

	KILLPOINT("worker_job");
	memset(v, 0, sizeof(*v));
	v->tx_id = job->tx_id;
	v->statement = -1;
	if (read_record(w, job, &r))
		return replay_run(w->replay, &r, w->arena, v);
	log_error("job_unreadable",
	    "the record of transaction %llu cannot be"
	    " read from the spool",
	    (unsigned long long)job->tx_id);
	v->kind = VERDICT_ERROR;
	v->reason = "record_unreadable";
	v->detail = "";
	return true;
}

static void
run_jobs(struct worker *w)
{
	struct worker_job job;
	struct verdict v;

	while (
	    read_job(w, &job) && run_job(w, &job, &v) && write_verdict(w, &v))
		arena_reset(w->arena);
}

/* libpq must take nothing but what it is given. */
static void
clear_environment(void)
{
	static const char *const names[] = { "PGHOST", "PGHOSTADDR", "PGPORT",
		"PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE",
		"PGSERVICEFILE", "PGOPTIONS", "PGAPPNAME", "PGSSLMODE",
		"PGREQUIRESSL", "PGCHANNELBINDING", "PGCLIENTENCODING",
		"PGTARGETSESSIONATTRS", "PGDATESTYLE", "PGTZ", "PGGEQO",
		"PGSYSCONFDIR", "PGLOCALEDIR" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
}

void
worker_main(const struct config *config, unsigned index, int jobs_fd)
{
	size_t limit = config->max_capture_bytes > 0
			   ? (size_t)config->max_capture_bytes *
				 ARENA_PER_CAPTURE
			   : 0;
	struct worker w = { .config = config, .fd = jobs_fd };

	log_set_process("replay_worker");
	procsig_init();
	procsig_catch(SIGTERM);
	procsig_catch(SIGINT);
	clear_environment();
	w.arena = arena_new(limit);
	w.replay = replay_new(config, index);
	run_jobs(&w);
	replay_free(w.replay);
	arena_free(w.arena);
	if (w.spool != NULL)
		spool_reader_close(w.spool);
	buf_free(&w.out);
	close(jobs_fd);
	exit(0);
}
