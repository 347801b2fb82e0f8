/*
 * procsig.c: signals as flags and one readable descriptor.
 *
 * Owns the process's only signal handler and its self-pipe.  The handler sets
 * a flag and writes one byte, nothing else.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/prctl.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "procsig.h"

#define PROCSIG_MAX 64

static volatile sig_atomic_t procsig_flag[PROCSIG_MAX];
static bool procsig_caught[PROCSIG_MAX]; /* by us or a parent */
static bool procsig_known; /* the others are as procsig_init() sets them */
static int procsig_pipe[2] = { -1, -1 };

static void
procsig_handler(int signo)
{
	int saved = errno;
	ssize_t ignored;

	procsig_flag[signo] = 1;
	/* A full pipe is readable already. */
	ignored = write(procsig_pipe[1], "", 1);
	(void)ignored;
	errno = saved;
}

static void
procsig_set(int signo, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };

	if (signo == SIGCHLD)
		sa.sa_flags |= SA_NOCLDSTOP;
	sigfillset(&sa.sa_mask);
	/* Refused for SIGKILL, SIGSTOP and the C library's own. */
	(void)sigaction(signo, &sa, NULL);
}

void
procsig_init(void)
{
	for (int signo = 1; signo < PROCSIG_MAX; signo++) {
		if (procsig_caught[signo] || !procsig_known)
			procsig_set(signo, SIG_DFL);
		procsig_caught[signo] = false;
		procsig_flag[signo] = 0;
	}
	procsig_known = true;
	procsig_set(SIGPIPE, SIG_IGN);
	if (procsig_pipe[0] >= 0) {
		close(procsig_pipe[0]);
		close(procsig_pipe[1]);
	}
	if (pipe2(procsig_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
		log_fatal("pipe_failed", "cannot make a pipe: %m");
}

void
procsig_catch(int signo)
{
	procsig_caught[signo] = true;
	procsig_set(signo, procsig_handler);
}

bool
procsig_take(int signo)
{
	if (!procsig_flag[signo])
		return false;
	procsig_flag[signo] = 0;
	return true;
}

bool
procsig_pending(int signo)
{
	return procsig_flag[signo] != 0;
}

int
procsig_fd(void)
{
	return procsig_pipe[0];
}

void
procsig_drain(void)
{
	char bytes[64];

	while (read(procsig_pipe[0], bytes, sizeof(bytes)) > 0)
		;
}

void
procsig_block(sigset_t *saved)
{
	sigset_t all;

	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, saved) != 0)
		log_fatal("signal_mask", "cannot block signals: %m");
}

void
procsig_restore(const sigset_t *saved)
{
	if (sigprocmask(SIG_SETMASK, saved, NULL) != 0)
		log_fatal("signal_mask", "cannot restore signals: %m");
}

const char *
procsig_ending(int status, char out[PROCSIG_ENDING_BYTES])
{
	if (WIFSIGNALED(status))
		snprintf(out, PROCSIG_ENDING_BYTES, "signal %d (%s)",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(out, PROCSIG_ENDING_BYTES, "exit code %d",
		    WEXITSTATUS(status));
	return out;
}

void
procsig_no_dumps(void)
{
	if (getenv("PGWITNESS_DEBUGGER") == NULL &&
	    prctl(PR_SET_DUMPABLE, 0) != 0)
		log_fatal("prctl_failed", "cannot switch off dumps: %m");
}

void
procsig_follow_parent(pid_t parent, int signo)
{
	if (prctl(PR_SET_PDEATHSIG, signo) != 0)
		log_fatal("prctl_failed", "cannot follow the parent: %m");
	if (getppid() != parent)
		_exit(0);
	procsig_no_dumps();
}
