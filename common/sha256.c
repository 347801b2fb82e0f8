/*
 * sha256.c: SHA-256 by the processor's own instructions.
 *
 * What is hashed here is mostly shorter than two blocks, where a library's
 * way to its code costs several times the hashing.  FIPS 180-4; test_merkle
 * compares it with OpenSSL's for all lengths around the blocks' ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "sha256.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define BLOCK 64
#define LENGTH_AT (BLOCK - 8) /* the message's, in bits, in its last block */
#define WITH_SHA __attribute__((target("sha,sse4.1")))
#define CPUID_SHA (1u << 29)

/* clang-format off */
static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};
/* clang-format on */

/*
 * The working variables as the instructions want them, and the sixteen words
 * of the schedule that are needed next.
 */
struct sha {
	__m128i abef;
	__m128i cdgh;
	__m128i w[4];
};

bool
sha256_is_native(void)
{
	unsigned a, b, c, d;

	return __builtin_cpu_supports("sse4.1") &&
	       __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
	       (b & CPUID_SHA) != 0;
}

/* Rounds 4 * i to 4 * i + 3, and words 4 * (i + 4) on. */
WITH_SHA static inline __attribute__((always_inline)) void
four_rounds(struct sha *s, int i)
{
	__m128i *w = &s->w[i & 3];
	__m128i after = s->w[(i + 1) & 3];
	__m128i last = s->w[(i + 3) & 3];
	__m128i k = _mm_add_epi32(*w,
	    _mm_load_si128((const __m128i *)(const void *)round_constants + i));

	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, k);
	s->abef = _mm_sha256rnds2_epu32(
	    s->abef, s->cdgh, _mm_shuffle_epi32(k, 0x0e));
	if (i >= 12)
		return;
	*w = _mm_add_epi32(_mm_sha256msg1_epu32(*w, after),
	    _mm_alignr_epi8(last, s->w[(i + 2) & 3], 4));
	*w = _mm_sha256msg2_epu32(*w, last);
}

WITH_SHA static void
take_block(struct sha *s, const uint8_t *p)
{
	const __m128i big_endian = _mm_set_epi64x(
	    0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i abef = s->abef, cdgh = s->cdgh;

	for (int i = 0; i < 4; i++)
		s->w[i] = _mm_shuffle_epi8(
		    _mm_loadu_si128((const __m128i *)(const void *)p + i),
		    big_endian);
	four_rounds(s, 0);
	four_rounds(s, 1);
	four_rounds(s, 2);
	four_rounds(s, 3);
	four_rounds(s, 4);
	four_rounds(s, 5);
	four_rounds(s, 6);
	four_rounds(s, 7);
	four_rounds(s, 8);
	four_rounds(s, 9);
	four_rounds(s, 10);
	four_rounds(s, 11);
	four_rounds(s, 12);
	four_rounds(s, 13);
	four_rounds(s, 14);
	four_rounds(s, 15);
	s->abef = _mm_add_epi32(s->abef, abef);
	s->cdgh = _mm_add_epi32(s->cdgh, cdgh);
}

/* H(0): A, B, E, F and C, D, G, H, the first of each highest. */
WITH_SHA static void
begin(struct sha *s)
{
	s->abef = _mm_set_epi32(
	    0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
	s->cdgh = _mm_set_epi32(
	    0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
}

WITH_SHA static void
put_hash(const struct sha *s, struct merkle_hash *out)
{
	const __m128i bytes = _mm_set_epi64x(
	    0x0c0d0e0f08090a0b, 0x0405060700010203);
	/* The bytes of each word, then its place: A is in the highest lane. */
	__m128i abef = _mm_shuffle_epi32(
	    _mm_shuffle_epi8(s->abef, bytes), 0x1b);
	__m128i cdgh = _mm_shuffle_epi32(
	    _mm_shuffle_epi8(s->cdgh, bytes), 0x1b);
	__m128i *to = (__m128i *)(void *)out->b;

	_mm_storeu_si128(to, _mm_unpacklo_epi64(abef, cdgh));
	_mm_storeu_si128(to + 1, _mm_unpackhi_epi64(abef, cdgh));
}

/* The padding: a bit, zeros, the length; in one block or in two. */
WITH_SHA static void
end(struct sha *s, uint8_t block[BLOCK], size_t used, uint64_t total)
{
	uint64_t bits = __builtin_bswap64(total * 8);

	block[used++] = 0x80;
	memset(block + used, 0, BLOCK - used);
	if (used > LENGTH_AT) {
		take_block(s, block);
		memset(block, 0, BLOCK);
	}
	memcpy(block + LENGTH_AT, &bits, sizeof(bits));
	take_block(s, block);
}

WITH_SHA void
sha256_native(
    const struct merkle_part *parts, size_t n, struct merkle_hash *out)
{
	uint8_t block[BLOCK];
	size_t used = 0;
	uint64_t total = 0;
	struct sha s;

	begin(&s);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *p = parts[i].data;
		size_t left = parts[i].len;

		total += left;
		while (left > 0) {
			size_t some = BLOCK - used < left ? BLOCK - used : left;

			if (some == BLOCK) {
				take_block(&s, p);
			} else {
				memcpy(block + used, p, some);
				used += some;
				if (used == BLOCK) {
					take_block(&s, block);
					used = 0;
				}
			}
			p += some;
			left -= some;
		}
	}
	end(&s, block, used, total);
	put_hash(&s, out);
}

#else

bool
sha256_is_native(void)
{
	return false;
}

void
sha256_native(
    const struct merkle_part *parts, size_t n, struct merkle_hash *out)
{
	(void)parts;
	(void)n;
	(void)out;
}

#endif
