/*
 * parts_bench.c: what the parts of the proxy do in a second, each alone.
 *
 *	framing		messages of 100 bytes from one wire to another
 *	scanner		a query string to its shape; analyze() on a hit, a miss
 *	rows		a row's text to canonical bytes
 *	merkle		the root of rows of 100 bytes, and the same tree by
 *			libsodium's SHA-256; rounds interleaved
 *	ring		one lane between two processes, without a disk
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../backend/analyze.h"
#include "../../backend/shape.h"
#include "../../backend/wire.h"
#include "arena.h"
#include "ioutil.h"
#include "log.h"
#include "record.h"
#include "rowenc.h"
#include "shmq.h"

#define ROUNDS 7
#define ROUND_US 100000

/* One round of something: how many were done. */
typedef double (*round_fn)(void *arg);

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* How many a second, in the median of the rounds; of two, interleaved. */
static void
rates(round_fn one, void *arg1, double *rate1, round_fn two, void *arg2,
    double *rate2)
{
	double r1[ROUNDS], r2[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		int64_t start = io_monotonic_us(), mid;
		double n1 = one(arg1), n2;

		mid = io_monotonic_us();
		n2 = two != NULL ? two(arg2) : 0;
		r1[i] = n1 / ((double)(mid - start) / 1e6);
		r2[i] = n2 / ((double)(io_monotonic_us() - mid + 1) / 1e6);
	}
	qsort(r1, ROUNDS, sizeof(*r1), compare);
	qsort(r2, ROUNDS, sizeof(*r2), compare);
	*rate1 = r1[ROUNDS / 2];
	if (rate2 != NULL)
		*rate2 = r2[ROUNDS / 2];
}

static double
rate(round_fn fn, void *arg)
{
	double r;

	rates(fn, arg, &r, NULL, NULL, NULL);
	return r;
}

static bool
over(int64_t start)
{
	return io_monotonic_us() - start >= ROUND_US;
}

/* --- framing --- */

#define MESSAGE_BYTES 100
#define N_MESSAGES 600

static double
frame(void *arg)
{
	struct wire *from = arg;
	struct wire to = { .fd = -1 };
	int64_t start = io_monotonic_us();
	double bytes = 0;

	do {
		struct message m;

		from->in_at = 0;
		while (wire_message(from, &m) == WIRE_MESSAGE) {
			wire_put(&to, m.raw, m.raw_len);
			wire_skip(from, m.raw_len);
		}
		bytes += (double)from->in_at;
		buf_reset(&to.out);
	} while (!over(start));
	buf_free(&to.out);
	return bytes;
}

static void
bench_framing(void)
{
	static const char body[MESSAGE_BYTES - 5];
	struct wire w = { .fd = -1 };

	for (int i = 0; i < N_MESSAGES; i++) {
		buf_put_u8(&w.in, PqMsg_DataRow);
		buf_put_u32(&w.in, MESSAGE_BYTES - 1);
		buf_put(&w.in, body, sizeof(body));
	}
	printf("framing, messages of %d bytes     %10.0f MB/s\n",
	    MESSAGE_BYTES, rate(frame, &w) / 1e6);
	buf_free(&w.in);
}

/* --- scanner and cache --- */

#define UPDATE_TEXT \
	"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 4711;"

struct texts {
	struct shape shape;
	struct analyzer *analyzer;
	unsigned n;
};

static double
scan(void *arg)
{
	struct texts *t = arg;
	int64_t start = io_monotonic_us();
	double n = 0;

	do
		for (int i = 0; i < 100; i++)
			n += shape_scan(
			    &t->shape, UPDATE_TEXT, strlen(UPDATE_TEXT));
	while (!over(start));
	return n;
}

static double
hit(void *arg)
{
	struct texts *t = arg;
	int64_t start = io_monotonic_us();
	double n = 0;

	do
		for (int i = 0; i < 100; i++)
			n += analyze(t->analyzer, UPDATE_TEXT,
			    strlen(UPDATE_TEXT), true)
				 ->parsed;
	while (!over(start));
	return n;
}

