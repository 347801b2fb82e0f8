/*
 * test_spool.c: the spool writes, reads, cuts and goes on.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../replayd/spool.h"
#include "ioutil.h"

static char dir[64];

static void
path_of(uint64_t segment, char *out)
{
	io_path(out, PATH_MAX, "%s/spool/%016llu", dir,
	    (unsigned long long)segment);
}

static int
make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_spool.XXXXXX");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
remove_dir(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static struct spool_writer *
open_writer(uint64_t want_last)
{
	uint64_t last = 99999;
	struct spool_writer *w = spool_writer_open(dir, &last);

	assert_non_null(w);
	assert_int_equal(last, want_last);
	return w;
}

static size_t
payload_of(uint64_t tx, uint8_t *out)
{
	size_t n = (size_t)(tx * 37 % 700), i;

	for (i = 0; i < n; i++)
		out[i] = (uint8_t)(tx + i);
	return n;
}

static void
add(struct spool_writer *w, uint64_t tx)
{
	uint8_t p[700];
	size_t n = payload_of(tx, p);

	spool_append(w, SPOOL_RECORD, tx, p, n);
}

static void
check_frame(const struct spool_frame *f, uint64_t tx)
{
	uint8_t p[700];
	size_t n = payload_of(tx, p);

	assert_int_equal(f->tx_id, tx);
	assert_int_equal(f->kind, SPOOL_RECORD);
	assert_int_equal(f->payload_len, n);
	assert_memory_equal(f->payload, p, n);
}

static void
what_is_synced_is_read(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_reader *r = spool_reader_open(dir);
	struct spool_position middle, third;
	struct spool_frame f;
	uint64_t tx;

	(void)state;
	assert_non_null(r);
	assert_false(spool_next(r, spool_end(w), &f));
	for (tx = 1; tx <= 5; tx++)
		add(w, tx);
	assert_true(spool_pending(w) > 0);
	assert_false(spool_next(r, spool_end(w), &f));
	assert_true(spool_sync(w));
	middle = spool_end(w);
	add(w, 6);
	assert_true(spool_sync(w));
	for (tx = 1; tx <= 5; tx++) {
		assert_true(spool_next(r, middle, &f));
		check_frame(&f, tx);
		if (tx == 3)
			third = f.at;
	}
	/* six is there, but not before `middle` */
	assert_false(spool_next(r, middle, &f));
	assert_true(spool_read(r, third, &f));
	check_frame(&f, 3);
	third.offset++;
	assert_false(spool_read(r, third, &f));
	third.segment = 77;
	assert_false(spool_read(r, third, &f));
	assert_true(spool_next(r, spool_end(w), &f));
	check_frame(&f, 6);
	assert_false(spool_next(r, spool_end(w), &f));
	spool_reader_close(r);
	spool_writer_close(w);
}

static void
reopened_spool_goes_on(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_reader *r;
	struct spool_frame f;
	uint64_t tx;

	(void)state;
	add(w, 1);
	add(w, 2);
	assert_true(spool_sync(w));
	add(w, 3);	/* never synced */
	spool_writer_close(w);
	w = open_writer(2);
	add(w, 3);
	add(w, 9);
	assert_true(spool_sync(w));
	spool_append(w, SPOOL_IN_DOUBT, 9, NULL, 0);
	assert_true(spool_sync(w));
	spool_writer_close(w);
	w = open_writer(9);
	r = spool_reader_open(dir);
	for (tx = 1; tx <= 3; tx++) {
		assert_true(spool_next(r, spool_end(w), &f));
		check_frame(&f, tx);
	}
	assert_true(spool_next(r, spool_end(w), &f));
	check_frame(&f, 9);
	assert_true(spool_next(r, spool_end(w), &f));
	assert_int_equal(f.kind, SPOOL_IN_DOUBT);
	assert_int_equal(f.payload_len, 0);
	spool_reader_close(r);
	spool_writer_close(w);
}

