/*
 * test_proof.c: proofs of single lines, from the tiles and as files.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../include/ioutil.h"
#include "../../replayd/evidence.h"
#include "../../replayd/evlog.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/proof.h"
#include "../../replayd/tiles.h"
#include "scratch.h"

#define MAX_LINES 300

static char dir[SCRATCH_BYTES];
static char error[1024];
static struct key_signer key;
static struct merkle_hash leaves[MAX_LINES];
static struct buf lines[MAX_LINES];

static void
read_lines(void)
{
	struct evlog *l = evlog_open(dir);
	struct evlog_line line;
	size_t n = 0;

	assert_non_null(l);
	while (evlog_next(l, &line, error, sizeof(error)) == EVLOG_LINE) {
		buf_put(&lines[n], line.text, line.len);
		merkle_leaf(MERKLE_LOG, line.text, line.len, &leaves[n++]);
	}
	assert_int_equal(n, MAX_LINES);
	evlog_close(l);
}

/* A log of MAX_LINES lines, signed once. */
static int
set_up(void **state)
{
	struct evidence *e;

	(void)state;
	if (!scratch_make(dir, "proof") || !key_generate("test/log", &key))
		return -1;
	e = evidence_open(dir, &key, 1 << 20, error, sizeof(error));
	if (e == NULL)
		return -1;
	for (uint64_t i = 0; i < MAX_LINES; i++) {
		json_t *body = jsonx_object();

		jsonx_set(body, "tx_id", jsonx_int(i + 1));
		evidence_append(e, "Test", body);
	}
	evidence_checkpoint(e);
	evidence_close(e);
	read_lines();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < MAX_LINES; i++)
		buf_free(&lines[i]);
	return scratch_remove(dir);
}

/* RFC 6962, 2.1.1, as it is written there. */
static size_t
path_by_definition(const struct merkle_hash *d, uint64_t n, uint64_t m,
	struct merkle_hash *path)
{
	struct merkle_tree t;
	uint64_t k = 1;
	size_t len;

	if (n == 1)
		return 0;
	while (k * 2 < n)
		k *= 2;
	merkle_tree_init(&t, MERKLE_LOG);
	if (m < k) {
		len = path_by_definition(d, k, m, path);
		for (uint64_t i = k; i < n; i++)
			merkle_tree_append(&t, &d[i]);
	} else {
		len = path_by_definition(d + k, n - k, m - k, path);
		for (uint64_t i = 0; i < k; i++)
			merkle_tree_append(&t, &d[i]);
	}
	merkle_tree_root(&t, &path[len]);
	return len + 1;
}

static void
every_leaf_of_every_size_is_proven(void **state)
{
	struct merkle_hash path[TILES_MAX_PATH];
	struct merkle_hash root;
	struct merkle_hash got;
	struct merkle_tree t;

	(void)state;
	merkle_tree_init(&t, MERKLE_LOG);
	for (uint64_t size = 1; size <= 70; size++) {
		merkle_tree_append(&t, &leaves[size - 1]);
		merkle_tree_root(&t, &root);
		for (uint64_t i = 0; i < size; i++) {
			size_t n = path_by_definition(leaves, size, i, path);

			assert_true(proof_root(&leaves[i], i, size, path, n,
			    &got));
			assert_memory_equal(&got, &root, sizeof(root));
			if (n > 0)
				assert_false(proof_root(&leaves[i], i, size,
				    path, n - 1, &got));
			path[n] = root;
			assert_false(proof_root(&leaves[i], i, size, path,
			    n + 1, &got));
			if (n > 0 &&
			    proof_root(&leaves[i], i ^ 1, size, path, n, &got))
				assert_memory_not_equal(&got, &root,
				    sizeof(root));
		}
		assert_false(proof_root(&leaves[0], size, size, path, 0,
		    &got));
	}
}

static void
make_proof(uint64_t index, struct proof *p)
{
	struct tiles *t = tiles_open(dir, MAX_LINES);
	char path[128];

	memset(p, 0, sizeof(*p));
	io_path(path, sizeof(path), "%s/checkpoint", dir);
	p->index = index;
	buf_put(&p->line, lines[index].data, lines[index].len);
	assert_true(tiles_inclusion(t, index, p->path, &p->n_path));
	assert_true(io_read_file(path, &p->checkpoint, 4096));
	tiles_close(t);
}

static void
the_tiles_give_the_same_paths(void **state)
{
	struct merkle_hash path[TILES_MAX_PATH];
	struct proof p;

	(void)state;
	for (uint64_t i = 0; i < MAX_LINES; i += 7) {
		size_t n = path_by_definition(leaves, MAX_LINES, i, path);

		make_proof(i, &p);
		assert_int_equal(p.n_path, n);
		assert_memory_equal(p.path, path, n * sizeof(*path));
		proof_free(&p);
	}
}

static bool
check(const void *text, size_t len)
{
	struct checkpoint head;
	struct proof p;
	bool ok = proof_parse(text, len, &p, error, sizeof(error)) &&
	    proof_check(&p, &key.public, 1, &head, error, sizeof(error));

	proof_free(&p);
	return ok;
}

static void
a_file_is_read_as_it_was_written(void **state)
{
	static const char start[] = "c2sp.org/tlog-proof@v1\nextra ";
	struct buf text = { 0 };
	struct proof p;
	struct proof back;

	(void)state;
	make_proof(299, &p);
	proof_put(&p, &text);
	assert_memory_equal(text.data, start, sizeof(start) - 1);
	assert_true(check(text.data, text.len));
	assert_true(proof_parse(text.data, text.len, &back, error,
	    sizeof(error)));
	assert_int_equal(back.index, 299);
	assert_int_equal(back.line.len, p.line.len);
	assert_memory_equal(back.line.data, p.line.data, p.line.len);
	assert_int_equal(back.n_path, p.n_path);
	assert_memory_equal(back.path, p.path, p.n_path * sizeof(*p.path));
	proof_free(&back);
	proof_free(&p);
	buf_free(&text);
}

static void
no_changed_byte_is_accepted(void **state)
{
	struct buf text = { 0 };
	struct proof p;

	(void)state;
	make_proof(130, &p);
	proof_put(&p, &text);
	proof_free(&p);
	for (size_t i = 0; i < text.len; i++) {
		uint8_t was = text.data[i];

		for (unsigned bit = 0; bit < 8; bit++) {
			text.data[i] = (uint8_t)(was ^ 1u << bit);
			if (check(text.data, text.len))
				fail_msg("byte %zu, bit %u", i, bit);
		}
		text.data[i] = was;
		if (check(text.data, i))
			fail_msg("cut at byte %zu", i);
	}
	assert_true(check(text.data, text.len));
	buf_free(&text);
}

static void
another_line_or_key_is_not_accepted(void **state)
{
	struct buf text = { 0 };
	struct key_signer was = key;
	struct proof p;

	(void)state;
	make_proof(10, &p);
	p.index = 11;
	proof_put(&p, &text);
	assert_false(check(text.data, text.len));
	buf_reset(&text);
	p.index = 10;
	proof_put(&p, &text);
	assert_true(check(text.data, text.len));
	assert_true(key_generate("test/log", &key));
	assert_false(check(text.data, text.len));
	key = was;
	proof_free(&p);
	buf_free(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_leaf_of_every_size_is_proven),
		cmocka_unit_test(the_tiles_give_the_same_paths),
		cmocka_unit_test(a_file_is_read_as_it_was_written),
		cmocka_unit_test(no_changed_byte_is_accepted),
		cmocka_unit_test(another_line_or_key_is_not_accepted),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
