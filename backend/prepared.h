/*
 * prepared.h: what is known of the client's prepared statements: what they
 * would do, and whether the server still has them as they were.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PREPARED_H
#define PGW_PREPARED_H

#include <stdbool.h>

#include "attr.h"
#include "buf.h"
#include "portal.h"
#include "session.h"

/* Of a Parse: name, text, and the reader at the types.  One reference. */
struct prepared *prepared_parse(struct session *s, const char *name,
	const char *sql, struct rd *r);

/* What it would do, as far as text and catalog tell. */
void prepared_weigh(struct session *s, struct prepared *p,
	bool standard_strings);

/* Looks up what a capture will need, if a Sync of ours harms nobody now. */
void prepared_warm(struct session *s, const struct prepared *p);

/* NULL: it is not known, or the server may have another one by now. */
struct prepared *prepared_for_bind(struct session *s, const char *name);

/* Parsed again, as a capture does, its literals would be the same values. */
PGW_MUSTCHECK bool prepared_means_the_same(const struct session *s,
	const struct prepared *p);

#endif
