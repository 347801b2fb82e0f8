/*
 * key.h: the evidence key, in the forms of C2SP signed-note.
 *
 * evidence.key  PRIVATE+KEY+NAME+HEX(key ID)+BASE64(0x01 || seed)
 * evidence.pub  NAME+HEX(key ID)+BASE64(0x01 || public key)
 * key ID        first 4 bytes of SHA-256(NAME \n 0x01 public key)
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
