/*
 * fuzz_share.c: a table's definition from memory that every child may write:
 * what is taken for one comes out again as it went in.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "../../backend/share.h"
#include "fuzz.h"
#include "shcache.h"

#define WRITTEN "\"t\""

static struct heritage heritage;

static void
put_bytes(const struct session *s, const uint8_t *data, size_t size)
{
	struct merkle_hash key;
	struct buf b = { 0 };

	share_key(s, WRITTEN, &key);
	buf_put(&b, data, size);
	shcache_put(heritage.shared, 0, shcache_generation(heritage.shared),
	    INT64_MAX, &key, &b);
	buf_free(&b);
}

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
must_be_same(const struct catalog_table *a, const struct catalog_table *b)
{
	must(a->oid == b->oid && a->sensitive == b->sensitive);
	must(same(a->schema, b->schema) && same(a->name, b->name));
	must(same(a->fingerprint, b->fingerprint) && same(a->quick, b->quick));
	must(a->shape.n_columns == b->shape.n_columns);
	must(a->shape.n_key == b->shape.n_key);
	for (unsigned i = 0; i < a->shape.n_columns; i++) {
		must(same(a->shape.columns[i].name, b->shape.columns[i].name));
		must(same(
		    a->columns[i].default_call, b->columns[i].default_call));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t packet[] = { 0, 0, 0, 9, 0, 3, 0, 0, 0 };
	struct session s = { .heritage = &heritage,
		.startup = { .data = packet, .len = sizeof(packet) } };
	struct arena *a = arena_new((size_t)16 * 1024 * 1024);
	const struct catalog_table *t, *again;

	if (heritage.shared == NULL)
		heritage.shared = shcache_new();
	shcache_forget(heritage.shared);
	put_bytes(&s, data, size);
	t = share_read(&s, WRITTEN, a);
	if (t != NULL) {
		fuzz_accepted = 1;
		shcache_forget(heritage.shared);
		must(share_read(&s, WRITTEN, a) == NULL);
		share_put(&s, shcache_generation(heritage.shared), t);
		again = share_read(&s, WRITTEN, a);
		must(again != NULL);
		must_be_same(t, again);
	}
	arena_free(a);
	return 0;
}
