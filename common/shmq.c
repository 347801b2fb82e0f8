/*
 * shmq.c: the shared-memory lanes between backends and replayd: the segment,
 * and who owns which lane.
 *
 * It, shmq_producer.c and shmq_consumer.c are the only users of semaphores and
 * mmap.  Never takes a lock: each shared word has one writer at a time, and
 * semaphores only wake.  Knows nothing of what messages mean.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shmq_int.h"

void
shmq_wait_for(sem_t *s, int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)ms % 1000 * 1000000;
	t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	(void)sem_clockwait(s, CLOCK_MONOTONIC, &t);
}

static int
open_segment(size_t size)
{
	char name[64];
	int fd, error;

	io_path(name, sizeof(name), "/pgwitness.%ld.%lld", (long)getpid(),
	    (long long)io_monotonic_us());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	(void)shm_unlink(name);
	do
		error = posix_fallocate(fd, 0, (off_t)size);
	while (error == EINTR);
	if (error != 0) {
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static size_t
round_up_ring(size_t bytes)
{
	size_t size = MIN_RING;

	while (size < bytes && size < MAX_RING)
		size *= 2;
	return size;
}

/* Takes over fd, also when it fails. */
static struct shmq *
map_segment(int fd, size_t size)
{
	struct shmq *q = calloc(1, sizeof(*q));
	void *p = MAP_FAILED;
	int saved;

	if (q != NULL)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		saved = errno;
		free(q);
		close(fd);
		errno = saved;
		return NULL;
	}
	q->header = p;
	q->map_size = size;
	q->fd = fd;
	q->last = SHMQ_NO_LANE;
	return q;
}

static void
write_header(struct shmq *q)
{
	struct header *h = q->header;
	unsigned i;

	h->version = VERSION;
	h->map_size = q->map_size;
	h->ring_size = q->ring_size;
	h->n_lanes = q->n_lanes;
	atomic_init(&h->epoch, 1); /* 0 stands for any */
	(void)sem_init(&h->doorbell, 1, 0);
	for (i = 0; i < q->n_lanes; i++)
		(void)sem_init(&lane_at(q, i)->wake, 1, 0);
	h->magic = MAGIC;
}

/*
 * Where generations start: the spool keeps them over restarts, so another boot
 * must not give the same ones again.
 */
static bool
first_generation(uint64_t *generation)
{
	if (getrandom(generation, sizeof(*generation), 0) !=
	    (ssize_t)sizeof(*generation))
		return false;
	*generation >>= 1;
	return true;
}

struct shmq *
shmq_create(unsigned n_lanes, size_t lane_bytes)
{
	size_t ring = round_up_ring(lane_bytes);
	size_t size = PAGE + n_lanes * (PAGE + ring);
	struct shmq *q;
	int fd;

	if (n_lanes == 0 || n_lanes > MAX_LANES || lane_bytes > MAX_RING) {
		errno = EINVAL;
		return NULL;
	}
	if ((fd = open_segment(size)) == -1)
		return NULL;
	if ((q = map_segment(fd, size)) == NULL)
		return NULL;
	q->ring_size = ring;
	q->n_lanes = n_lanes;
	q->owned = calloc(n_lanes, sizeof(*q->owned));
	if (q->owned == NULL || !first_generation(&q->generation)) {
		shmq_detach(q);
		return NULL;
	}
	write_header(q);
	/* A child maps its own: shmq_producer_open(). */
	(void)madvise(lane_at(q, 0), n_lanes * stride(q), MADV_DONTFORK);
	return q;
}

int
shmq_fd(const struct shmq *q)
{
	return q->fd;
}

unsigned
shmq_lanes(const struct shmq *q)
{
	return q->n_lanes;
}

/* The lowest: the consumer looks at all up to the highest ever taken. */
unsigned
shmq_lane_take(struct shmq *q)
{
	struct lane *l;
	unsigned n;

	for (n = 0; n < q->n_lanes; n++) {
		l = lane_at(q, n);
		if (q->owned[n] || atomic_load_explicit(&l->state,
				       memory_order_acquire) != LANE_FREE)
			continue;
		q->owned[n] = true;
		if (n >= q->in_use)
			q->in_use = n + 1;
		atomic_store(&q->header->in_use, q->in_use);
		atomic_store_explicit(
		    &l->generation, ++q->generation, memory_order_relaxed);
		atomic_store_explicit(
		    &l->state, LANE_OWNED, memory_order_release);
		return n;
	}
	return SHMQ_NO_LANE;
}

void
shmq_lane_retire(struct shmq *q, unsigned lane)
{
	struct lane *l = lane_at(q, lane);

	q->owned[lane] = false;
	if (atomic_load(&l->used) == 0 && atomic_load(&l->head) == 0) {
		atomic_store_explicit(
		    &l->state, LANE_FREE, memory_order_release);
		return;
	}
	atomic_store(&l->state, LANE_DEAD);
	wake_if(&q->header->sleeping, &q->header->doorbell);
}

bool
shmq_map_only(struct shmq *q, unsigned lane)
{
	void *mine = lane_at(q, lane);
	off_t at = (uint8_t *)mine - (uint8_t *)q->header;

	return munmap(lane_at(q, 0), q->n_lanes * stride(q)) == 0 &&
	       mmap(mine, stride(q), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, q->fd, at) != MAP_FAILED;
}

void
shmq_detach(struct shmq *q)
{
	int saved = errno;

	if (q == NULL)
		return;
	shmq_free_readers(q);
	(void)munmap(q->header, q->map_size);
	if (q->fd != -1)
		close(q->fd);
	free(q->owned);
	free(q);
	errno = saved;
}

static bool
header_is_sane(const struct header *h, size_t size)
{
	if (size < PAGE + PAGE + MIN_RING || h->magic != MAGIC ||
	    h->version != VERSION || h->map_size != size)
		return false;
	if (h->ring_size < MIN_RING || h->ring_size > MAX_RING ||
	    (h->ring_size & (h->ring_size - 1)) != 0)
		return false;
	return h->n_lanes > 0 && h->n_lanes <= MAX_LANES &&
	       size == PAGE + h->n_lanes * (PAGE + (size_t)h->ring_size);
}

struct shmq *
shmq_attach(int fd)
{
	struct shmq *q;
	struct stat st;
	int own;

	if (fstat(fd, &st) == -1)
		return NULL;
	if (st.st_size < (off_t)(PAGE + PAGE + MIN_RING)) {
		errno = EINVAL;
		return NULL;
	}
	if ((own = fcntl(fd, F_DUPFD_CLOEXEC, 0)) == -1)
		return NULL;
	if ((q = map_segment(own, (size_t)st.st_size)) == NULL)
		return NULL;
	if (!header_is_sane(q->header, q->map_size)) {
		errno = EINVAL;
		shmq_detach(q);
		return NULL;
	}
	q->ring_size = (size_t)q->header->ring_size;
	q->n_lanes = (unsigned)((q->map_size - PAGE) / stride(q));
	if (!shmq_consume(q)) {
		shmq_detach(q);
		return NULL;
	}
	return q;
}

void *
shmq_anonymous(size_t n)
{
	void *p = mmap(
	    NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}
