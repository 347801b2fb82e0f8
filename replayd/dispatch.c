/*
 * dispatch.c: jobs to the workers, verdicts back.
 *
 * Nothing here blocks on a worker: jobs are so few and small that they always
 * fit into an empty socket buffer, and verdicts are read as they come.  A
 * worker that is gone keeps its jobs: they have no verdict in the log, so the
 * next start of recorder and workers runs them again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "dispatch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"
#include "worker.h"

#define READ_BYTES 65536
#define MAX_VERDICT ((size_t)64 << 20)
#define LENGTH_BYTES 4

struct lane {
	int fd; /* -1: the worker is gone */
	unsigned outstanding;
	struct buf in;
};

struct dispatch {
	struct lane *lanes;
	unsigned n;
	struct worker_job *jobs; /* a ring; cap is a power of two */
	size_t cap;
	size_t head;
	size_t waiting;
};

struct dispatch *
dispatch_new(const int *fds, unsigned n)
{
	struct dispatch *d = mem_zalloc(1, sizeof(*d));

	d->lanes = mem_zalloc(n + 1u, sizeof(*d->lanes));
	d->n = n;
	for (unsigned i = 0; i < n; i++) {
		d->lanes[i].fd = fds[i];
		if (!io_set_nonblock(fds[i]))
			log_fatal("worker_socket", "worker %u: %s", i,
			    strerror(errno));
	}
	return d;
}

static void
grow(struct dispatch *d)
{
	size_t cap = d->cap == 0 ? 256 : d->cap * 2;
	struct worker_job *jobs = mem_zalloc(cap, sizeof(*jobs));

	for (size_t i = 0; i < d->waiting; i++)
		jobs[i] = d->jobs[(d->head + i) & (d->cap - 1)];
	free(d->jobs);
	d->jobs = jobs;
	d->cap = cap;
	d->head = 0;
}

void
dispatch_push(struct dispatch *d, uint64_t tx_id, struct spool_position at)
{
	struct worker_job *job;

	if (d->waiting == d->cap)
		grow(d);
	job = &d->jobs[(d->head + d->waiting++) & (d->cap - 1)];
	job->tx_id = tx_id;
	job->at = at;
}

void
dispatch_push_ddl(struct dispatch *d, struct spool_position at)
{
	dispatch_push(d, 0, at);
}

static struct lane *
least_loaded(const struct dispatch *d)
{
	struct lane *best = NULL;

	for (unsigned i = 0; i < d->n; i++) {
		struct lane *l = &d->lanes[i];

		if (l->fd >= 0 && l->outstanding < DISPATCH_MAX_OUTSTANDING &&
		    (best == NULL || l->outstanding < best->outstanding))
			best = l;
	}
	return best;
}

static void
lose(struct dispatch *d, struct lane *l)
{
	log_warning("worker_lost",
	    "replay worker %u is gone; its %u jobs run again after the restart",
	    (unsigned)(l - d->lanes), l->outstanding);
	close(l->fd);
	l->fd = -1;
}

/* So few jobs fit into any socket buffer: a short write means it is gone. */
static bool
send_job(const struct lane *l, const struct worker_job *job)
{
	ssize_t n;

	KILLPOINT("job");
	do
		n = send(l->fd, job, sizeof(*job), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*job);
}

/* False: not now. */
static bool
send_to_one(struct dispatch *d, const struct worker_job *job)
{
	struct lane *l;

	while ((l = least_loaded(d)) != NULL) {
		if (send_job(l, job)) {
			l->outstanding++;
			return true;
		}
		lose(d, l);
	}
	return false;
}

/* At once to all that live, or to none. */
static bool
send_to_all(struct dispatch *d, const struct worker_job *job)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->lanes[i].fd >= 0 &&
		    d->lanes[i].outstanding >= DISPATCH_MAX_OUTSTANDING)
			return false;
	for (unsigned i = 0; i < d->n; i++) {
		struct lane *l = &d->lanes[i];

		if (l->fd < 0)
			continue;
		if (send_job(l, job))
			l->outstanding++;
		else
			lose(d, l);
	}
	return true;
}

void
dispatch_send(struct dispatch *d)
{
	while (d->waiting > 0) {
		const struct worker_job *job = &d->jobs[d->head];

		if (!(job->tx_id == 0 ? send_to_all(d, job)
				      : send_to_one(d, job)))
			return;
		d->head = (d->head + 1) & (d->cap - 1);
		d->waiting--;
	}
}

unsigned
dispatch_poll(const struct dispatch *d, struct pollfd *p)
{
	for (unsigned i = 0; i < d->n; i++) {
		p[i].fd = d->lanes[i].fd;
		p[i].events = POLLIN;
		p[i].revents = 0;
	}
	return d->n;
}

/* False: the worker is gone, or talks nonsense. */
static bool
read_some(struct lane *l)
{
	uint8_t *to = buf_reserve(&l->in, READ_BYTES);
	ssize_t n = read(l->fd, to, READ_BYTES);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	l->in.len += (size_t)n;
	return n > 0;
}

/* What a worker says beside its answers to jobs. */
static bool
is_aside(const struct lane *l, size_t at, size_t len)
{
	return len > 0 && l->in.data[at + LENGTH_BYTES] == WORKER_CHANGE;
}

static bool
take_verdicts(struct lane *l, dispatch_fn fn, void *arg)
{
	size_t done = 0;
	size_t len = 0;

	while (l->in.len - done >= LENGTH_BYTES) {
		len = get_u32(l->in.data + done);
		if (len > MAX_VERDICT)
			return false;
		if (l->in.len - done - LENGTH_BYTES < len)
			break;
		if (len > 0)
			fn(arg, l->in.data + done + LENGTH_BYTES, len);
		if (l->outstanding > 0 && !is_aside(l, done, len))
			l->outstanding--;
		done += LENGTH_BYTES + len;
	}
	buf_consume(&l->in, done);
	return true;
}

void
dispatch_receive(
    struct dispatch *d, const struct pollfd *p, dispatch_fn fn, void *arg)
{
	for (unsigned i = 0; i < d->n; i++) {
		struct lane *l = &d->lanes[i];
		bool alive;

		if (l->fd < 0 || p[i].revents == 0)
			continue;
		alive = read_some(l);
		if (!take_verdicts(l, fn, arg) || !alive)
			lose(d, l);
	}
}

size_t
dispatch_open(const struct dispatch *d)
{
	size_t n = d->waiting;

	for (unsigned i = 0; i < d->n; i++)
		if (d->lanes[i].fd >= 0)
			n += d->lanes[i].outstanding;
	return n;
}

unsigned
dispatch_living(const struct dispatch *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n; i++)
		n += d->lanes[i].fd >= 0;
	return n;
}
