/*
 * world.h: what lies around a backend child, in its own process: the ends of
 * its sockets and the passing of time.
 *
 * Fuzz targets that link it have poll() replaced (-Wl,--wrap): when the child
 * would wait and nothing is there, the world takes its turn.  When the world
 * has nothing left to do either, it closes the client's connection, then the
 * server's, then lets the deadline pass; a child that still waits hangs, and
 * that is a finding.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_WORLD_H
#define PGW_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../backend/session.h"
#include "buf.h"

struct world {
	/* Sends something, or has nothing more to send: false. */
	bool (*turn)(struct world *w);
	void *arg;
	int client; /* our ends; -1: closed */
	int server;
	struct buf to_client; /* what the child sent */
	struct buf to_server;
	struct heritage heritage;
	struct session_slot slot;
	struct config config;
	struct shmq *queue;
	/* Called with each message of the lane. */
	void (*take)(void *arg, const struct shmq_message *m);
	void *take_arg;
	unsigned idle;
	unsigned long waits;
};

/* Sockets into s; the configuration is zeroed but for what a child needs. */
void world_open(struct world *w, struct session *s);
void world_close(struct world *w, struct session *s);

/* One packet, as one recv() of the child will give it; false: not taken. */
bool world_send(int fd, const void *p, size_t n);
/* Takes what the child has sent so far into to_client and to_server. */
void world_listen(struct world *w);

/* The server closes its connection. */
void world_hang_up(struct world *w);

/* Opens the lane's queue, with a consumer that takes and acknowledges while
 * poll() or the lane waits. */
void world_open_queue(struct world *w,
    void (*take)(void *arg, const struct shmq_message *m), void *arg);
/* Its turn. */
void world_replayd(struct world *w);

#endif
