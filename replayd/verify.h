/*
 * verify.h: checks an evidence log offline, with a public key.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_VERIFY_H
#define PGW_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "attr.h"
#include "key.h"

struct verify_options {
	const char *log_dir;
	const struct key_public *keys;
	size_t n_keys;
	const char *const *old; /* paths of older checkpoints */
	size_t n_old;
	bool final; /* nothing may be pending or unsigned */
	bool json;
};

/* Writes the report; true if all is well.  Reads only. */
PGW_MUSTCHECK bool verify_log(const struct verify_options *o, FILE *out);

#endif
