/*
 * bundle.h: what is kept of a transaction that did not verify.
 *
 *	DATA_DIR/bundles/TXID/record.bin	record_encode()
 *	DATA_DIR/bundles/TXID/transaction.json	record, rows, inputs, verdict
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_BUNDLE_H
#define PGW_BUNDLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "record.h"

#define BUNDLE_NAME_BYTES 64

/*
 * Writes both files, durable, and gives "bundles/TXID".  False, after a line
 * in the operator log, if it cannot: evidence goes on without it.
 */
PGW_MUSTCHECK bool bundle_write(const char *data_dir, uint64_t tx_id,
	const struct record *r, const void *bytes, size_t len,
	const json_t *verdict, char name[BUNDLE_NAME_BYTES]);

#endif
