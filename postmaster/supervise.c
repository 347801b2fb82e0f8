/*
 * supervise.c: the one replayd, and its keeper, started again when they die.
 *
 * The keeper is replayd, too, and begins only if we die and no replayd is left
 * (replayd.c).  There is never more than one of each: the next is started only
 * when the last has been reaped.  Started at once the first time; one that ends
 * young is started again at once, then after 1 s, 2 s, 4 s ... 30 s; after 2 s
 * at most if a signal ended it, for then it may not be its own fault.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "datadir.h"
#include "ioutil.h"
#include "killpoint.h"
#include "postmaster.h"
#include "procsig.h"
#include "supervise.h"

#define SECOND_US INT64_C(1000000)
#define YOUNG_US (10 * SECOND_US)
#define DELAY_MAX_US (30 * SECOND_US)
#define DELAY_SIGNAL_US (2 * SECOND_US)

void
supervise_init(struct supervise *s, const char *name, int queue_fd,
    int pid_file_fd, int children_fd)
{
	memset(s, 0, sizeof(*s));
	s->name = name;
	s->queue_fd = queue_fd;
	s->pid_file_fd = pid_file_fd;
	s->children_fd = children_fd;
	s->life_fd = -1;
}

/* The new process: inherits four descriptors and becomes replayd. */
PGW_NORETURN
static void
supervise_exec(const struct supervise *s, const struct config *c, int life_fd,
    const sigset_t *mask)
{
	char program[PATH_MAX], queue_arg[16], life_arg[16], children_arg[16];

	procsig_init();
	datadir_sibling("replayd", program, sizeof(program));
	snprintf(queue_arg, sizeof(queue_arg), "%d", s->queue_fd);
	snprintf(life_arg, sizeof(life_arg), "%d", life_fd);
	snprintf(children_arg, sizeof(children_arg), "%d", s->children_fd);
	if (!io_set_cloexec(s->queue_fd, false) ||
	    !io_set_cloexec(s->pid_file_fd, false) ||
	    !io_set_cloexec(s->children_fd, false) ||
	    !io_set_cloexec(life_fd, false))
		log_fatal("replayd_failed", "cannot pass descriptors: %m");
	procsig_restore(mask);
	execl(program, "replayd", "--queue-fd", queue_arg, "--life-fd",
	    life_arg, "--children-fd", children_arg, "-D", c->data_dir, "-c",
	    c->file, s->option, (char *)NULL);
	log_error("replayd_failed", "cannot run \"%s\": %m", program);
	_exit(EXIT_CODE_FATAL);
}

static int64_t
next_delay(int64_t delay)
{
	if (delay == 0)
		return SECOND_US;
	return delay * 2 > DELAY_MAX_US ? DELAY_MAX_US : delay * 2;
}

static void
supervise_failed(struct supervise *s, const char *what)
{
	log_error("replayd_failed", "cannot start %s: %s: %m", s->name, what);
	s->delay = next_delay(s->delay);
	s->next_start = io_monotonic_us() + s->delay;
}

void
supervise_run(struct supervise *s, const struct config *c)
{
	int life[2];
	sigset_t mask;
	pid_t pid;

	if (s->pid != 0 || io_monotonic_us() < s->next_start)
		return;
	if (pipe2(life, O_CLOEXEC) != 0) {
		supervise_failed(s, "pipe");
		return;
	}
	KILLPOINT("supervise");
	procsig_block(&mask);
	pid = fork();
	if (pid == 0)
		supervise_exec(s, c, life[0], &mask);
	procsig_restore(&mask);
	close(life[0]);
	if (pid < 0) {
		supervise_failed(s, "fork");
		close(life[1]);
		return;
	}
	s->pid = pid;
	s->life_fd = life[1];
	s->started = io_monotonic_us();
	s->next_start = INT64_MAX;
	if (s->option == NULL)
		log_info("replayd_started", "%s runs as process %ld", s->name,
		    (long)pid);
}

static void
supervise_log_end(const struct supervise *s, int status)
{
	char how[PROCSIG_ENDING_BYTES];

	/* SIGQUIT is ours: immediate shutdown. */
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGQUIT)
		log_error("replayd_crashed", "%s %ld was ended by %s", s->name,
		    (long)s->pid, procsig_ending(status, how));
	else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		log_error("replayd_failed",
		    "%s %ld ended with %s; see the lines before", s->name,
		    (long)s->pid, procsig_ending(status, how));
	else
		log_info(
		    "replayd_ended", "%s %ld ended", s->name, (long)s->pid);
}

bool
supervise_reaped(struct supervise *s, pid_t pid, int status)
{
	int64_t now = io_monotonic_us();

	if (s->pid == 0 || s->pid != pid)
		return false;
	supervise_log_end(s, status);
	close(s->life_fd);
	s->life_fd = -1;
	s->pid = 0;
	if (now - s->started >= YOUNG_US)
		s->delay = 0;
	if (WIFSIGNALED(status) && s->delay > DELAY_SIGNAL_US)
		s->delay = DELAY_SIGNAL_US;
	s->next_start = now + s->delay;
	s->delay = next_delay(s->delay);
	return true;
}

void
supervise_signal(const struct supervise *s, int signo)
{
	if (s->pid != 0)
		kill(s->pid, signo);
}

void
supervise_end(struct supervise *s)
{
	int status;

	if (s->pid == 0)
		return;
	kill(s->pid, SIGKILL);
	while (waitpid(s->pid, &status, 0) == -1 && errno == EINTR)
		;
	s->pid = 0;
}
