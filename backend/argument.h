/*
 * argument.h: constants that SQL EXECUTE gives to parameters.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ARGUMENT_H
#define PGW_ARGUMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "analyze.h"
#include "attr.h"

/*
 * Its text (or NULL), bound to a parameter of this type, surely is the value
 * that EXECUTE makes of it.  False: it is not, or only the server knows.
 */
PGW_MUSTCHECK bool argument_fits(
	const struct analyzed_argument *a, uint32_t type);

#endif
