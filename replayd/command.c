/*
 * command.c: runs checkpoint_command in a process of its own.
 *
 * The command reads log/checkpoint.out, a hard link that is made anew for each
 * run: log/checkpoint itself may be replaced under it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"
#include "procsig.h"

#define TIMEOUT_US (60 * (int64_t)1000000)
#define BACKOFF_MIN_US ((int64_t)1000000)
#define BACKOFF_MAX_US (60 * (int64_t)1000000)
#define LOOK_MS 20 /* while one runs */

struct command {
	char dir[PATH_MAX];
	char *text;
	uint64_t latest;  /* size to be taken, 0: none */
	uint64_t running; /* size of the one that runs */
	pid_t pid;        /* 0: none runs */
	int64_t until_us; /* of the one that runs */
	int64_t not_before_us;
	int64_t backoff_us; /* after the next failure */
	int64_t backoff_min_us;
	int64_t timeout_us;
};

struct command *
command_new(const char *log_dir, const char *command)
{
	struct command *c = mem_zalloc(1, sizeof(*c));

	c->text = mem_strdup(command);
	io_path(c->dir, sizeof(c->dir), "%s", log_dir);
	c->timeout_us = TIMEOUT_US;
	c->backoff_us = c->backoff_min_us = BACKOFF_MIN_US;
	return c;
}

void
command_free(struct command *c)
{
	free(c->text);
	free(c);
}

void
command_note(struct command *c, uint64_t size)
{
	if (*c->text != '\0')
		c->latest = size;
}

bool
command_is_idle(const struct command *c)
{
	return c->pid == 0 && c->latest == 0;
}

/* --- starting --- */

static char *
expand(const struct command *c, const char *path)
{
	struct buf b = { 0 };

	for (const char *p = c->text; *p != '\0'; p++) {
		if (*p != '%' || p[1] == '\0') {
			buf_put_u8(&b, (uint8_t)*p);
			continue;
		}
		p++;
		if (*p == 'p')
			buf_put_str(&b, path);
		else if (*p == 's')
			buf_printf(&b, "%" PRIu64, c->latest);
		else if (*p == '%')
			buf_put_u8(&b, '%');
		else {
			buf_put_u8(&b, '%');
			buf_put_u8(&b, (uint8_t)*p);
		}
	}
	buf_put_u8(&b, 0);
	return (char *)b.data;
}

/* Signals as a program expects them; the log's descriptors are CLOEXEC. */
static PGW_NORETURN void
run(const char *text)
{
	static const int reset[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD,
		SIGPIPE };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	(void)setpgid(0, 0);
	for (size_t i = 0; i < sizeof(reset) / sizeof(*reset); i++)
		(void)signal(reset[i], SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (null >= 0)
		(void)(dup2(null, 0) + dup2(null, 1) + dup2(null, 2));
	execl("/bin/sh", "sh", "-c", text, (char *)NULL);
	_exit(127);
}

static bool
link_checkpoint(const struct command *c, char out[PATH_MAX])
{
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/checkpoint", c->dir);
	io_path(out, PATH_MAX, "%s/checkpoint.out", c->dir);
	return (unlink(out) == 0 || errno == ENOENT) && link(path, out) == 0;
}

static void
fail(struct command *c)
{
	c->not_before_us = io_monotonic_us() + c->backoff_us;
	c->backoff_us *= 2;
	if (c->backoff_us > BACKOFF_MAX_US)
		c->backoff_us = BACKOFF_MAX_US;
	if (c->latest == 0)
		c->latest = c->running;
}

static void
start(struct command *c)
{
	char path[PATH_MAX];
	sigset_t saved;
	char *text;

	c->running = c->latest;
	if (!link_checkpoint(c, path)) {
		log_warning(
		    "checkpoint_command", "%s: %s", path, strerror(errno));
		fail(c);
		return;
	}
	text = expand(c, path);
	c->latest = 0;
	procsig_block(&saved);
	c->pid = fork();
	if (c->pid == 0)
		run(text);
	procsig_restore(&saved);
	free(text);
	c->until_us = io_monotonic_us() + c->timeout_us;
	if (c->pid > 0)
		return;
	c->pid = 0;
	log_warning("checkpoint_command", "cannot fork: %s", strerror(errno));
	fail(c);
}

/* --- ending --- */

static void
ended(struct command *c, int status)
{
	c->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		c->backoff_us = c->backoff_min_us;
		return;
	}
	log_warning("checkpoint_command",
	    "checkpoint_command for %" PRIu64 " lines %s %d; again in %" PRId64
	    " ms",
	    c->running, WIFEXITED(status) ? "exited with" : "ended by signal",
	    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
	    c->backoff_us / 1000);
	fail(c);
}

static void
reap(struct command *c)
{
	int status;

	if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
		ended(c, status);
		return;
	}
	if (io_monotonic_us() < c->until_us)
		return;
	/* setpgid() may not have happened yet. */
	if (kill(-c->pid, SIGKILL) < 0)
		(void)kill(c->pid, SIGKILL);
}

void
command_step(struct command *c)
{
	if (c->pid > 0)
		reap(c);
	if (c->pid == 0 && c->latest > 0 &&
	    io_monotonic_us() >= c->not_before_us)
		start(c);
}

int
command_wait_ms(const struct command *c)
{
	int64_t left;

	if (c->pid > 0)
		return LOOK_MS;
	if (c->latest == 0)
		return -1;
	left = c->not_before_us - io_monotonic_us();
	return left <= 0 ? 0 : (int)(left / 1000) + 1;
}
