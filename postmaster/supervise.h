/*
 * supervise.h: the one replayd, started again when it dies.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef POSTMASTER_SUPERVISE_H
#define POSTMASTER_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"

struct supervise {
	const char *name;    /* for the log: replayd, keeper */
	const char *option;  /* one more of its command line, or NULL */
	pid_t pid;	     /* 0: not running */
	int queue_fd;
	int pid_file_fd;
	int children_fd;     /* read end; see child_life_fd() */
	int life_fd;	     /* write end; end of file tells it we are gone */
	int64_t started;     /* io_monotonic_us() */
	int64_t next_start;  /* likewise; INT64_MAX while it runs */
	int64_t delay;	     /* before the next start, us */
};

/* The descriptors are inherited by each one that is started. */
void supervise_init(struct supervise *s, const char *name, int queue_fd,
	int pid_file_fd, int children_fd);

/* Starts it if it is not running and its time has come. */
void supervise_run(struct supervise *s, const struct config *c);

/* False if pid is not its. */
bool supervise_reaped(struct supervise *s, pid_t pid, int status);

/* Nothing if it is not running. */
void supervise_signal(const struct supervise *s, int signo);

/* Kills it and waits until it is gone. */
void supervise_end(struct supervise *s);

#endif
