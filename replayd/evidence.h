/*
 * evidence.h: the evidence log as its writer sees it: files of JSON lines,
 * the Merkle tree over them, and the signed checkpoint.
 *
 * One process writes, guarded by flock() on the log directory.  What cannot
 * be written ends the process: evidence is never dropped.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EVIDENCE_H
#define PGW_EVIDENCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "key.h"
#include "txtable.h"

struct evidence;

/*
 * Reads the whole log again, builds the tree, compares it with the signed
 * checkpoint and cuts a torn last line.  May wait for another writer to end.
 * NULL: error says what differs; then nothing must be signed.
 * signer must outlive the result.
 */
PGW_MUSTCHECK struct evidence *evidence_open(const char *log_dir,
	const struct key_signer *signer, int64_t rotate_size, char *error,
	size_t error_size);
/* Flushes, but neither syncs nor signs. */
void evidence_close(struct evidence *e);

/* Transactions that are open in the log; the caller may change it. */
struct txtable *evidence_open_transactions(struct evidence *e);
uint64_t evidence_highest_tx_id(const struct evidence *e);
uint64_t evidence_size(const struct evidence *e);
void evidence_root(const struct evidence *e, struct merkle_hash *out);
/* `time` of the last line before this start; "" for a new log. */
const char *evidence_last_time(const struct evidence *e);

/* Adds a line; body (taken over) are the members behind seq, time, prev. */
void evidence_append(struct evidence *e, const char *type, json_t *body);

/* Hands what was appended to the kernel. */
void evidence_flush(struct evidence *e);
/* ... and to the disk. */
void evidence_sync(struct evidence *e);
/* Syncs, signs and replaces log/checkpoint, if there are new lines. */
void evidence_checkpoint(struct evidence *e);
/* Lines that no checkpoint covers yet. */
uint64_t evidence_unsigned(const struct evidence *e);

#endif
