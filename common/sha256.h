/*
 * sha256.h: SHA-256 by the processor's own instructions, for common/merkle.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SHA256_H
#define PGW_SHA256_H

#include <stdbool.h>
#include <stddef.h>

#include "merkle.h"

/* This processor has them. */
bool sha256_is_native(void);

/* Only if it does: the hash of all parts, one after the other. */
void sha256_native(const struct merkle_part *parts, size_t n,
	struct merkle_hash *out);

#endif
