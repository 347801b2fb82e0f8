/*
 * test_tiles.c: tiles against trees that are hashed plainly, and against the
 * golden vectors.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../include/ioutil.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/tiles.h"
#include "scratch.h"

#define MOST 1100
#define BIG 66000 /* needs a tile of level 2 */

static char dir[SCRATCH_BYTES];
static char error[256];
static struct merkle_hash leaves[BIG];
static struct merkle_hash roots[MOST + 1];

static int
set_up(void **state)
{
	(void)state;
	return !scratch_make(dir, "tiles") ? -1 : 0;
}

static int
tear_down(void **state)
{
	(void)state;
	return scratch_remove(dir);
}

/* RFC 6962, 2.1, word by word. */
static struct merkle_hash
plain_root(const struct merkle_hash *h, size_t n)
{
	struct merkle_hash left;
	struct merkle_hash right;
	size_t k = 1;

	if (n == 0) {
		merkle_sha256(NULL, 0, &left);
		return left;
	}
	if (n == 1)
		return h[0];
	while (k * 2 < n)
		k *= 2;
	left = plain_root(h, k);
	right = plain_root(h + k, n - k);
	merkle_node(MERKLE_LOG, &left, &right, &left);
	return left;
}

static void
make_leaves(void)
{
	for (uint32_t i = 0; i < BIG; i++)
		merkle_leaf(MERKLE_LOG, &i, sizeof(i), &leaves[i]);
	for (size_t n = 0; n <= MOST; n++)
		roots[n] = plain_root(leaves, n);
}

static void
assert_same(const struct merkle_hash *a, const struct merkle_hash *b)
{
	assert_memory_equal(a, b, sizeof(*a));
}

