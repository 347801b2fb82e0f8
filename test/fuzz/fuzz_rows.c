/*
 * fuzz_rows.c: DataRow messages and composite texts of a hostile server.
 *
 * Input: one byte for the number of columns, then the body of a DataRow.  Its
 * columns are split as composites, which become rows and are split again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "../../backend/exchange.h"
#include "fuzz.h"
#include "rowenc.h"

#define MAX_COLUMNS 16

static struct rowenc_column columns[MAX_COLUMNS] = {
	{ "b", "integer", 1, 0, 0 }, { "a", "text", 0, 0, 0 },
	{ "aa", "text", 0, 0, 0 }, { "", "", 0, 0, 0 },
	{ "c", "text", 2, 'a', 0 }, { "d", "text", 0, 0, 's' },
	{ "e", "text", 0, 0, 0 }, { "f", "text", 0, 0, 0 },
	{ "g", "text", 0, 0, 0 }, { "h", "text", 0, 0, 0 },
	{ "i", "text", 0, 0, 0 }, { "j", "text", 0, 0, 0 },
	{ "k", "text", 0, 0, 0 }, { "l", "text", 0, 0, 0 },
	{ "m", "text", 0, 0, 0 }, { "n", "text", 0, 0, 0 }
};

static bool
same(const struct rowenc_value *a, const struct rowenc_value *b)
{
	if (a->data == NULL || b->data == NULL)
		return a->data == b->data;
	return a->len == b->len &&
	       (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* What was encoded is read back as it was. */
static void
round_trip(const struct rowenc_value *values, unsigned n, struct arena *a)
{
	struct rowenc_shape shape = { .columns = columns, .n_columns = n };
	struct rowenc_value back[MAX_COLUMNS];
	struct rowenc_row row;

	if (!rowenc_shape_init(&shape, a) ||
	    !rowenc_encode(&shape, values, a, &row))
		return;
	fuzz_accepted = 1;
	must(rowenc_decode(&shape, &row, back));
	for (unsigned i = 0; i < n; i++)
		must(same(&values[i], &back[i]));
	must(rowenc_compare(&row, &row) == 0);
}

static void
split(const struct exchange_value *v, unsigned n, struct arena *a)
{
	struct rowenc_value values[MAX_COLUMNS];
	size_t sum = 0;

	if (v->data == NULL ||
	    !rowenc_split_composite(v->data, v->len, a, values, n))
		return;
	for (unsigned i = 0; i < n; i++)
		sum += values[i].len;
	must(sum + n + 1 <= v->len || n == 0);
	round_trip(values, n, a);
}

/* Bytes that claim to be a row. */
static void
decode(const struct exchange_value *v, unsigned n, struct arena *a)
{
	struct rowenc_shape shape = { .columns = columns, .n_columns = n };
	struct rowenc_value values[MAX_COLUMNS];
	struct rowenc_row row = { .id = v->data, .id_len = v->len / 2 };

	if (v->data == NULL)
		return;
	row.bytes = v->data + row.id_len;
	row.bytes_len = v->len - row.id_len;
	if (!rowenc_shape_init(&shape, a) ||
	    !rowenc_decode(&shape, &row, values))
		return;
	for (unsigned i = 0; i < n; i++)
		must(values[i].data == NULL ||
		     (values[i].data >= v->data &&
			 values[i].len <=
			     (size_t)(v->data + v->len - values[i].data)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct take in = { data, size };
	unsigned n = take_u8(&in) % (MAX_COLUMNS + 1);
	struct message m = { .type = 'D', .body = in.p, .len = in.left };
	struct exchange_value values[MAX_COLUMNS];
	struct exchange_value whole = { in.p, in.left };
	struct arena *a = arena_new(1 << 20);

	if (exchange_row_values(&m, values, n))
		for (unsigned i = 0; i < n; i++) {
			split(&values[i], n, a);
			decode(&values[i], n, a);
		}
	split(&whole, n, a);
	decode(&whole, n, a);
	arena_free(a);
	return 0;
}
