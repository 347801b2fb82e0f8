/*
 * config.h: the effective configuration, one struct, read once per load.
 *
 * One table in common/config.c is the configuration: section, key, type,
 * default, bounds.  etc/pgwitness.conf.sample is checked against it by a test.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CONFIG_H
#define PGW_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "attr.h"
#include "log.h"

enum auth_method { AUTH_PASSTHROUGH, AUTH_TRUST, AUTH_PASSWORD, AUTH_SCRAM };
enum ssl_mode { SSL_OFF, SSL_ON, SSL_REQUIRE };
/* libpq's, in libpq's order. */
enum sslmode {
	SSLMODE_DISABLE,
	SSLMODE_ALLOW,
	SSLMODE_PREFER,
	SSLMODE_REQUIRE,
	SSLMODE_VERIFY_CA,
	SSLMODE_VERIFY_FULL
};
enum verification_mode { VERIFICATION_EMBEDDED, VERIFICATION_EXTERNAL };
/* Like synchronous_commit: what is durable when (DESIGN: "commit levels"). */
enum commit_level { COMMIT_BEFORE_COMMIT, COMMIT_BEFORE_ACK, COMMIT_ASYNC };
enum spool_full { SPOOL_FULL_WAIT, SPOOL_FULL_REJECT };
enum keep_payload { KEEP_MISMATCHES, KEEP_ALL, KEEP_NONE };
enum failure_policy { POLICY_FORWARD, POLICY_REJECT };
enum statement_text { STATEMENTS_TEXT, STATEMENTS_NORMALIZED };

struct config {
	/* not from the file */
	char *data_dir;			/* absolute */
	char *file;			/* path of pgwitness.conf */

	/* [proxy] */
	char *listen_addresses;		/* comma-separated; "*" for all */
	int port;
	char *unix_socket_directory;	/* "" for none */
	int max_connections;
	int spare_children;
	int auth_method;		/* enum auth_method */
	char *auth_file;		/* "user" "secret" lines */
	int ssl;			/* enum ssl_mode: TLS to clients */
	char *ssl_cert_file;
	char *ssl_key_file;
	char *ssl_ca_file;		/* "" : no client certificates */
	int64_t authentication_timeout;	/* ms */
	int64_t client_idle_timeout;	/* ms, 0 off */
	int64_t max_parse_bytes;

	/* [backend]: the server, and the witness role on it */
	char *backend_host;		/* a path is a unix socket directory */
	int backend_port;
	char *backend_dbname;		/* witness role's first connection */
	char *backend_user;		/* "" for none: no verdicts */
	char *backend_password;
	char *backend_passfile;		/* libpq's format */
	char *backend_client_user;	/* clients' login outside passthrough */
	char *backend_client_passfile;
	/* As libpq's parameters of these names; "" is libpq's default. */
	int backend_sslmode;		/* enum sslmode */
	char *backend_sslrootcert;
	char *backend_sslcrl;
	char *backend_sslcert;
	char *backend_sslkey;

	/* [verification] */
	int verification_mode;		/* enum verification_mode */
	char *verification_host;
	int verification_port;
	char *verification_user;
	char *verification_password;
	char *verification_passfile;
	char *verification_dbname;

	/* [replay] */
	int replay_workers;
	int64_t queue_bytes;		/* shared memory for all lanes */
	int64_t statement_timeout;	/* ms */

	/* [evidence] */
	int64_t checkpoint_interval;	/* ms */
	char *checkpoint_command;	/* "" for none */
	char *origin;			/* "" : as in evidence.key */
	int commit;			/* enum commit_level */
	int64_t spool_max_bytes;
	int on_spool_full;		/* enum spool_full */
	int keep_payload;		/* enum keep_payload */

	/* [log] */
	int log_level;			/* enum log_level */
	char *log_directory;		/* relative to data_dir or absolute */
	int64_t log_rotate_size;	/* bytes of one evidence file */
	bool log_row_data;
	int log_statements;		/* enum statement_text */

	/* [features] */
	bool enable_capture;
	bool enable_verification;
	bool log_non_deterministic_warnings;
	int on_capture_failure;		/* enum failure_policy */
	int on_unverifiable;		/* enum failure_policy */
	int64_t max_capture_bytes;
};

/*
 * Reads file (NULL: data_dir/pgwitness.conf) over the defaults.  NULL if it
 * cannot be used; then error holds one line "FILE:LINE: what; what to do".
 */
PGW_MUSTCHECK struct config *config_load(const char *data_dir,
	const char *file, char *error, size_t error_size);
void config_free(struct config *c);

/* [backend] sslmode in libpq's word. */
const char *config_sslmode(const struct config *c);
/* How every connection of libpq to the server is encrypted. */
#define CONFIG_SSL_NAMES \
	"sslmode", "sslrootcert", "sslcrl", "sslcert", "sslkey", "gssencmode"
#define CONFIG_SSL_VALUES(c) \
	config_sslmode(c), (c)->backend_sslrootcert, (c)->backend_sslcrl, \
	    (c)->backend_sslcert, (c)->backend_sslkey, "disable"

/* Effective values as INI; passwords as "***". */
void config_print(const struct config *c, FILE *out);

/* DATA_DIR/log or log.directory; the caller's buffer of PATH_MAX. */
void config_log_path(const struct config *c, const char *name, char *out,
	size_t size);

#endif
