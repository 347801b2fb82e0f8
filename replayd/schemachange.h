/*
 * schemachange.h: the evidence line SchemaChange: definitions changed, by DDL
 * that the proxy saw, or by none.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCHEMACHANGE_H
#define PGW_SCHEMACHANGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "record.h"
#include "spool.h"

/*
 * DDL that the proxy saw commit: of this frame of the spool, whose record is r;
 * normalized: its statements without literals.
 */
json_t *schemachange_witnessed(const struct spool_frame *f,
	const struct record *r, bool normalized);

/* A table that is defined otherwise, and no DDL explains it (drift.h). */
struct schemachange {
	const char *database;
	const char *schema;
	const char *table;
	const char *old;	/* lines; NULL: it was not there */
	const char *new;	/* NULL: it is not there any more */
	/* "opaque": something ran that may have done it unseen; or "" */
	const char *reason;
};

/* Appends it as a worker's message to the recorder, length and kind before. */
void schemachange_encode(const struct schemachange *c, struct buf *out);
/* The evidence line of such a message, without its length; NULL: it is none. */
PGW_MUSTCHECK json_t *schemachange_found(const uint8_t *bytes, size_t n);

#endif
