/*
 * session.h: one client's session: the two connections, what the server said
 * about it, and the parts that work on it.
 *
 * The only place that blocks is session_wait().
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SESSION_H
#define PGW_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "analyze.h"
#include "heritage.h"
#include "kept.h"
#include "quiet.h"
#include "wire.h"

struct catalog;
struct extras;
struct part;
struct pipeline;
struct portals;
struct txn;
struct pg_conn;		/* libpq's PGconn */
struct pg_cancel;	/* libpq's PGcancel */

/* Tables that were written, for counters.c. */
#define COUNTERS_REMEMBERED 32

/* What settings are, as long as nothing ran that could change them. */
struct known_settings {
	bool valid;
	uint64_t told;   /* session.ran then */
	char loaded[48]; /* when the server read its configuration */
	size_t len;
	char values[512]; /* each ends with 0; facts.c has their order */
};

/* Parameters that the proxy itself asks for. */
enum known_parameter {
	PARAMETER_APPLICATION_NAME,
	PARAMETER_CLIENT_ENCODING,
	PARAMETER_HOT_STANDBY,
	PARAMETER_READ_ONLY,	/* default_transaction_read_only */
	PARAMETER_SERVER_ENCODING,
	PARAMETER_STRINGS,	/* standard_conforming_strings */
	PARAMETER_TIMEZONE,
	KNOWN_PARAMETERS
};

struct session {
	const struct heritage *heritage;
	const struct config *config;
	struct wire client;
	struct wire server;
	int edges;		/* epoll descriptor; 0: poll() alone */
	struct pg_conn *login;	/* owns server.fd with trust and password */
	struct pg_cancel *cancel; /* likewise */
	struct shmq_producer *producer;
	struct analyzer *analyzer;
	struct catalog *catalog;
	struct extras *extras;	/* scope.c's; NULL: none yet */
	struct txn *txn;

	uint32_t written[COUNTERS_REMEMBERED]; /* OIDs, 0: none; the oldest goes */
	unsigned next_written;

	/* From the StartupMessage; malloc()ed. */
	char *user;
	char *database;
	char *application_name;
	char *client_addr;	/* numeric address, or "local" */
	bool replication;	/* physical: no SQL passes */
	bool bare;		/* statements are not looked at */

	/* What the server reported by ParameterStatus. */
	struct session_parameter {
		char *name;
		char *value;
	} *parameters;
	size_t n_parameters;
	size_t known[KNOWN_PARAMETERS]; /* where such a one is, and 1; 0: none */
	/* The client's messages, but those of which nothing runs. */
	uint64_t ran;
	struct quiet quiet; /* which of them changed no setting */
	struct known_settings settings;
	uint64_t styles;	/* how often what literals mean changed: TimeZone ... */