static double
miss(void *arg)
{
	struct texts *t = arg;
	int64_t start = io_monotonic_us();
	char text[128];
	double n = 0;

	do {
		int len = snprintf(text, sizeof(text),
		    "UPDATE t%u SET v = v + 1 WHERE id = 4711", t->n++);

		n += analyze(t->analyzer, text, (size_t)len, true)->parsed;
	} while (!over(start));
	return n;
}

static void
bench_scanner(void)
{
	struct texts t = { .analyzer = analyzer_new((size_t)1 << 20) };

	shape_init(&t.shape);
	printf("scanner, UPDATE of %zu bytes       %10.0f ns\n",
	    strlen(UPDATE_TEXT), 1e9 / rate(scan, &t));
	printf("analysis, in the cache            %10.0f ns\n",
	    1e9 / rate(hit, &t));
	printf("analysis, not in the cache        %10.0f ns\n",
	    1e9 / rate(miss, &t));
	shape_free(&t.shape);
	analyzer_free(t.analyzer);
}

/* --- rows --- */

#define ROW_TEXT \
	"(4711,1,42,\"                                               " \
	"                                     \")"

struct rows {
	struct rowenc_shape shape;
	struct arena *arena;
	struct rowenc_row *rows;
	size_t n;
};

static double
encode(void *arg)
{
	struct rows *r = arg;
	int64_t start = io_monotonic_us();
	double n = 0;

	do {
		arena_reset(r->arena);
		for (int i = 0; i < 100; i++) {
			struct rowenc_value v[4];
			struct rowenc_row row;

			if (!rowenc_split_composite((const uint8_t *)ROW_TEXT,
				strlen(ROW_TEXT), r->arena, v, 4) ||
			    !rowenc_encode(&r->shape, v, r->arena, &row))
				log_fatal("bench", "a row is not one");
			n++;
		}
	} while (!over(start));
	return n;
}

static void
bench_rows(void)
{
	static struct rowenc_column columns[] = {
		{ "aid", "integer", 1, 0, 0 },
		{ "bid", "integer", 0, 0, 0 },
		{ "abalance", "integer", 0, 0, 0 },
		{ "filler", "character(84)", 0, 0, 0 },
	};
	struct arena *keep = arena_new(0);
	struct rows r = { .shape = { .columns = columns, .n_columns = 4 },
		.arena = arena_new(0) };

	if (!rowenc_shape_init(&r.shape, keep))
		log_fatal("bench", "no shape");
	printf("row encoding, pgbench_accounts    %10.0f rows/s\n",
	    rate(encode, &r));
	arena_free(r.arena);
	arena_free(keep);
}

/* --- Merkle trees --- */

#define TREE_ROWS 10000
#define TREE_ROW_BYTES 100

static double
root(void *arg)
{
	struct rows *r = arg;
	int64_t start = io_monotonic_us();
	struct merkle_hash h;
	double n = 0;

	do {
		rowenc_table_root(r->rows, r->n, &h);
		n += (double)r->n;
	} while (!over(start));
	return n;
}

static void
sodium_hash(const char *prefix, const void *a, size_t a_len, const void *b,
    size_t b_len, struct merkle_hash *out)
{
	crypto_hash_sha256_state st;

	crypto_hash_sha256_init(&st);
	crypto_hash_sha256_update(
	    &st, (const unsigned char *)prefix, strlen(prefix));
	crypto_hash_sha256_update(&st, a, a_len);
	crypto_hash_sha256_update(&st, b, b_len);
	crypto_hash_sha256_final(&st, out->b);
}

/* The root over rows [from, from + n). */
static void
sodium_root(const struct rows *r, size_t from, size_t n,
    struct merkle_hash *out)
{
	struct merkle_hash left, right;
	size_t k = 1;

	if (n == 1) {
		sodium_hash("LEAF:", r->rows[from].bytes,
		    r->rows[from].bytes_len, "", 0, out);
		return;
	}
	while (2 * k < n)
		k *= 2;
	sodium_root(r, from, k, &left);
	sodium_root(r, from + k, n - k, &right);
	sodium_hash("NODE:", left.b, sizeof(left.b), right.b, sizeof(right.b),
	    out);
}

