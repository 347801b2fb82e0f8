/*
 * program.c: fork, exec and wait for PostgreSQL's programs.
 *
 * Called by cluster.c and schema.c.  Passwords travel in the environment of
 * the child, never on its command line.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "procsig.h"

extern char **environ;

/* A list of strings that execve() takes; freed as one. */
struct strings {
	char **v;
	size_t n;
};

static void
strings_add(struct strings *s, const char *text)
{
	char **v = realloc(s->v, (s->n + 2) * sizeof(*v));

	if (v == NULL)
		abort();
	s->v = v;
	s->v[s->n] = strdup(text);
	if (s->v[s->n] == NULL)
		abort();
	s->v[++s->n] = NULL;
}

static void
strings_free(struct strings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		explicit_bzero(s->v[i], strlen(s->v[i]));
		free(s->v[i]);
	}
	free(s->v);
}

static void
strings_add_pair(struct strings *s, const char *name, const char *value)
{
	struct buf b = { 0 };

	if (value == NULL || value[0] == '\0')
		return;
	buf_put_str(&b, name);
	buf_put_cstr(&b, value);
	strings_add(s, (const char *)b.data);
	explicit_bzero(b.data, b.len);
	buf_free(&b);
}

/* How the server is reached: as by our own connections. */
static void
ssl_environment(const struct config *c, struct strings *env)
{
	strings_add_pair(env, "PGSSLMODE=", config_sslmode(c));
	strings_add_pair(env, "PGSSLROOTCERT=", c->backend_sslrootcert);
	strings_add_pair(env, "PGSSLCRL=", c->backend_sslcrl);
	strings_add_pair(env, "PGSSLCERT=", c->backend_sslcert);
	strings_add_pair(env, "PGSSLKEY=", c->backend_sslkey);
	strings_add_pair(env, "PGGSSENCMODE=", "disable");
}

static void
environment(const struct program *p, struct strings *env)
{
	for (char **e = environ; *e != NULL; e++) {
		if (strncmp(*e, "PG", 2) != 0 && strncmp(*e, "LC_", 3) != 0 &&
		    strncmp(*e, "LANG", 4) != 0)
			strings_add(env, *e);
	}
	strings_add(env, "LC_ALL=C");
	strings_add_pair(env, "PGPASSWORD=", p->password);
	strings_add_pair(env, "PGPASSFILE=", p->passfile);
	if (p->server != NULL)
		ssl_environment(p->server, env);
}

static void
redirect(int fd, const char *path, int flags)
{
	int to = open(path != NULL ? path : "/dev/null", flags, 0600);

	if (to < 0 || dup2(to, fd) < 0)
		_exit(127);
}

/* After fork: async-signal-safe calls only. */
static PGW_NORETURN void
child(const struct program *p, pid_t parent, const char *path,
    const struct strings *argv, const struct strings *env)
{
	struct rlimit memory = { p->memory, p->memory };
	sigset_t none;

	sigemptyset(&none);
	if (p->memory > 0 && setrlimit(RLIMIT_AS, &memory) != 0)
		_exit(127);
	prctl(PR_SET_PDEATHSIG, p->death_signal);
	if (getppid() != parent)
		_exit(127);
	for (int signo = 1; signo < 32; signo++)
		signal(signo, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	redirect(0, NULL, O_RDONLY);
	redirect(1, p->out, O_WRONLY | O_CREAT | O_TRUNC);
	redirect(2, p->err, O_WRONLY | O_CREAT | O_APPEND);
	close_range(3, ~0U, 0);
	execve(path, argv->v, env->v);
	_exit(127);
}

pid_t
program_start(const struct program *p)
{
	struct strings argv = { 0 };
	struct strings env = { 0 };
	char path[256];
	pid_t parent = getpid();
	pid_t pid;

	snprintf(path, sizeof(path), PROGRAM_BINDIR "/%s", p->argv[0]);
	for (size_t i = 0; p->argv[i] != NULL; i++)
		strings_add(&argv, p->argv[i]);
	environment(p, &env);
	pid = fork();
	if (pid == 0)
		child(p, parent, path, &argv, &env);
	strings_free(&argv);
	strings_free(&env);
	return pid;
}

bool
program_gone(pid_t pid, int timeout_ms)
{
	struct pollfd pfd = { .events = POLLIN };
	int n;

	pfd.fd = pidfd_open(pid, 0);
	if (pfd.fd < 0)
		return errno == ESRCH;
	n = poll(&pfd, 1, timeout_ms);
	close(pfd.fd);
	return n > 0;
}

/* Waits for the end of pid; ends it early when we are asked to stop. */
static bool
wait_or_stop(pid_t pid)
{
	struct pollfd pfd[2] = { { .events = POLLIN }, { .events = POLLIN } };
	bool stopped = false;

	pfd[0].fd = pidfd_open(pid, 0);
	pfd[1].fd = procsig_fd();
	while (pfd[0].fd >= 0) {
		if (poll(pfd, 2, -1) < 0) {
			if (errno != EINTR)
				break;
			continue;
		}
		if (pfd[0].revents != 0)
			break;
		if (pfd[1].revents != 0)
			procsig_drain();
		if (!stopped && procsig_pending(SIGTERM)) {
			stopped = true;
			kill(pid, SIGTERM);
		}
	}
	if (pfd[0].fd >= 0)
		close(pfd[0].fd);
	return stopped;
}

int
program_run(const struct program *p)
{
	pid_t pid = program_start(p);
	bool stopped;
	int status;

	if (pid < 0)
		return -1;
	stopped = wait_or_stop(pid);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	if (stopped)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