static void
a_reader_goes_on_behind_any_frame(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_reader *r = spool_reader_open(dir);
	struct spool_frame two, f;
	uint64_t tx;

	(void)state;
	spool_set_segment_bytes(w, 1);
	for (tx = 1; tx <= 4; tx++) {
		add(w, tx);
		assert_true(spool_sync(w));
	}
	assert_true(spool_next(r, spool_end(w), &two));
	assert_true(spool_next(r, spool_end(w), &two));
	assert_int_equal(two.tx_id, 2);
	spool_reader_close(r);
	r = spool_reader_open(dir);
	spool_reader_seek(r, two.next);
	for (tx = 3; tx <= 4; tx++) {
		assert_true(spool_next(r, spool_end(w), &f));
		check_frame(&f, tx);
	}
	assert_false(spool_next(r, spool_end(w), &f));
	/* and back, on a reader that has read */
	spool_reader_seek(r, two.at);
	assert_true(spool_next(r, spool_end(w), &f));
	check_frame(&f, 2);
	spool_reader_close(r);
	spool_writer_close(w);
}

/* The log lines of what a test provokes would drown its own. */
static int
mute(void)
{
	int saved = dup(STDERR_FILENO);

	assert_non_null(freopen("/dev/null", "w", stderr));
	return saved;
}

static void
unmute(int saved)
{
	fflush(stderr);
	assert_int_not_equal(-1, dup2(saved, STDERR_FILENO));
	close(saved);
}

static void
torn_tail_is_cut_at_every_byte(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_position two, three;
	struct spool_reader *r;
	struct spool_frame f;
	struct buf whole = { 0 };
	char path[PATH_MAX];
	struct stat st;
	uint64_t n;
	int fd, saved = mute();

	(void)state;
	add(w, 1);
	add(w, 2);
	assert_true(spool_sync(w));
	two = spool_end(w);
	add(w, 3);
	assert_true(spool_sync(w));
	three = spool_end(w);
	spool_writer_close(w);
	path_of(1, path);
	assert_true(io_read_file(path, &whole, 1 << 20));
	for (n = two.offset; n < three.offset; n++) {
		fd = open(path, O_WRONLY | O_TRUNC);
		assert_true(io_write_all(fd, whole.data, (size_t)n));
		/* odd: the rest was allocated, but is zero */
		if (n % 2 == 1)
			assert_int_equal(0, ftruncate(fd,
			    (off_t)three.offset));
		close(fd);
		w = open_writer(2);
		assert_int_equal(spool_end(w).offset, two.offset);
		assert_int_equal(0, stat(path, &st));
		assert_int_equal(st.st_size, two.offset);
		spool_writer_close(w);
	}
	unmute(saved);
	w = open_writer(2);
	add(w, 7);
	assert_true(spool_sync(w));
	r = spool_reader_open(dir);
	assert_true(spool_next(r, spool_end(w), &f));
	assert_true(spool_next(r, spool_end(w), &f));
	assert_true(spool_next(r, spool_end(w), &f));
	check_frame(&f, 7);
	spool_reader_close(r);
	spool_writer_close(w);
	buf_free(&whole);
}

/* What is there of segment 1. */
static off_t
file_size(void)
{
	char path[PATH_MAX];
	struct stat st;

	path_of(1, path);
	assert_int_equal(0, stat(path, &st));
	return st.st_size;
}

static void
zeros_ahead_are_no_frames(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_reader *r;
	struct spool_frame f;
	off_t filled;
	uint64_t tx, frames = 0, n;

	(void)state;
	spool_set_segment_bytes(w, 64 << 10);
	add(w, 1);
	assert_true(spool_sync(w));
	spool_fill_ahead(w);
	filled = file_size();
	assert_true(filled > (off_t)spool_end(w).offset);
	add(w, 2);
	assert_true(spool_sync(w));
	/* it grew into the zeros, which do not count as full */
	assert_int_equal(file_size(), filled);
	assert_false(spool_is_full(w, spool_end(w).offset + 1));
	assert_true(spool_is_full(w, spool_end(w).offset));
	spool_writer_close(w);
	w = open_writer(2);
	assert_int_equal(file_size(), spool_end(w).offset);
	spool_set_segment_bytes(w, 64 << 10);
	for (tx = 3; spool_end(w).segment < 3; tx++) {
		/* once more than the zeros take */
		for (n = 0; n < (tx == 5 ? 100 : 1); n++, frames++)
			add(w, tx);
		assert_true(spool_sync(w));
		spool_fill_ahead(w);
	}
	spool_writer_close(w);
	w = open_writer(tx - 1);
	r = spool_reader_open(dir);
	for (n = 0; spool_next(r, spool_end(w), &f); n++)
		;
	assert_int_equal(n, frames + 2);
	spool_reader_close(r);
	spool_writer_close(w);
}

