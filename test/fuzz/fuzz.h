/*
 * fuzz.h: what fuzz targets share: a reader of decisions, and must().
 *
 * A target is one file fuzz_NAME.c with a LLVMFuzzerTestOneInput(); its inputs
 * are the files of corpus/NAME.  With libFuzzer it finds more (make fuzz);
 * with driver.c it runs over the corpus alone (make check).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_FUZZ_H
#define PGW_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise is a finding, as a crash is. */
#define must(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
			    __LINE__, #what); \
			abort(); \
		} \
	} while (0)

/*
 * Set when an input was taken for what it claims to be.  driver.c wants that of
 * files whose names begin with "good", so that they stay good when a format
 * changes.
 */
__attribute__((weak)) int fuzz_accepted;

/* Takes decisions off the front of an input; zeroes behind its end. */
struct take {
	const uint8_t *p;
	size_t left;
};

static inline uint8_t
take_u8(struct take *t)
{
	if (t->left == 0)
		return 0;
	t->left--;
	return *t->p++;
}

static inline uint32_t
take_u32(struct take *t)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 8 | take_u8(t);
	return v;
}

/* Up to n bytes; *got says how many there were. */
static inline const uint8_t *
take_bytes(struct take *t, size_t n, size_t *got)
{
	const uint8_t *p = t->p;

	*got = n < t->left ? n : t->left;
	t->p += *got;
	t->left -= *got;
	return p;
}

#endif
