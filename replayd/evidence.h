/*
 * evidence.h: the evidence log as its writer sees it: files of JSON lines,
 * the Merkle tree over them with its tiles, the signed checkpoint, and the
 * saved state that makes the next start short.
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
#include "line.h"
#include "state.h"
#include "txtable.h"

struct evidence;

/*
 * Checks what is there (reopen.h) and goes on behind it, cutting a torn last
 * line.  May wait for another writer to end.  NULL: error says what differs;
 * then nothing must be signed.  signer must outlive the result.
 */
PGW_MUSTCHECK struct evidence *evidence_open(const char *log_dir,
	const struct key_signer *signer, int64_t rotate_size, char *error,
	size_t error_size);
/* Flushes, but neither syncs nor signs. */
void evidence_close(struct evidence *e);

/*
 * Transactions that are open in the log: evidence_append() keeps it in step
 * with the lines, so that a struct txn may be gone after it.  The caller adds
 * intents, and what it knows beside.
 */
struct txtable *evidence_open_transactions(struct evidence *e);
/*
 * How far the spool is in the log.  The caller keeps it; it is saved with the
 * transactions at each checkpoint.  next.segment 0: not known.
 */
struct state_spool *evidence_spool(struct evidence *e);
/* The server's timeline from now on; evidence_append() reads it in Start. */
void evidence_set_timeline(struct evidence *e, uint64_t timeline);
/* Position in the spool of the last line that is of no transaction: Gap,
 * SchemaChange. */
struct spool_position evidence_last_aside(const struct evidence *e);
uint64_t evidence_highest_tx_id(const struct evidence *e);
uint64_t evidence_size(const struct evidence *e);
void evidence_root(const struct evidence *e, struct merkle_hash *out);
/* `time` of the last line before this start; "" for a new log. */
const char *evidence_last_time(const struct evidence *e);

/* Adds a line; body (taken over) are the members behind seq, time, prev. */
void evidence_append(struct evidence *e, const char *type, json_t *body);
/* The same for the lines that each transaction has. */
void evidence_append_line(struct evidence *e, const struct line *l);

/* Hands what was appended to the kernel. */
void evidence_flush(struct evidence *e);
/* ... and to the disk. */
void evidence_sync(struct evidence *e);
/*
 * If there are new lines: syncs them and the tiles, compares with the last
 * checkpoint, signs, replaces log/checkpoint, saves the state.  Ends the
 * process rather than sign what does not follow from the last one.
 */
void evidence_checkpoint(struct evidence *e);
/* Lines that no checkpoint covers yet. */
uint64_t evidence_unsigned(const struct evidence *e);
/* Saves the state now; evidence_checkpoint() may leave it for later. */
void evidence_save_state(struct evidence *e);

/*
 * Steps 2 and 3 of a rotation (key.h): KeyChange, and a checkpoint signed by
 * both.  From then on next signs; it must outlive e.
 */
void evidence_change_key(struct evidence *e, const struct key_signer *next);

#endif
