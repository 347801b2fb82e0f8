/*
 * test_shcache.c: the cache that children share: what was put is found until
 * it is forgotten, and no reader believes half of a value.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ioutil.h"
#include "shcache.h"

#define LONGEST 8000
#define WRITERS 3
#define RUN_US 300000
/* On a busy machine a writer may sleep in the middle while the reader runs. */
#define PATIENCE_US INT64_C(60000000)

#define MINUTE_US INT64_C(60000000)

static struct merkle_hash
key_of(unsigned i)
{
	const struct merkle_part part = { &i, sizeof(i) };
	struct merkle_hash key;

	merkle_sha256(&part, 1, &key);
	return key;
}

/* A value that says itself what it must be: its first byte, all along. */
static void
fill(struct buf *b, uint8_t what, size_t n)
{
	buf_reset(b);
	memset(buf_reserve(b, n), what, n);
	b->len = n;
}

static void
what_was_put_is_found(void **state)
{
	struct shcache *c = shcache_new();
	struct merkle_hash a = key_of(1), b = key_of(2);
	struct buf in = { 0 }, out = { 0 };

	(void)state;
	assert_false(shcache_get(c, &a, &out));
	fill(&in, 7, 100);
	shcache_put(c, 0, shcache_generation(c), INT64_MAX, &a, &in);
	assert_true(shcache_get(c, &a, &out));
	assert_int_equal(out.len, 100);
	assert_memory_equal(out.data, in.data, 100);
	assert_false(shcache_get(c, &b, &out));
	shcache_put(c, 0, shcache_generation(c), -1, &b, &in);
	assert_false(shcache_get(c, &b, &out)); /* it was too old at once */
	fill(&in, 8, 50);
	shcache_put(c, 1, shcache_generation(c), INT64_MAX, &a, &in);
	assert_true(shcache_get(c, &a, &out));
	assert_int_equal(out.len, 50);
	assert_int_equal(out.data[0], 8);
	buf_free(&in);
	buf_free(&out);
}

static void
what_was_forgotten_is_not_found(void **state)
{
	struct shcache *c = shcache_new();
	struct merkle_hash a = key_of(1);
	uint64_t before = shcache_generation(c);
	struct buf b = { 0 };

	(void)state;
	fill(&b, 7, 100);
	shcache_put(c, 0, before, INT64_MAX, &a, &b);
	shcache_forget(c);
	assert_false(shcache_get(c, &a, &b));
	/* Looked up before, put after it. */
	fill(&b, 7, 100);
	shcache_put(c, 0, before, INT64_MAX, &a, &b);
	assert_false(shcache_get(c, &a, &b));
	fill(&b, 7, 100);
	shcache_put(c, 0, shcache_generation(c), INT64_MAX, &a, &b);
	assert_true(shcache_get(c, &a, &b));
	buf_free(&b);
}

static void
what_is_in_doubt_is_found_if_it_is_checked(void **state)
{
	struct shcache *c = shcache_new();
	struct merkle_hash a = key_of(1), b = key_of(2);
	struct buf out = { 0 };

	(void)state;
	fill(&out, 7, 100);
	shcache_put(c, 0, shcache_generation(c), SHCACHE_CHECKED, &a, &out);
	shcache_put(c, 0, shcache_generation(c), MINUTE_US, &b, &out);
	assert_true(shcache_get(c, &b, &out));
	shcache_doubt(c);
	assert_false(shcache_get(c, &b, &out));
	assert_true(shcache_get(c, &a, &out));
	shcache_forget(c);
	assert_false(shcache_get(c, &a, &out));
	buf_free(&out);
}

static void
what_is_too_long_is_left_out(void **state)
{
	struct shcache *c = shcache_new();
	struct merkle_hash a = key_of(1);
	struct buf b = { 0 };

	(void)state;
	fill(&b, 7, LONGEST);
	shcache_put(c, 0, shcache_generation(c), INT64_MAX, &a, &b);
	assert_true(shcache_get(c, &a, &b));
	fill(&b, 8, 8192);
	shcache_put(c, 0, shcache_generation(c), INT64_MAX, &a, &b);
	assert_true(shcache_get(c, &a, &b));
	assert_int_equal(b.data[0], 7);
	buf_free(&b);
}

/* Puts values of one key for ever. */
static void
write_for_ever(struct shcache *c, unsigned writer)
{
	struct merkle_hash a = key_of(1);
	struct buf b = { 0 };

	for (unsigned i = 0;; i++) {
		fill(&b, (uint8_t)(i * WRITERS + writer),
		    1 + (i * 977 + writer) % LONGEST);
		shcache_put(
		    c, writer, shcache_generation(c), INT64_MAX, &a, &b);
	}
}

static pid_t
start_writer(struct shcache *c, unsigned writer)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		write_for_ever(c, writer);
	return pid;
}

static void
kill_writer(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* How many values were seen whole in that time; none may be anything else. */
static unsigned
read_for(struct shcache *c, int64_t us)
{
	int64_t end = io_monotonic_us() + us;
	struct merkle_hash a = key_of(1);
	struct buf b = { 0 };
	unsigned found = 0;

	while (io_monotonic_us() < end) {
		if (!shcache_get(c, &a, &b))
			continue;
		found++;
		for (size_t i = 1; i < b.len; i++)
			assert_int_equal(b.data[i], b.data[0]);
	}
	buf_free(&b);
	return found;
}

static void
readers_see_whole_values_among_writers(void **state)
{
	int64_t end = io_monotonic_us() + PATIENCE_US;
	struct shcache *c = shcache_new();
	unsigned found = 0;
	pid_t pid[WRITERS];

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++)
		pid[i] = start_writer(c, i);
	while (found == 0 && io_monotonic_us() < end)
		found = read_for(c, RUN_US);
	assert_true(found > 0);
	for (unsigned i = 0; i < WRITERS; i++)
		kill_writer(pid[i]);
}

/* Killed at any moment: the slot serves again, with a whole value or none. */
static void
a_writer_may_die_in_the_middle(void **state)
{
	struct shcache *c = shcache_new();
	struct merkle_hash a = key_of(1);
	struct buf b = { 0 };

	(void)state;
	for (int i = 0; i < 100; i++) {
		pid_t pid = start_writer(c, 5);

		usleep((useconds_t)(i * 17 % 400));
		kill_writer(pid);
		shcache_writer_ended(c, 5);
		(void)read_for(c, 1);
		fill(&b, 9, 200);
		shcache_put(c, 6, shcache_generation(c), INT64_MAX, &a, &b);
		assert_true(shcache_get(c, &a, &b));
		assert_int_equal(b.len, 200);
		assert_int_equal(b.data[199], 9);
	}
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found),
		cmocka_unit_test(what_was_forgotten_is_not_found),
		cmocka_unit_test(what_is_in_doubt_is_found_if_it_is_checked),
		cmocka_unit_test(what_is_too_long_is_left_out),
		cmocka_unit_test(readers_see_whole_values_among_writers),
		cmocka_unit_test(a_writer_may_die_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
