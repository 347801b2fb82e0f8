/*
 * fuzz_record.c: a record from a hostile child, on its way through replayd:
 * decoded, written as an evidence line, its roots calculated, its rows
 * compared.
 *
 * Input: one byte of choices, then what lies in the lane.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "../../replayd/compare.h"
#include "fuzz.h"
#include "fuzz_text.h"
#include "record.h"

#define ARENA_BYTES ((size_t)64 * 1024 * 1024)

static struct line line;

/* Replay that calculates the rows before, in place of those after. */
static void
compare(struct record *r, struct arena *a)
{
	struct compare_table *c = arena_zalloc(
	    a, (r->n_tables + 1) * sizeof(*c));
	struct verdict v = { .reason = "", .detail = "" };
	struct txn x = { .tx_id = 1 };

	if (c == NULL || !compare_record_roots(r, a))
		return;
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct record_table *t = &r->tables[i];

		c[i].n_rows = t->n_before;
		c[i].rows = arena_alloc(
		    a, (t->n_before + 1) * sizeof(*c[i].rows));
		if (c[i].rows == NULL)
			return;
		for (size_t k = 0; k < t->n_before; k++)
			c[i].rows[k] = t->before[k].row;
	}
	if (!compare_tables(r, c, a, &v))
		return;
	line_verdict(&line, &x, &v, NULL);
	fuzz_line_is_json(&line);
}

static void
encode_again(const struct record *r, const uint8_t *p, size_t n)
{
	struct buf b = { 0 };

	record_encode(r, &b);
	must(b.len == n && memcmp(b.data, p, n) == 0);
	buf_free(&b);
}

static void
outcome(const uint8_t *p, size_t n)
{
	struct record_outcome_message m;

	if (!record_outcome_decode(p, n, &m))
		return;
	fuzz_accepted = 1;
	line_outcome(&line, 1, &m);
	fuzz_line_is_json(&line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct take in = { data, size };
	uint8_t choice = take_u8(&in);
	struct line_context c = { .row_data = choice & 1,
		.normalized = choice & 2 };
	struct arena *a = arena_new(ARENA_BYTES);
	struct record r;

	if (choice & 4)
		outcome(in.p, in.left);
	else if (record_decode(in.p, in.left, a, &r)) {
		fuzz_accepted = 1;
		encode_again(&r, in.p, in.left);
		line_record(&line, 1, &r, &c);
		fuzz_line_is_json(&line);
		/* Replay is given records with honest roots. */
		if (choice & 8)
			record_set_roots(&r);
		compare(&r, a);
	}
	arena_free(a);
	return 0;
}
