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

#include "record.h"
#include "spool.h"

/*
 * DDL that the proxy saw commit: of this frame of the spool, whose record is r;
 * normalized: its statements without literals.
 */
json_t *schemachange_witnessed(const struct spool_frame *f,
	const struct record *r, bool normalized);

#endif
