/*
 * child.h: backend children: forked ahead, counted, reaped.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef POSTMASTER_CHILD_H
#define POSTMASTER_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "listen.h"
#include "shmq.h"
#include "tlsfiles.h"

struct child_set;

/* Whom child_signal() means. */
enum child_kind { CHILD_SPARE, CHILD_BUSY, CHILD_ALL };

/* Lanes that the queue needs for this configuration. */
unsigned child_lanes(const struct config *c);

/* Ends the process on failure.  pid_file_fd is inherited by children. */
struct child_set *child_set_new(struct shmq *queue, int pid_file_fd);

/*
 * Forks until there are spare_children without a client.  Failing that, says
 * so now and then and tries again at child_next_try().
 */
void child_fill(struct child_set *set, const struct config *c,
	const struct listen_set *listen);
/* io_monotonic_us() of the next child_fill(), INT64_MAX if none is needed. */
int64_t child_next_try(const struct child_set *set);

/* Readable when children have accepted clients; then child_accepted(). */
int child_fd(const struct child_set *set);
void child_accepted(struct child_set *set);

/*
 * The read end of a pipe whose write end only we and the children hold, as
 * long as they live; nothing is written.  End of file: all of them are gone,
 * and what they handed over is in the lanes.
 */
int child_life_fd(const struct child_set *set);

/* False if pid is no child of the set. */
bool child_reaped(struct child_set *set, pid_t pid, int status);

void child_signal(const struct child_set *set, enum child_kind kind,
	int signo);
unsigned child_count(const struct child_set *set);

/* Children forked from now on get these. */
void child_inherit(struct child_set *set, const struct tls_files *tls,
	const uint8_t *auth_secret);

/* Descriptors that children must not keep: closed after fork.  -1: none. */
void child_never_inherit(struct child_set *set, int one, int other);

#endif
