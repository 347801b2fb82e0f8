/*
 * test_merkle.c: both kinds of tree against RFC 6962 written out naively and
 * against the golden vectors of test/vectors/state.json.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "merkle.h"
#include "vectors.h"

#define MAX_LEAVES 300

static size_t
unhex(const char *hex, uint8_t *out, size_t max)
{
	size_t n = strlen(hex) / 2;

	assert_true(n <= max);
	for (size_t i = 0; i < n; i++) {
		unsigned v;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	return n;
}

static void
hash_of_json(const json_t *hex, struct merkle_hash *h)
{
	assert_true(
	    merkle_unhex(json_string_value(hex), json_string_length(hex), h));
}

/* MTH() of RFC 6962, 2.1, as it is written there. */
static void
naive_root(enum merkle_kind kind, const struct merkle_hash *leaves, size_t n,
	struct merkle_hash *out)
{
	struct merkle_hash left;
	struct merkle_hash right;
	size_t k = 1;

	if (n == 1) {
		*out = leaves[0];
		return;
	}
	while (k * 2 < n)
		k *= 2;
	naive_root(kind, leaves, k, &left);
	naive_root(kind, leaves + k, n - k, &right);
	merkle_node(kind, &left, &right, out);
}

static void
check_all_sizes(enum merkle_kind kind)
{
	static struct merkle_hash leaves[MAX_LEAVES];
	struct merkle_tree tree;
	struct merkle_hash want;
	struct merkle_hash got;

	merkle_tree_init(&tree, kind);
	for (uint32_t i = 0; i < MAX_LEAVES; i++) {
		merkle_leaf(kind, &i, sizeof(i), &leaves[i]);
		merkle_tree_append(&tree, &leaves[i]);
		assert_int_equal(tree.size, i + 1);
		naive_root(kind, leaves, i + 1, &want);
		merkle_tree_root(&tree, &got);
		assert_memory_equal(got.b, want.b, sizeof(got.b));
	}
}

static void
every_size_equals_the_naive_tree(void **state)
{
	(void)state;
	check_all_sizes(MERKLE_STATE);
	check_all_sizes(MERKLE_LOG);
}

static void
the_empty_roots_are_the_golden_ones(void **state)
{
	json_t *v = vectors_load();
	struct merkle_tree tree;
	struct merkle_hash got;
	char hex[MERKLE_HEX_BYTES];

	(void)state;
	merkle_tree_init(&tree, MERKLE_STATE);
	merkle_tree_root(&tree, &got);
	assert_string_equal(merkle_hex(&got, hex),
	    json_string_value(json_object_get(v, "state_empty_root")));
	merkle_tree_init(&tree, MERKLE_LOG);
	merkle_tree_root(&tree, &got);
	assert_string_equal(merkle_hex(&got, hex),
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	json_decref(v);
}

static void
log_roots_are_the_golden_ones(void **state)
{
	json_t *v = vectors_load();
	json_t *e = json_object_get(v, "evidence");
	json_t *leaves = json_object_get(e, "leaves_hex");
	json_t *roots = json_object_get(e, "roots");
	struct merkle_tree tree;
	struct merkle_hash got;
	struct merkle_hash want;

	(void)state;
	assert_int_equal(json_array_size(roots), json_array_size(leaves) + 1);
	merkle_tree_init(&tree, MERKLE_LOG);
	for (size_t i = 0; i < json_array_size(roots); i++) {
		uint8_t data[256];
		size_t n;

		merkle_tree_root(&tree, &got);
		hash_of_json(json_array_get(roots, i), &want);
		assert_memory_equal(got.b, want.b, sizeof(got.b));
		if (i == json_array_size(leaves))
			break;
		n = unhex(json_string_value(json_array_get(leaves, i)), data,
		    sizeof(data));
		merkle_leaf(MERKLE_LOG, data, n, &got);
		merkle_tree_append(&tree, &got);
	}
	json_decref(v);
}

/* RFC 9162, 2.1.3.2: the root from a leaf and its inclusion path. */
static void
root_of_path(uint64_t index, uint64_t size, struct merkle_hash *h,
	const json_t *path)
{
	uint64_t sn = size - 1;

	for (size_t i = 0; i < json_array_size(path); i++) {
		struct merkle_hash p;

		hash_of_json(json_array_get(path, i), &p);
		if ((index & 1) == 1 || index == sn) {
			merkle_node(MERKLE_LOG, &p, h, h);
			while ((index & 1) == 0 && index != 0) {
				index >>= 1;
				sn >>= 1;
			}
		} else
			merkle_node(MERKLE_LOG, h, &p, h);
		index >>= 1;
		sn >>= 1;
	}
}

static void
inclusion_paths_give_the_golden_roots(void **state)
{
	json_t *v = vectors_load();
	json_t *e = json_object_get(v, "evidence");
	json_t *leaves = json_object_get(e, "leaves_hex");
	json_t *p;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(e, "inclusion"), i, p)
	{
		uint64_t index = (uint64_t)json_integer_value(
		    json_object_get(p, "index"));
		uint64_t size = (uint64_t)json_integer_value(
		    json_object_get(p, "size"));
		uint8_t data[256];
		struct merkle_hash got;
		struct merkle_hash want;
		size_t n = unhex(
		    json_string_value(json_array_get(leaves, index)), data,
		    sizeof(data));

		merkle_leaf(MERKLE_LOG, data, n, &got);
		root_of_path(index, size, &got, json_object_get(p, "path"));
		hash_of_json(json_array_get(json_object_get(e, "roots"), size),
		    &want);
		assert_memory_equal(got.b, want.b, sizeof(got.b));
	}
	json_decref(v);
}

