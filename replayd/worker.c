/*
 * worker.c: the loop of a replay worker process.
 *
 * Takes jobs from the recorder, gives back verdicts in the same order.  Owns
 * its end of the socketpair and its copies of the databases.  Never writes to
 * the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "batch.h"
#include "buf.h"
#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "procsig.h"
#include "replay.h"
#include "schema.h"
#include "verdict.h"

#define READ_JOBS 64
/* How often an idle worker looks whether it can say what it found. */
#define LOOK_MS 500
/* Until all DDL that was seen has surely come. */
#define IDLE_MS 3000

struct worker {
	int fd;
	struct replay *replay;
	struct batch *batch;
	struct buf in; /* jobs not yet taken */
	struct buf out;
};

/* --- the socket --- */

static bool
write_out(struct worker *w)
{
	struct pollfd pfd = { .events = POLLOUT };
	size_t done = 0;

	pfd.fd = w->fd;
	while (done < w->out.len) {
		ssize_t n = write(w->fd, w->out.data + done, w->out.len - done);

		if (n < 0 && errno == EAGAIN)
			(void)poll(&pfd, 1, -1);
		else if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	buf_reset(&w->out);
	return true;
}

/* What is not about one job. */
static bool
say_changes(struct worker *w)
{
	struct schema *schema = replay_schema(w->replay);
	bool idle = batch_is_empty(w->batch) && w->in.len == 0;

	if (schema_waits(schema))
		schema_settle(schema,
		    idle ? io_now_us() : batch_made_us(w->batch), &w->out);
	return write_out(w);
}

static bool
be_idle(struct worker *w, int ms)
{
	if (ms >= IDLE_MS)
		schema_look(replay_schema(w->replay));
	return say_changes(w);
}

/* False when a signal asks us to stop. */
static bool
wait_for_input(struct worker *w)
{
	struct pollfd pfd[2] = { { .events = POLLIN }, { .events = POLLIN } };
	int idle_ms = 0;

	pfd[0].fd = w->fd;
	pfd[1].fd = procsig_fd();
	while (!procsig_pending(SIGTERM)) {
		bool waits = schema_waits(replay_schema(w->replay));
		int n = poll(pfd, 2, waits ? LOOK_MS : -1);

		if (n < 0 && errno != EINTR)
			return false;
		if (n == 0 && !be_idle(w, idle_ms += LOOK_MS))
			return false;
		if (n > 0 && pfd[1].revents != 0)
			procsig_drain();
		if (n > 0 && pfd[0].revents != 0)
			return !procsig_pending(SIGTERM);
	}
	return false;
}

/* False at the end of file. */
static bool
read_jobs(struct worker *w)
{
	size_t room = READ_JOBS * sizeof(struct worker_job);
	ssize_t n = recv(w->fd, buf_reserve(&w->in, room), room, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		return false;
	w->in.len += n > 0 ? (size_t)n : 0;
	return true;
}

static bool
take_job(struct worker *w)
{
	struct worker_job job;

	if (w->in.len < sizeof(job) || !batch_has_room(w->batch))
		return false;
	memcpy(&job, w->in.data, sizeof(job));
	buf_consume(&w->in, sizeof(job));
	batch_push(w->batch, &job);
	return true;
}

/* What has come; waits for it if there is nothing to do.  False: the end. */
static bool
take_jobs(struct worker *w)
{
	do {
		if (batch_is_empty(w->batch) && w->in.len == 0 &&
		    !wait_for_input(w))
			return false;
		if (w->in.len < sizeof(struct worker_job) && !read_jobs(w))
			return false;
		while (take_job(w))
			continue;
	} while (batch_is_empty(w->batch));
	return true;
}

static void
put_verdicts(struct worker *w)
{
	const struct verdict *v;

	while (batch_is_done(w->batch)) {
		size_t at = w->out.len;

		KILLPOINT("worker_verdict");
		buf_put_u32(&w->out, 0);
		v = batch_verdict(w->batch);
		if (v != NULL)
			verdict_encode(v, &w->out);
		buf_set_u32(&w->out, at, (uint32_t)(w->out.len - at - 4));
		batch_pop(w->batch);
	}
}

static void
run_jobs(struct worker *w)
{
	while (take_jobs(w) && batch_step(w->batch)) {
		put_verdicts(w);
		if (!say_changes(w))
			return;
	}
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
	struct worker w = { .fd = jobs_fd };

	log_set_process("replay_worker");
	procsig_init();
	procsig_catch(SIGTERM);
	procsig_catch(SIGINT);
	clear_environment();
	w.replay = replay_new(config, index);
	w.batch = batch_new(config, w.replay);
	run_jobs(&w);
	batch_free(w.batch);
	replay_free(w.replay);
	buf_free(&w.in);
	buf_free(&w.out);
	close(jobs_fd);
	exit(0);
}