	struct pipeline *pipeline; /* what the server has not answered */
	struct portals *portals; /* its prepared statements and portals */
	/* The transaction's status when all that was answered is done: of the
	 * last ReadyForQuery, or from command tags since; 0: none yet. */
	char status;
	bool batch_open;	/* extended messages since the last Sync */
	unsigned batch_executions; /* in it */
	uint64_t executions;	/* in all: how old a portal is */
	/* A look-up of ours met an error that is the client's (a cancel, a
	 * timeout, any that failed its block): the answer to what it asks. */
	struct buf lookup_error;
	bool holding;		/* look-ups are to end nothing: no Sync */
	bool dropping;		/* what it sends up to the Sync, after that */
	/*
	 * How often something ran that may have made, closed or replaced
	 * prepared statements and portals by SQL; what is older is in doubt.
	 */
	uint64_t doubts;
	struct kept kept;	/* statements of ours on the server */
	uint32_t serial;	/* named statements that the client prepared */
	bool unnamed;		/* it may have one without a name on the server */
	bool portals_unknown;	/* since the last idle ReadyForQuery */
	bool skipping;		/* after an error the server skips to the Sync */
	bool copy_in;		/* the server waits for CopyData */
	unsigned copy_syncs;	/* Syncs that were sent meanwhile */
	bool copy_foreign;	/* so was what is no copy data */
	bool sasl_asked;	/* the server's last word: AuthenticationSASL */
	/*
	 * What the server says at the end of a transaction belongs behind the
	 * answer to its last statement, which waits for the record: kept here
	 * while setting_aside.
	 */
	bool setting_aside;
	struct buf aside;
	struct buf encoded;	/* what is on its way into the lane */
	/* A Query of several statements, which run one by one (several.c): one
	 * answer's end for all; and the one that runs, or NULL. */
	bool one_answer;
	struct part *part;
	struct buf startup;	/* the client's StartupMessage */
	bool fatal_seen;	/* the client was told why it ends */
	bool left_behind;	/* an error left statements of ours open */
	bool lost;		/* a look-up of ours has no answer: it is over */
	bool terminate;		/* SIGTERM: end at the next chance */
	bool smart;		/* SIGINT: end if no client is connected */
	bool committing;	/* do not let SIGTERM interrupt */
	int64_t deadline_us;	/* monotonic; 0: none (authentication, idle) */
};

enum session_want { WANT_CLIENT = 1, WANT_SERVER = 2 };

/*
 * Waits until something can be read (of what is wanted) or written, reads and
 * writes it.  False: the session must end (signal, deadline).
 */
PGW_MUSTCHECK bool session_wait(struct session *s, int want);

/*
 * Once both connections are there, and in TLS if they will be: from now on
 * session_wait() costs less where either side was read to its end.
 */
void session_use_edges(struct session *s);

/* A slow client holds its own statement back.  False as above. */
PGW_MUSTCHECK bool session_let_client_read(struct session *s);

/* The client's connection is a unix socket. */
static inline bool
session_is_local(const struct session *s)
{
	return strcmp(s->client_addr, "local") == 0;
}

/*
 * Waits for the client's first byte and leaves it in the socket.  False: there
 * is none, or the session must end.
 */
PGW_MUSTCHECK bool session_peek(struct session *s, uint8_t *first);

/* Waits until TLS is established on one of the two; false: it will not be. */
PGW_MUSTCHECK bool session_handshake(struct session *s, struct wire *w);

/* Its deadline has passed. */
bool session_is_late(const struct session *s);

/* An ErrorResponse after which the server closes. */
bool session_is_fatal(const struct message *m);

/*
 * Waits for the end of the server's message that is being forwarded as it
 * comes: nothing of ours may reach the client in the middle of it.  False:
 * connection lost, or the session must end.
 */
PGW_MUSTCHECK bool session_end_message(struct session *s);

/*
 * Waits for the server's next message while own requests are under way.
 * ParameterStatus and NotificationResponse are relayed here and not returned.
 * The message stays until session_take().  False: connection lost, or the
 * session must end.
 */
PGW_MUSTCHECK bool session_server_message(struct session *s,
	struct message *m);
void session_take(struct session *s, const struct message *m);

/* Something runs that may do anything to statements and portals. */
void session_doubt(struct session *s);

/* Relays a message of the server that is no answer; maybe later. */
void session_relay_aside(struct session *s, const struct message *m);
/* Queues for the client what was set aside; no more is. */
void session_end_aside(struct session *s);

/* Queues a ReadyForQuery for the client. */
void session_put_ready(struct session *s, char status);

/* A reported parameter's value, "" if it was not reported. */
const char *session_parameter(const struct session *s,
	enum known_parameter which);
/* Keeps a ParameterStatus body. */
void session_note_parameter(struct session *s, const struct message *m);

/*
 * Queues a FATAL ErrorResponse, tries to deliver it, for at most a second.
 * Says nothing in the middle of a message of the server.
 */
void session_fatal(struct session *s, const char *sqlstate,
	const char *message, const char *hint);

#endif
