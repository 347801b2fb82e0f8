/*
 * scrub.h: statement text without its literals (log.statements=normalized).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCRUB_H
#define PGW_SCRUB_H

#include <stddef.h>

#include "buf.h"

/*
 * Appends sql with string, bit string and number constants as `?` and
 * comments dropped.  An unterminated constant takes the rest with it.
 */
void scrub_literals(const char *sql, size_t len, struct buf *out);

#endif
