/*
 * spool_bench.c: how many records per second one drain makes durable, with 1
 * and with 32 producers; what fdatasync costs by the way a file grows; how long
 * opening a long spool takes.  The rounds of what is compared are interleaved,
 * so that both meet the same disk.
 *
 *	spool_bench [DIR]	(where the spool goes; default /tmp)
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../replayd/drain.h"
#include "../../replayd/spool.h"
#include "ioutil.h"
#include "log.h"
#include "record.h"
#include "shmq.h"

#define ROUNDS 6
#define ROUND_US 500000
#define MANY 32
#define RECORD_BYTES 900
#define RAW_BYTES ((off_t)64 << 20)
#define RAW_SYNCS 60
#define OLD_BYTES ((uint64_t)1 << 30)

static char dir[PATH_MAX];

/* As a backend under before_commit: a record, its ack, its outcome. */
static void
produce(struct shmq *q, unsigned lane, int64_t until)
{
	struct shmq_producer *p = shmq_producer_open(q, lane);
	char record[RECORD_BYTES] = "";

	while (p != NULL && io_monotonic_us() < until)
		if (shmq_offer(p, RECORD_TRANSACTION, record, sizeof(record),
		    NULL, NULL) != SHMQ_OK || shmq_send(p, RECORD_OUTCOME,
		    "done", 4, NULL, NULL) == 0)
			_exit(1);
	_exit(p == NULL);
}

static unsigned
reap(struct shmq *q, pid_t *pids, unsigned n)
{
	unsigned i, running = 0;

	for (i = 0; i < n; i++) {
		if (pids[i] != 0 && waitpid(pids[i], NULL, WNOHANG) != 0) {
			shmq_lane_retire(q, i);
			pids[i] = 0;
		}
		running += pids[i] != 0;
	}
	return running;
}

struct total {
	double records;
	double syncs;
	double seconds;
};

static void
drain_round(struct recorder_shared *shared, unsigned n, struct total *t)
{
	struct shmq *q = shmq_create(n, (size_t)1 << 20);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	int64_t start = io_monotonic_us();
	pid_t pids[MANY] = { 0 };
	struct drain_counts c;
	unsigned i, lane;

	for (i = 0; i < n; i++) {
		lane = shmq_lane_take(q);
		if ((pids[i] = fork()) == 0)
			produce(q, lane, start + ROUND_US);
	}
	while (io_monotonic_us() < start + ROUND_US)
		(void)drain_step(d, 20);
	c = drain_counts(d);
	t->records += (double)c.records;
	t->syncs += (double)c.syncs;
	t->seconds += (double)(io_monotonic_us() - start) / 1e6;
	while (reap(q, pids, n) > 0)
		(void)drain_step(d, 5);
	drain_close(d);
	shmq_detach(q);
}

static void
print(const char *what, const struct total *t)
{
	printf("%-22s %9.0f %9.0f %9.1f\n", what, t->records / t->seconds,
	    t->syncs / t->seconds, t->records / t->syncs);
}

static int
bench_drain(void)
{
	struct recorder_shared *shared = shmq_anonymous(sizeof(*shared));
	struct total one = { 0 }, many = { 0 };
	double ratio;
	unsigned i;

	if (shared == NULL)
		return 3;
	for (i = 0; i < ROUNDS; i++) {
		drain_round(shared, 1, &one);
		drain_round(shared, MANY, &many);
	}
	printf("%-22s %9s %9s %9s\n", "", "records/s", "syncs/s",
	    "per sync");
	print("1 producer", &one);
	print("32 producers", &many);
	ratio = many.records / many.seconds / (one.records / one.seconds);
	printf("32 producers have %.1f times the rate of one\n\n", ratio);
	return ratio >= 6 && many.records / many.syncs >= 10 ? 0 : 1;
}

/* --- how a file grows --- */

enum { APPEND, ALLOCATED, ZEROED, N_WAYS };

static int
make_file(int way)
{
	static const char zero[1 << 16];
	char path[PATH_MAX];
	off_t at;
	int fd;

	io_path(path, sizeof(path), "%s/raw%d", dir, way);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1)
		log_fatal("bench", "%s: %s", path, strerror(errno));
	if (way == ALLOCATED && posix_fallocate(fd, 0, RAW_BYTES) != 0)
		log_fatal("bench", "posix_fallocate failed");
	for (at = 0; way == ZEROED && at < RAW_BYTES;
	    at += (off_t)sizeof(zero))
		if (pwrite(fd, zero, sizeof(zero), at) != sizeof(zero))
			log_fatal("bench", "%s: %s", path, strerror(errno));
	(void)fsync(fd);
	(void)unlink(path);
	return fd;
}

static double
sync_round(int fd, off_t *at, size_t bytes)
{
	static const char group[1 << 15];
	int64_t start = io_monotonic_us();
	unsigned i;

	for (i = 0; i < RAW_SYNCS; i++, *at += (off_t)bytes)
		if (pwrite(fd, group, bytes, *at) != (ssize_t)bytes ||
		    fdatasync(fd) == -1)
			log_fatal("bench", "%s", strerror(errno));
	return (double)(io_monotonic_us() - start) / 1e6;
}

static void
bench_ways(size_t bytes)
{
	double seconds[N_WAYS] = { 0 };
	off_t at[N_WAYS] = { 0 };
	int fd[N_WAYS], way;
	unsigned i;

	for (way = 0; way < N_WAYS; way++)
		fd[way] = make_file(way);
	for (i = 0; i < ROUNDS; i++)
		for (way = 0; way < N_WAYS; way++)
			seconds[way] += sync_round(fd[way], &at[way], bytes);
	printf("%6zu bytes a group: fdatasync/s appending %.0f, into "
	    "allocated %.0f, into zeroed %.0f\n", bytes,
	    ROUNDS * RAW_SYNCS / seconds[APPEND],
	    ROUNDS * RAW_SYNCS / seconds[ALLOCATED],
	    ROUNDS * RAW_SYNCS / seconds[ZEROED]);
	for (way = 0; way < N_WAYS; way++)
		close(fd[way]);
}

/* --- opening --- */

static void
bench_open(void)
{
	static char payload[1 << 20];
	struct spool_writer *w;
	uint64_t last, bytes;
	int64_t start;

	if ((w = spool_writer_open(dir, &last)) == NULL)
		log_fatal("bench", "%s", strerror(errno));
	for (bytes = 0; bytes < OLD_BYTES; bytes += sizeof(payload)) {
		spool_append(w, SPOOL_RECORD, ++last, payload,
		    sizeof(payload));
		if (bytes % (16 << 20) == 0 && !spool_sync(w))
			log_fatal("bench", "%s", strerror(errno));
	}
	if (!spool_sync(w))
		log_fatal("bench", "%s", strerror(errno));
	spool_writer_close(w);
	start = io_monotonic_us();
	if ((w = spool_writer_open(dir, &last)) == NULL)
		log_fatal("bench", "%s", strerror(errno));
	printf("opening a spool of 1 GB: %lld ms\n",
	    (long long)((io_monotonic_us() - start) / 1000));
	spool_writer_close(w);
}

int
main(int argc, char **argv)
{
	char command[PATH_MAX + 16];
	int result;

	io_path(dir, sizeof(dir), "%s/spool_bench.XXXXXX",
	    argc > 1 ? argv[1] : "/tmp");
	if (mkdtemp(dir) == NULL) {
		perror(dir);
		return 3;
	}
	result = bench_drain();
	bench_ways(1000);
	bench_ways(16000);
	bench_open();
	io_path(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		perror(command);
	return result;
}
