/*
 * heritage.h: all that a backend child inherits from the postmaster.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_HERITAGE_H
#define PGW_HERITAGE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "attr.h"
#include "config.h"
#include "shcache.h"
#include "shmq.h"
#include "tlsfiles.h"

enum session_state { SESSION_FREE, SESSION_SPARE, SESSION_BUSY };

/*
 * One per child, in an anonymous shared mapping; index = lane.  All fields are
 * written by the slot's own child, but for state, which the postmaster sets to
 * SESSION_SPARE before it forks and to SESSION_FREE when it has reaped.  Read
 * by children that count busy sessions (max_connections) or look for the
 * target of a CancelRequest; each word stands for itself, so no lock.
 */
struct session_slot {
	_Atomic uint32_t state;		/* enum session_state */
	_Atomic int32_t pid;		/* the child */
	/*
	 * Only when the proxy itself admits clients (auth trust, password):
	 * what the client got as BackendKeyData.  0: none.  A CancelRequest
	 * that matches both sends SIGUSR1 to pid, which calls PQcancel().
	 */
	_Atomic uint32_t server_pid;
	_Atomic uint32_t cancel_key;
};

struct heritage {
	const struct config *config;
	const struct tls_files *tls;
	/* SCRAM: salts of users who do not exist come from it; 32 bytes. */
	const uint8_t *auth_secret;
	struct shmq *queue;
	unsigned lane;			/* also the index into sessions */
	struct shcache *shared;		/* of all children */
	struct session_slot *sessions;
	unsigned n_sessions;
	const int *listen_fds;
	unsigned n_listen_fds;
	int accepted_fd;		/* write one u32 (the lane) after accept() */
	int pid_file_fd;		/* flock()ed; stays open, see DESIGN 8 */
	int life_fd;			/* stays open: replayd sees when all are gone */
	pid_t postmaster;
};

/* Before the fork: what children of that configuration shall find loaded. */
void backend_prepare(const struct config *c);

/*
 * Serves one client and exits.  Accepts on listen_fds itself.
 * SIGTERM: finish what is acknowledged, tell the client 57P01, exit 0.
 * SIGINT (smart shutdown): exit if no client is connected yet.
 * SIGQUIT: exit at once.
 */
PGW_NORETURN void backend_main(const struct heritage *h);

#endif
