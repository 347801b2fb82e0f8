/*
 * listen.h: the sockets that clients connect to.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef POSTMASTER_LISTEN_H
#define POSTMASTER_LISTEN_H

#include <limits.h>

#include "config.h"

#define LISTEN_MAX 32

/* All descriptors are non-blocking and close-on-exec. */
struct listen_set {
	int fds[LISTEN_MAX];
	unsigned n;
	int lock_fd;			/* of the unix socket, or -1 */
	char unix_path[PATH_MAX];	/* "" for none */
	char lock_path[PATH_MAX];
};

/* Ends the process (exit 2) when an address cannot be listened on. */
void listen_open(const struct config *c, struct listen_set *set);
/* Closes all and removes the unix socket. */
void listen_close(struct listen_set *set);

#endif