/* The path of consistency begins with the old root if `from` is a power of 2:
 * it is left out of the proof then; here only the new root is rebuilt. */
static void
consistency_paths_give_the_golden_roots(void **state)
{
	json_t *v = vectors_load();
	json_t *e = json_object_get(v, "evidence");
	json_t *roots = json_object_get(e, "roots");
	json_t *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(e, "consistency"), i, c)
	{
		uint64_t from = (uint64_t)json_integer_value(
		    json_object_get(c, "from"));
		uint64_t to = (uint64_t)json_integer_value(
		    json_object_get(c, "to"));
		json_t *path = json_object_get(c, "path");
		uint64_t fn = from - 1;
		uint64_t sn = to - 1;
		struct merkle_hash old;
		struct merkle_hash new;
		struct merkle_hash p;
		size_t k = 0;

		if (from == to) {
			assert_int_equal(json_array_size(path), 0);
			continue;
		}
		while ((fn & 1) == 1) {
			fn >>= 1;
			sn >>= 1;
		}
		hash_of_json((from & (from - 1)) == 0
			? json_array_get(roots, from)
			: json_array_get(path, k++),
		    &old);
		new = old;
		for (; k < json_array_size(path); k++) {
			hash_of_json(json_array_get(path, k), &p);
			if ((fn & 1) == 1 || fn == sn) {
				merkle_node(MERKLE_LOG, &p, &old, &old);
				merkle_node(MERKLE_LOG, &p, &new, &new);
				while ((fn & 1) == 0 && fn != 0) {
					fn >>= 1;
					sn >>= 1;
				}
			} else
				merkle_node(MERKLE_LOG, &new, &p, &new);
			fn >>= 1;
			sn >>= 1;
		}
		hash_of_json(json_array_get(roots, to), &p);
		assert_memory_equal(new.b, p.b, sizeof(p.b));
		hash_of_json(json_array_get(roots, from), &p);
		assert_memory_equal(old.b, p.b, sizeof(p.b));
	}
	json_decref(v);
}

static void
parts_are_hashed_one_after_the_other(void **state)
{
	const struct merkle_part three[] = { { "a", 1 }, { NULL, 0 },
		{ "bc", 2 } };
	struct merkle_hash h;
	char hex[MERKLE_HEX_BYTES];

	(void)state;
	merkle_sha256(three, 3, &h);
	assert_string_equal(merkle_hex(&h, hex),
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* Lengths around the ends of blocks, in three parts of all sizes. */
static void
parts_of_all_sizes_agree_with_libsodium(void **state)
{
	uint8_t bytes[300];
	struct merkle_hash a, b;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + (i >> 3));
	for (size_t n = 0; n <= sizeof(bytes); n++)
		for (size_t i = 0; i <= n; i += i < 3 || i > 60 ? 1 : 19)
			for (size_t k = i; k <= n; k += 1 + (n - k) / 7) {
				const struct merkle_part parts[] = {
					{ bytes, i },
					{ bytes + i, k - i },
					{ bytes + k, n - k },
				};

				merkle_sha256(parts, 3, &a);
				crypto_hash_sha256(b.b, bytes, n);
				assert_memory_equal(&a, &b, sizeof(a));
			}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_of_all_sizes_agree_with_libsodium),
		cmocka_unit_test(every_size_equals_the_naive_tree),
		cmocka_unit_test(the_empty_roots_are_the_golden_ones),
		cmocka_unit_test(log_roots_are_the_golden_ones),
		cmocka_unit_test(inclusion_paths_give_the_golden_roots),
		cmocka_unit_test(consistency_paths_give_the_golden_roots),
		cmocka_unit_test(parts_are_hashed_one_after_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
