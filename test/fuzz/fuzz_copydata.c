/*
 * fuzz_copydata.c: what a hostile client sends as data of COPY FROM.
 *
 * Input: format and header, delimiter, quote, escape, a byte for the null
 * string, then the data.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "copydata.h"
#include "fuzz.h"

#define MAX_FIELDS 8

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const bool force[MAX_FIELDS] = { true, false, true };
	struct take in = { data, size };
	uint8_t what = take_u8(&in);
	struct copydata_options o;
	struct rowenc_value v[MAX_FIELDS];
	struct copydata c;
	size_t n, rows = 0, bytes = 0;
	char null[2] = { 0 };

	copydata_defaults(&o, (enum copydata_format)(what % 3));
	o.header = (what & 4) != 0;
	o.delimiter = (char)take_u8(&in);
	o.quote = (char)take_u8(&in);
	o.escape = (char)take_u8(&in);
	null[0] = (char)take_u8(&in);
	o.null = null;
	o.force_null = (what & 8) != 0 ? force : NULL;
	o.force_not_null = (what & 16) != 0 ? force : NULL;
	copydata_open(&c, &o, in.p, in.left);
	while (copydata_row(&c, v, MAX_FIELDS, &n) == COPYDATA_ROW) {
		must(n <= MAX_FIELDS);
		for (size_t i = 0; i < n; i++) {
			must(v[i].data != NULL || v[i].len == 0);
			if (v[i].len > 0)
				must(memchr(v[i].data, v[i].data[v[i].len - 1],
					 v[i].len) != NULL);
			/* A forced field is as long as the null string. */
			bytes += v[i].len > 1 ? v[i].len - 1 : 0;
		}
		rows++;
	}
	must(bytes <= in.left);
	must(rows <= in.left + 1);
	must(copydata_row(&c, v, MAX_FIELDS, &n) == COPYDATA_END);
	copydata_close(&c);
	if (rows > 1)
		fuzz_accepted = 1;
	return 0;
}
