/*
 * fuzz_verdict.c: a verdict from a replay worker that runs hostile SQL: the
 * recorder's decoder, and the evidence line made of it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "../../replayd/verdict.h"
#include "fuzz.h"
#include "fuzz_text.h"

static struct line line;

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
round_trip(const struct verdict *v, struct arena *a)
{
	struct buf b = { 0 };
	struct verdict w;

	verdict_encode(v, &b);
	must(verdict_decode(b.data, b.len, a, &w));
	must(w.tx_id == v->tx_id && w.kind == v->kind);
	must(w.n_mismatches == v->n_mismatches);
	must(same(w.reason, v->reason) && same(w.detail, v->detail));
	for (size_t i = 0; i < w.n_mismatches; i++)
		must(same(w.mismatches[i].claimed, v->mismatches[i].claimed));
	buf_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_new((size_t)16 * 1024 * 1024);
	struct txn x = { .tx_id = 1, .has_roots = true };
	struct verdict v;

	if (verdict_decode(data, size, a, &v)) {
		fuzz_accepted = 1;
		line_verdict(&line, &x, &v, "bundles/1");
		fuzz_line_is_json(&line);
		round_trip(&v, a);
	}
	arena_free(a);
	return 0;
}
