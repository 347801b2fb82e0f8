/*
 * share.h: definitions of tables that one child looked up, for the others.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SHARE_H
#define PGW_SHARE_H

#include "arena.h"
#include "attr.h"
#include "catalog.h"
#include "merkle.h"

/* Of what a name means in this session, if that has not changed it. */
void share_key(
    const struct session *s, const char *written, struct merkle_hash *key);

/* NULL: there is none, or the server says that it is another one. */
PGW_MUSTCHECK struct catalog_table *share_find(
    struct session *s, const char *written, struct arena *a);
/* The same without asking the server. */
PGW_MUSTCHECK struct catalog_table *share_read(
    const struct session *s, const char *written, struct arena *a);

/* generation: of before the look-up. */
void share_put(
    struct session *s, uint64_t generation, const struct catalog_table *t);

#endif
