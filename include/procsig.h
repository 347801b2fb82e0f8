/*
 * procsig.h: signals as flags and one readable descriptor.
 *
 * Handlers only set a flag and write one byte to a pipe, so that a process
 * that waits in poll() wakes.  Children call procsig_init() again after fork:
 * each process has its own pipe.  Mask with procsig_block() before fork.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PROCSIG_H
#define PGW_PROCSIG_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* Makes this process's pipe; all handlers back to default, SIGPIPE ignored. */
void procsig_init(void);
/* Routes signal signo (below 64) to its flag. */
void procsig_catch(int signo);
/* True once per delivery (several may count as one). */
bool procsig_take(int signo);
/* Peeks without taking. */
bool procsig_pending(int signo);
/* Readable when a caught signal came; drain before taking flags. */
int procsig_fd(void);
void procsig_drain(void);

/* Blocks all signals; procsig_restore() gives back what was before. */
void procsig_block(sigset_t *saved);
void procsig_restore(const sigset_t *saved);

/* How a process ended, by waitpid(): "exit code 3", "signal 9 (Killed)". */
#define PROCSIG_ENDING_BYTES 64
const char *procsig_ending(int status, char out[PROCSIG_ENDING_BYTES]);

/* PR_SET_DUMPABLE 0 unless PGWITNESS_DEBUGGER is set in the environment (gdb,
 * see README): another process of the user cannot look into this one. */
void procsig_no_dumps(void);

/* SIGKILL-proof: this process gets signo when its parent dies; exits at once
 * if the parent is already not `parent`.  Also procsig_no_dumps(). */
void procsig_follow_parent(pid_t parent, int signo);

#endif