static double
sodium(void *arg)
{
	const struct rows *r = arg;
	int64_t start = io_monotonic_us();
	struct merkle_hash h;
	double n = 0;

	do {
		sodium_root(r, 0, r->n, &h);
		n += (double)r->n;
	} while (!over(start));
	return n;
}

static void
bench_merkle(void)
{
	struct rows r = { .n = TREE_ROWS };
	uint8_t *bytes = calloc(TREE_ROWS, TREE_ROW_BYTES);
	struct merkle_hash ours, theirs;
	double x, y;

	r.rows = calloc(r.n, sizeof(*r.rows));
	if (bytes == NULL || r.rows == NULL || sodium_init() < 0)
		log_fatal("bench", "out of memory");
	for (size_t i = 0; i < r.n; i++) {
		uint8_t *at = bytes + i * TREE_ROW_BYTES;

		for (int k = 0; k < 4; k++)
			at[k] = (uint8_t)(i >> (24 - 8 * k));
		r.rows[i] = (struct rowenc_row){ at, 4, at, TREE_ROW_BYTES };
	}
	rowenc_table_root(r.rows, r.n, &ours);
	sodium_root(&r, 0, r.n, &theirs);
	if (memcmp(&ours, &theirs, sizeof(ours)) != 0)
		log_fatal("bench", "two roots of the same rows");
	rates(root, &r, &x, sodium, &r, &y);
	printf("Merkle root, rows of %d bytes    %10.0f rows/s\n",
	    TREE_ROW_BYTES, x);
	printf("the same tree by libsodium        %10.0f rows/s, ratio %.2f\n",
	    y, x / y);
	free(r.rows);
	free(bytes);
}

/* --- ring --- */

#define RECORD_BYTES 900

static void
produce(struct shmq *q, unsigned lane, bool wait, int64_t until, int result)
{
	struct shmq_producer *p = shmq_producer_open(q, lane);
	char record[RECORD_BYTES] = "";
	uint64_t n = 0;

	while (p != NULL && io_monotonic_us() < until) {
		if (wait ? shmq_offer(p, RECORD_TRANSACTION, record,
			       sizeof(record), NULL, NULL) != SHMQ_OK
			 : shmq_send(p, RECORD_OUTCOME, record,
			       sizeof(record), NULL, NULL) == 0)
			_exit(1);
		n++;
	}
	_exit(write(result, &n, sizeof(n)) != sizeof(n));
}

/* One lane, whose messages are acknowledged at once. */
static double
ring_round(void *arg)
{
	bool *wait = arg;
	struct shmq *q = shmq_create(1, (size_t)1 << 20);
	struct shmq_message m;
	unsigned lane;
	uint64_t n = 0;
	int result[2];
	pid_t pid;

	if (q == NULL || pipe(result) == -1 || !shmq_consume(q))
		log_fatal("bench", "no ring");
	lane = shmq_lane_take(q);
	if ((pid = fork()) == 0)
		produce(q, lane, *wait, io_monotonic_us() + ROUND_US,
		    result[1]);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		(void)shmq_wait(q, 5);
		while (shmq_next(q, &m))
			shmq_ack(q, m.lane, m.sequence);
	}
	if (read(result[0], &n, sizeof(n)) != sizeof(n))
		log_fatal("bench", "no count");
	close(result[0]);
	close(result[1]);
	shmq_detach(q);
	return (double)n;
}

static void
bench_ring(void)
{
	bool wait = false;

	printf("ring, %d bytes, one after another %9.0f /s\n", RECORD_BYTES,
	    rate(ring_round, &wait));
	wait = true;
	printf("ring, each acknowledged           %10.1f us\n",
	    1e6 / rate(ring_round, &wait));
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	bench_framing();
	bench_scanner();
	bench_rows();
	bench_merkle();
	bench_ring();
	return 0;
}
