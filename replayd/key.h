/*
 * key.h: the evidence key, in the forms of C2SP signed-note.
 *
 * evidence.key  PRIVATE+KEY+NAME+HEX(key ID)+BASE64(0x01 || seed)
 * evidence.pub  NAME+HEX(key ID)+BASE64(0x01 || public key)
 * key ID        first 4 bytes of SHA-256(NAME \n 0x01 public key)
 *
 * Rotation, as files of the data directory.  Each step is durable before the
 * next, and each may be the last before a crash:
 *
 *   1. witnessctl rotate-key: key_prepare_next() makes evidence.key.new (0600,
 *      the same NAME, by rename), then sends SIGHUP to the postmaster, which
 *      passes it on; a start will do as well.
 *   2. The recorder finds evidence.key.new at its start and at SIGHUP.  It
 *      logs KeyChange {old, new}, both as verifier keys (one line of
 *      evidence.pub without newline), unless the last KeyChange names it.
 *   3. It signs log/checkpoint with both keys, unless the new one has.
 *   4. key_finish_change(): the old verifier key to evidence-ID.pub (ID: 8 hex
 *      digits), evidence.key.new renamed to evidence.key, the new verifier
 *      key to evidence.pub.
 *
 * Done when evidence.key.new is gone and evidence.pub is of evidence.key; a
 * crash after the rename is repaired at the next start (key_repair_public()).
 * Later checkpoints have the new signature only; an offline check takes
 * evidence.pub and each evidence-*.pub.
 *
 * The only user of libsodium.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_KEY_H
#define PGW_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"

#define KEY_NAME_BYTES 256	/* with its NUL */
#define KEY_ID_BYTES 4
#define KEY_PUBLIC_BYTES 32
#define KEY_SECRET_BYTES 64
#define KEY_SIGNATURE_BYTES 64

struct key_public {
	char name[KEY_NAME_BYTES];	/* the origin */
	uint8_t id[KEY_ID_BYTES];
	uint8_t bytes[KEY_PUBLIC_BYTES];
};

struct key_signer {
	struct key_public public;
	uint8_t secret[KEY_SECRET_BYTES];
};

/* No spaces, no '+', not empty, printable. */
PGW_MUSTCHECK bool key_name_ok(const char *name);
/* HOST/pgwitness/8-hex, the hex drawn at random. */
void key_default_name(char out[KEY_NAME_BYTES]);

/* A new key.  False: the name cannot be one. */
PGW_MUSTCHECK bool key_generate(const char *name, struct key_signer *k);
/* Overwrites the secret. */
void key_forget(struct key_signer *k);

/*
 * Makes dir/evidence.key (0600) and dir/evidence.pub, both durable.  Refuses
 * to replace a key.  False: error says why.
 */
PGW_MUSTCHECK bool key_save(const struct key_signer *k, const char *dir,
	char *error, size_t error_size);
/* Refuses a file that group or others can read. */
PGW_MUSTCHECK bool key_load_signer(const char *path, struct key_signer *k,
	char *error, size_t error_size);
PGW_MUSTCHECK bool key_load_public(const char *path, struct key_public *k,
	char *error, size_t error_size);

/* One line of evidence.pub without its newline, appended. */
void key_public_text(const struct key_public *k, struct buf *out);
/* The other way round; a newline at the end may be there. */
PGW_MUSTCHECK bool key_public_parse(const char *text, size_t len,
	struct key_public *k);

/*
 * Step 1: a new key of the name in dir/evidence.key.  False: error says why;
 * also if one is prepared already.  *next may be NULL.
 */
PGW_MUSTCHECK bool key_prepare_next(const char *dir, struct key_public *next,
	char *error, size_t error_size);
/* Step 2: 1 it is there, 0 it is not, -1 it cannot be used (error). */
PGW_MUSTCHECK int key_load_next(const char *dir, const struct key_public *old,
	struct key_signer *k, char *error, size_t error_size);
/* Step 4.  Nothing is lost if it fails: it may be called again. */
PGW_MUSTCHECK bool key_finish_change(const char *dir,
	const struct key_public *old, const struct key_public *next,
	char *error, size_t error_size);
/* Makes dir/evidence.pub that of the signer, if it is not. */
PGW_MUSTCHECK bool key_repair_public(const char *dir,
	const struct key_public *k, char *error, size_t error_size);

void key_sign(const struct key_signer *k, const void *data, size_t len,
	uint8_t signature[KEY_SIGNATURE_BYTES]);
PGW_MUSTCHECK bool key_verify(const struct key_public *k, const void *data,
	size_t len, const uint8_t signature[KEY_SIGNATURE_BYTES]);

/* Standard base64 with padding. */
void key_base64(const void *data, size_t len, struct buf *out);
/* False unless text is the base64 of exactly n bytes. */
PGW_MUSTCHECK bool key_unbase64(const char *text, size_t len, uint8_t *out,
	size_t n);

#endif
