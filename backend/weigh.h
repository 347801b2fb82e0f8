/*
 * weigh.h: what a captured statement's functions and defaults mean for its
 * verification: warnings, and reasons why it cannot be verified.
 *
 * Looks functions up: the session must be in sync.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_WEIGH_H
#define PGW_WEIGH_H

#include <stdbool.h>

#include "attr.h"
#include "capture.h"
#include "session.h"

/* Adds warnings to the transaction, degrades it, marks it unverifiable. */
void weigh_statement(struct session *s, const struct capture *c);

/* What may run when the table is written: triggers, and functions of users. */
void weigh_user_code(struct session *s, const struct catalog_table *t);

/* The predicate runs twice (before and in the statement), and it matters. */
PGW_MUSTCHECK bool weigh_runs_twice_badly(struct session *s,
	const struct capture *c);

#endif
