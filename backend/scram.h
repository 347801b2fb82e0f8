/*
 * scram.h: the server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), as
 * PostgreSQL speaks it, and the secrets of pg_authid.rolpassword.
 *
 * Knows no connection: messages go in, messages come out.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCRAM_H
#define PGW_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"

#define SCRAM_MECHANISM "SCRAM-SHA-256"
#define SCRAM_MECHANISM_PLUS "SCRAM-SHA-256-PLUS"
#define SCRAM_SECRET_PREFIX "SCRAM-SHA-256$"
#define SCRAM_KEY_BYTES 32
#define SCRAM_MAX_SALT 128
/* What PostgreSQL makes secrets with. */
#define SCRAM_ITERATIONS 4096
#define SCRAM_SALT_BYTES 16
/* PG_MAX_SASL_MESSAGE_LENGTH */
#define SCRAM_MAX_MESSAGE 1024

struct scram_secret {
	int iterations;
	size_t salt_len;
	uint8_t salt[SCRAM_MAX_SALT];
	uint8_t stored_key[SCRAM_KEY_BYTES];
	uint8_t server_key[SCRAM_KEY_BYTES];
};

/* "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey"; false if it is none. */
PGW_MUSTCHECK bool scram_parse(const char *text, struct scram_secret *out);

/* Does password give this secret?  Costs its iterations. */
PGW_MUSTCHECK bool scram_check_password(const struct scram_secret *secret,
	const char *password);

/*
 * A secret that no password gives, for a user who has none: the same each time
 * for a user, and not to be told from a real one without key.  like: whose
 * iterations and length of salt it takes.
 */
void scram_mock(struct scram_secret *out, const uint8_t key[SCRAM_KEY_BYTES],
	const char *user, const struct scram_secret *like);

enum scram_result {
	SCRAM_CONTINUE,		/* send the output, give the next message */
	SCRAM_DONE,		/* send the output: the client is who it says */
	SCRAM_WRONG,		/* a wrong password, or doomed */
	SCRAM_BAD		/* error and sqlstate say what the client did */
};

struct scram {
	const struct scram_secret *secret;
	bool doomed;		/* never SCRAM_DONE */
	bool plus;		/* the client chose SCRAM_MECHANISM_PLUS */
	/* Our data for it (RFC 5929); 0: it was not offered. */
	const uint8_t *end_point;
	size_t end_point_len;
	const char *nonce;	/* for the unit test; NULL: drawn */

	const char *error;	/* of SCRAM_BAD */
	const char *sqlstate;

	/* Its own. */
	int state;
	char cbind_flag;	/* n, y or p, as the client said */
	struct buf client_first_bare;
	struct buf server_first;
	struct buf full_nonce;
};

/*
 * The client's next message: len bytes, NULL when its initial response was
 * absent.  The answer is added to output.
 */
PGW_MUSTCHECK enum scram_result scram_step(struct scram *s, const char *input,
	size_t len, struct buf *output);

void scram_free(struct scram *s);

#endif
