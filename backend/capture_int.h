/*
 * capture_int.h: what the files of capture share; included by them alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CAPTURE_INT_H
#define PGW_CAPTURE_INT_H

#include "capture.h"

/* --- capture.c --- */

/* The list has that name. */
PGW_MUSTCHECK bool capture_names(
    const char *const *list, size_t n, const char *name);

/* "UPDATE 3": what the server says it did. */
size_t capture_tag_rows(const struct capture *c);

/* The target's rows that it can touch are read before it. */
bool capture_finds_rows(const struct capture *c);

/* --- capture_put.c --- */

/* SELECT ROW(t.*) FROM the target as the client wrote it, WHERE as it did;
 * image: the row as text, so called. */
void capture_put_select(
    struct buf *sql, const struct capture *c, bool lock, bool image);

#endif