static void
segments_follow_each_other(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_reader *r = spool_reader_open(dir);
	struct spool_frame f;
	char path[PATH_MAX];
	uint64_t tx, seen = 0;

	(void)state;
	spool_set_segment_bytes(w, 3000);
	for (tx = 1; tx <= 200; tx++) {
		add(w, tx);
		if (tx % 4 == 0)
			assert_true(spool_sync(w));
		if (tx % 50 != 0)
			continue;
		while (spool_next(r, spool_end(w), &f))
			check_frame(&f, ++seen);
		assert_int_equal(seen, tx / 4 * 4);
		assert_true(spool_sync(w));
	}
	assert_true(spool_end(w).segment > 10);
	spool_reader_close(r);
	spool_writer_close(w);
	w = open_writer(200);
	spool_recycle(dir, spool_end(w).segment + 5);
	path_of(spool_end(w).segment - 1, path);
	assert_int_equal(-1, access(path, F_OK));
	r = spool_reader_open(dir);
	while (spool_next(r, spool_end(w), &f))
		check_frame(&f, f.tx_id);
	spool_reader_close(r);
	spool_writer_close(w);
	/* nothing but the last segment left: the number is still known */
	w = open_writer(200);
	spool_writer_close(w);
}

static void
lanes_are_known_after_a_restart(void **state)
{
	struct spool_writer *w = open_writer(0);
	struct spool_origin a = { 100, 1, 3 }, b = { 200, 7, 500 };
	const struct spool_lane *l;
	size_t n;
	unsigned round;

	(void)state;
	spool_append_from(w, SPOOL_RECORD, 1, &a, "x", 1);
	spool_append_from(w, SPOOL_RECORD, 2, &b, "y", 1);
	a.sequence = 2;
	spool_append_from(w, SPOOL_OUTCOME, 1, &a, "z", 1);
	assert_true(spool_sync(w));
	for (round = 0; round < 3; round++) {
		/* from the frames, then from a segment's state alone */
		spool_writer_close(w);
		w = open_writer(2 + round);
		l = spool_lanes(w, &n);
		assert_true(n > 500);
		assert_int_equal(l[3].generation, 100);
		assert_int_equal(l[3].sequence, 2);
		assert_int_equal(l[3].open_tx, 0);
		assert_int_equal(l[500].generation, 200);
		assert_int_equal(l[500].sequence, 7);
		assert_int_equal(l[500].open_tx, 2);
		assert_int_equal(l[4].generation, 0);
		spool_set_segment_bytes(w, 1);
		spool_append(w, SPOOL_RECORD, 3 + round, "w", 1);
		assert_true(spool_sync(w));
		spool_recycle(dir, spool_end(w).segment);
	}
	spool_writer_close(w);
}

static void
damaged_state_is_refused(void **state)
{
	struct spool_writer *w = open_writer(0);
	char path[PATH_MAX];
	uint64_t last;
	int fd, saved = mute();

	(void)state;
	spool_writer_close(w);
	path_of(1, path);
	fd = open(path, O_WRONLY);
	assert_int_equal(1, pwrite(fd, "x", 1, 20));
	close(fd);
	assert_null(spool_writer_open(dir, &last));
	assert_int_equal(errno, EBADMSG);
	assert_null(spool_writer_open("/nonexistent", &last));
	assert_int_equal(errno, ENOENT);
	unmute(saved);
}

/* Half-made segments have another name and are not looked at. */
static void
unfinished_segment_is_ignored(void **state)
{
	struct spool_writer *w = open_writer(0);
	char path[PATH_MAX];
	int fd;

	(void)state;
	add(w, 4);
	assert_true(spool_sync(w));
	spool_writer_close(w);
	io_path(path, sizeof(path), "%s/spool/%016d.new", dir, 2);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(4, write(fd, "half", 4));
	close(fd);
	w = open_writer(4);
	spool_set_segment_bytes(w, 1);
	add(w, 5);
	assert_true(spool_sync(w));
	assert_int_equal(spool_end(w).segment, 2);
	spool_writer_close(w);
	w = open_writer(5);
	spool_writer_close(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_synced_is_read),
		TEST(reopened_spool_goes_on),
		TEST(segments_follow_each_other),
		TEST(a_reader_goes_on_behind_any_frame),
		TEST(lanes_are_known_after_a_restart),
		TEST(unfinished_segment_is_ignored),
		TEST(torn_tail_is_cut_at_every_byte),
		TEST(damaged_state_is_refused),
		TEST(zeros_ahead_are_no_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
