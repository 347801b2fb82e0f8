/*
 * dispatch.h: the queue of jobs in front of the replay workers.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_DISPATCH_H
#define PGW_DISPATCH_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "spool.h"

#define DISPATCH_MAX_OUTSTANDING 64	/* jobs at one worker */

struct dispatch;

struct dispatch *dispatch_new(const int *fds, unsigned n);

/* First in, first out. */
void dispatch_push(struct dispatch *d, uint64_t tx_id,
	struct spool_position at);

/* DDL, for all workers: each runs it between what was pushed before and after,
 * in the copies that are its own. */
void dispatch_push_ddl(struct dispatch *d, struct spool_position at);

/* Hands waiting jobs to the least loaded workers that have room. */
void dispatch_send(struct dispatch *d);

/* One entry per worker, in order; returns how many. */
unsigned dispatch_poll(const struct dispatch *d, struct pollfd *p);

/* Bytes of one verdict; valid during the call. */
typedef void (*dispatch_fn)(void *arg, const uint8_t *bytes, size_t n);
/* Reads what poll() found and calls fn for each verdict. */
void dispatch_receive(struct dispatch *d, const struct pollfd *p,
	dispatch_fn fn, void *arg);

/* Jobs waiting or at a worker that lives. */
size_t dispatch_open(const struct dispatch *d);
/* Workers whose socket is open. */
unsigned dispatch_living(const struct dispatch *d);

#endif