static bool
exists(const char *name)
{
	char path[160];

	io_path(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static struct tiles_writer *
writer(uint64_t size)
{
	struct tiles_writer *w =
	    tiles_writer_open(dir, size, error, sizeof(error));

	if (w == NULL)
		fail_msg("%s", error);
	return w;
}

/* RFC 9162, 2.1.3.2: the root that an inclusion proof leads to. */
static struct merkle_hash
follow_inclusion(uint64_t index, uint64_t size, const struct merkle_hash *p,
	size_t n)
{
	struct merkle_hash r = leaves[index];
	uint64_t fn = index;
	uint64_t sn = size - 1;

	for (size_t i = 0; i < n; i++) {
		assert_true(sn > 0);
		if ((fn & 1) == 1 || fn == sn) {
			merkle_node(MERKLE_LOG, &p[i], &r, &r);
			while ((fn & 1) == 0 && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else
			merkle_node(MERKLE_LOG, &r, &p[i], &r);
		fn >>= 1;
		sn >>= 1;
	}
	assert_int_equal(sn, 0);
	return r;
}

/* RFC 9162, 2.1.4.2. */
static void
check_consistency(uint64_t from, uint64_t to, const struct merkle_hash *p,
	size_t n)
{
	uint64_t fn = from - 1;
	uint64_t sn = to - 1;
	size_t i = 0;
	struct merkle_hash fr;
	struct merkle_hash sr;

	if (from == to) {
		assert_int_equal(n, 0);
		return;
	}
	fr = (from & (from - 1)) == 0 ? roots[from] : p[i++];
	sr = fr;
	while ((fn & 1) == 1) {
		fn >>= 1;
		sn >>= 1;
	}
	for (; i < n; i++) {
		assert_true(sn > 0);
		if ((fn & 1) == 1 || fn == sn) {
			merkle_node(MERKLE_LOG, &p[i], &fr, &fr);
			merkle_node(MERKLE_LOG, &p[i], &sr, &sr);
			while ((fn & 1) == 0 && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else
			merkle_node(MERKLE_LOG, &sr, &p[i], &sr);
		fn >>= 1;
		sn >>= 1;
	}
	assert_int_equal(sn, 0);
	assert_same(&fr, &roots[from]);
	assert_same(&sr, &roots[to]);
}

static void
check_proofs(struct tiles *t, uint64_t size)
{
	struct merkle_hash path[TILES_MAX_PATH];
	struct merkle_hash got;
	size_t n;

	for (uint64_t i = size % 61; i < size; i += 61) {
		assert_true(tiles_leaf(t, i, &got));
		assert_same(&got, &leaves[i]);
		assert_true(tiles_inclusion(t, i, path, &n));
		got = follow_inclusion(i, size, path, n);
		assert_same(&got, &roots[size]);
		assert_true(tiles_consistency(t, i + 1, path, &n));
		check_consistency(i + 1, size, path, n);
		assert_true(tiles_root(t, i, &got));
		assert_same(&got, &roots[i]);
	}
}

/* What a writer that starts at each size finds, and what it can prove. */
static void
every_size_is_what_a_plain_tree_says(void **state)
{
	(void)state;
	for (uint64_t size = 0; size <= MOST; size++) {
		struct tiles *t = tiles_open(dir, size);
		struct merkle_hash got;
		struct tiles_writer *w;

		assert_true(tiles_root(t, size, &got));
		assert_same(&got, &roots[size]);
		check_proofs(t, size);
		tiles_close(t);
		w = writer(size);
		assert_int_equal(tiles_writer_tree(w)->size, size);
		merkle_tree_root(tiles_writer_tree(w), &got);
		assert_same(&got, &roots[size]);
		tiles_append(w, &leaves[size]);
		merkle_tree_root(tiles_writer_tree(w), &got);
		if (size < MOST)
			assert_same(&got, &roots[size + 1]);
		tiles_sync(w);
		tiles_writer_close(w);
	}
}

static void
partial_tiles_go_when_the_tile_is_full(void **state)
{
	struct tiles_writer *w = writer(0);
	struct tiles *t;
	struct merkle_hash got;

	(void)state;
	for (size_t i = 0; i < 200; i++)
		tiles_append(w, &leaves[i]);
	tiles_sync(w);
	assert_true(exists("tile/0/000.p/200"));
	for (size_t i = 200; i < 256; i++)
		tiles_append(w, &leaves[i]);
	/* Full, but not known to be durable. */
	assert_true(exists("tile/0/000.p/200"));
	tiles_sync(w);
	assert_false(exists("tile/0/000.p"));
	assert_true(exists("tile/0/000"));
	assert_true(exists("tile/1/000.p/1"));
	/* Who still has the old checkpoint finds it in the full tile. */
	t = tiles_open(dir, 200);
	assert_true(tiles_root(t, 200, &got));
	assert_same(&got, &roots[200]);
	tiles_close(t);
	tiles_writer_close(w);
}

static void
a_tile_of_lines_that_were_lost_is_replaced(void **state)
{
	struct tiles_writer *w = writer(0);
	struct merkle_hash got;
	struct tiles *t;

	(void)state;
	for (size_t i = 0; i < 300; i++)
		tiles_append(w, &leaves[i < 100 ? i : i + 1]);
	tiles_sync(w);
	tiles_writer_close(w);
	w = writer(0);
	for (size_t i = 0; i < 300; i++)
		tiles_append(w, &leaves[i]);
	tiles_sync(w);
	tiles_writer_close(w);
	t = tiles_open(dir, 300);
	assert_true(tiles_root(t, 300, &got));
	assert_same(&got, &roots[300]);
	tiles_close(t);
}

static void
a_missing_or_short_tile_is_named(void **state)
{
	struct tiles_writer *w = writer(0);
	struct merkle_hash got;
	struct tiles *t;
	char path[128];

	(void)state;
	for (size_t i = 0; i < 300; i++)
		tiles_append(w, &leaves[i]);
	tiles_sync(w);
	tiles_writer_close(w);
	io_path(path, sizeof(path), "%s/tile/0/001.p/44", dir);
	assert_int_equal(truncate(path, 43 * 32), 0);
	t = tiles_open(dir, 300);
	assert_false(tiles_root(t, 300, &got));
	assert_string_equal(tiles_error(t),
	    "tile/0/001.p/44: it is too short");
	tiles_close(t);
	assert_int_equal(unlink(path), 0);
	assert_null(tiles_writer_open(dir, 300, error, sizeof(error)));
	assert_string_equal(error, "tile/0/001.p/44: it is not there");
}

static void
three_levels(void **state)
{
	struct tiles_writer *w = writer(0);
	struct merkle_hash path[TILES_MAX_PATH];
	struct merkle_hash want;
	struct merkle_hash got;
	struct tiles *t;
	size_t n;

	(void)state;
	for (size_t i = 0; i < BIG; i++) {
		tiles_append(w, &leaves[i]);
		if (i == 40000)
			tiles_sync(w);
	}
	tiles_sync(w);
	tiles_writer_close(w);
	assert_true(exists("tile/2/000.p/1"));
	assert_true(exists("tile/0/256"));
	want = plain_root(leaves, BIG);
	w = writer(BIG);
	merkle_tree_root(tiles_writer_tree(w), &got);
	assert_same(&got, &want);
	tiles_writer_close(w);
	t = tiles_open(dir, BIG);
	assert_true(tiles_root(t, BIG, &got));
	assert_same(&got, &want);
	for (uint64_t i = 0; i < BIG; i += 9973) {
		assert_true(tiles_inclusion(t, i, path, &n));
		got = follow_inclusion(i, BIG, path, n);
		assert_same(&got, &want);
	}
	tiles_close(t);
}

static void
names_are_those_of_c2sp(void **state)
{
	char name[TILES_NAME_BYTES];

	(void)state;
	assert_string_equal(tiles_name(name, 0, 0, 0), "tile/0/000");
	assert_string_equal(tiles_name(name, 3, 5, 17), "tile/3/005.p/17");
	assert_string_equal(tiles_name(name, 0, 1234067, 0),
	    "tile/0/x001/x234/067");
	assert_string_equal(tiles_name(name, 1, 1000, 256),
	    "tile/1/x001/000");
	assert_string_equal(tiles_name(name, 0, UINT64_MAX >> 8, 255),
	    "tile/0/x072/x057/x594/x037/x927/935.p/255");
}

/* --- golden vectors --- */

static struct merkle_hash
hash_of_hex(const char *hex)
{
	struct merkle_hash h;

	for (size_t i = 0; i < sizeof(h.b); i++) {
		unsigned v;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		h.b[i] = (uint8_t)v;
	}
	return h;
}

static void
load_leaves(const json_t *list)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
	{
		const char *hex = json_string_value(v);
		uint8_t data[256];
		size_t n = strlen(hex) / 2;

		for (size_t k = 0; k < n; k++) {
			unsigned byte;

			assert_int_equal(sscanf(hex + 2 * k, "%2x", &byte),
			    1);
			data[k] = (uint8_t)byte;
		}
		merkle_leaf(MERKLE_LOG, data, n, &leaves[i]);
	}
}

static void
assert_path(const json_t *want, const struct merkle_hash *path, size_t n)
{
	const json_t *list = json_object_get(want, "path");

	assert_int_equal(n, json_array_size(list));
	for (size_t i = 0; i < n; i++) {
		struct merkle_hash h =
		    hash_of_hex(json_string_value(json_array_get(list, i)));

		assert_same(&path[i], &h);
	}
}

static void
golden_proofs(void **state)
{
	json_t *all = json_load_file("test/vectors/state.json", 0, NULL);
	const json_t *e = json_object_get(all, "evidence");
	struct merkle_hash path[TILES_MAX_PATH];
	struct tiles_writer *w = writer(0);
	size_t n_leaves;
	json_t *v;
	size_t i;
	size_t n;

	(void)state;
	assert_non_null(e);
	n_leaves = json_array_size(json_object_get(e, "leaves_hex"));
	load_leaves(json_object_get(e, "leaves_hex"));
	for (i = 0; i < n_leaves; i++) {
		tiles_append(w, &leaves[i]);
		tiles_sync(w);
	}
	tiles_writer_close(w);
	json_array_foreach(json_object_get(e, "inclusion"), i, v)
	{
		struct tiles *t = tiles_open(dir, jsonx_get_int(v, "size"));

		assert_true(tiles_inclusion(t, jsonx_get_int(v, "index"),
		    path, &n));
		assert_path(v, path, n);
		tiles_close(t);
	}
	json_array_foreach(json_object_get(e, "consistency"), i, v)
	{
		struct tiles *t = tiles_open(dir, jsonx_get_int(v, "to"));

		assert_true(tiles_consistency(t, jsonx_get_int(v, "from"),
		    path, &n));
		assert_path(v, path, n);
		tiles_close(t);
	}
	json_decref(all);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(every_size_is_what_a_plain_tree_says),
		test(partial_tiles_go_when_the_tile_is_full),
		test(a_tile_of_lines_that_were_lost_is_replaced),
		test(a_missing_or_short_tile_is_named),
		test(three_levels),
		test(names_are_those_of_c2sp),
		test(golden_proofs),
	};

	make_leaves();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
