/*
 * blueprint.h: what a copy of a database was made from, for bundles.
 *
 *	schema.dump	pg_dump --schema-only -Fc of the server's database
 *	schema.json	its encoding and locale, its extensions
 *
 * Kept beside the copy (DATA_DIR/verification/NAME.*) as long as that; linked
 * into the bundle of each mismatch that was found on it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BLUEPRINT_H
#define PGW_BLUEPRINT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "config.h"

/*
 * Takes the archive over, removes it if it cannot be kept (logged).  Both
 * results hold text and NULLs.
 */
void blueprint_keep(const struct config *c, const char *name,
	const char *archive, const PGresult *database,
	const PGresult *extensions);

/* Puts it into DATA_DIR/bundles/TX_ID; logged if it cannot. */
void blueprint_link(const struct config *c, const char *name, uint64_t tx_id);

/*
 * From a bundle: the archive's bytes go to the file `archive`, the results are
 * the caller's to PQclear().  False: logged.
 */
PGW_MUSTCHECK bool blueprint_read(const char *dir, const char *archive,
	PGresult **database, PGresult **extensions);

#endif
