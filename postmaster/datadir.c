/*
 * datadir.c: the data directory: making one, and its pid file.
 *
 * Owns DIR/pgwitness.pid.  Called by main.c and by postmaster.c before and
 * after all else; never while clients are served.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "datadir.h"
#include "ioutil.h"
#include "log.h"
#include "postmaster.h"

#define PID_FILE "pgwitness.pid"
#define CONF_FILE "pgwitness.conf"
#define SECRET_FILE "auth.secret"
#define LEFTOVER_WAIT_SECONDS 10
#define MAX_CHECKPOINT 65536

/* etc/pgwitness.conf.sample, byte for byte; the compiler runs at the top. */
__asm__(".pushsection .rodata\n"
	"datadir_sample: .incbin \"etc/pgwitness.conf.sample\"\n"
	"datadir_sample_end: .byte 0\n"
	".popsection\n");
extern const char datadir_sample[] __attribute__((visibility("hidden")));
extern const char datadir_sample_end[] __attribute__((visibility("hidden")));

static const char *const datadir_subdirs[] = { "log", "spool", "bundles" };
#define N_SUBDIRS (sizeof(datadir_subdirs) / sizeof(datadir_subdirs[0]))

void
datadir_sibling(const char *name, char *out, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		log_fatal("no_program", "cannot read /proc/self/exe: %m");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash != NULL)
		*slash = '\0';
	io_path(out, size, "%s/%s", self, name);
}

/* --- making one --- */

static bool
datadir_is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool empty = true;

	if (d == NULL)
		log_usage("cannot read directory \"%s\": %m", dir);
	while (empty && (e = readdir(d)) != NULL)
		empty = strcmp(e->d_name, ".") == 0 ||
			strcmp(e->d_name, "..") == 0;
	closedir(d);
	return empty;
}

static void
datadir_make_top(const char *dir)
{
	if (mkdir(dir, 0700) == 0)
		return;
	if (errno != EEXIST)
		log_usage("cannot make directory \"%s\": %m", dir);
	if (!datadir_is_empty(dir))
		log_usage("directory \"%s\" exists and is not empty; remove "
			  "what is in it or choose another one",
		    dir);
	if (chmod(dir, 0700) != 0)
		log_usage("cannot change the mode of \"%s\": %m", dir);
}

static bool
datadir_fill(const char *dir)
{
	size_t n = (size_t)(datadir_sample_end - datadir_sample);
	char path[PATH_MAX];

	for (size_t i = 0; i < N_SUBDIRS; i++) {
		io_path(path, sizeof(path), "%s/%s", dir, datadir_subdirs[i]);
		if (mkdir(path, 0700) != 0) {
			log_error(
			    "init_failed", "cannot make \"%s\": %m", path);
			return false;
		}
	}
	io_path(path, sizeof(path), "%s/" CONF_FILE, dir);
	if (io_replace_file(path, datadir_sample, n, 0600))
		return true;
	log_error("init_failed", "cannot write \"%s\": %m", path);
	return false;
}

/* witnessctl makes the keys: libsodium belongs to replayd's folder. */
static bool
datadir_make_keys(const char *dir)
{
	char program[PATH_MAX];
	int status;
	pid_t pid;

	datadir_sibling("witnessctl", program, sizeof(program));
	pid = fork();
	if (pid == 0) {
		execl(program, "witnessctl", "keygen", "-D", dir, (char *)NULL);
		log_fatal("init_failed", "cannot run \"%s\": %m", program);
	}
	if (pid < 0) {
		log_error("init_failed", "cannot fork: %m");
		return false;
	}
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	    WEXITSTATUS(status) == 0)
		return true;
	log_error("init_failed", "\"%s keygen\" failed", program);
	return false;
}

/* --- the log before --- */

/* Takes one line off; NULL at the end. */
static char *
next_line(char **text)
{
	char *line = *text;
	char *end = strchr(line, '\n');

	if (end == NULL)
		return NULL;
	*end = '\0';
	*text = end + 1;
	return line;
}

/* base64 of a SHA-256 hash. */
static bool
is_root(const char *line)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";

	return strlen(line) == 44 && strspn(line, digits) == 43 &&
	       line[43] == '=';
}

/*
 * Origin, size, root, an empty line and a signature, which only who has the
 * old key can check.
 */
static bool
is_checkpoint(const struct buf *b)
{
	char *copy = strndup((const char *)b->data, b->len);
	char *rest = copy, *origin, *size, *root, *empty, *signature;
	bool ok;

	if (copy == NULL)
		return false;
	origin = next_line(&rest);
	size = origin == NULL ? NULL : next_line(&rest);
	root = size == NULL ? NULL : next_line(&rest);
	empty = root == NULL ? NULL : next_line(&rest);
	signature = empty == NULL ? NULL : next_line(&rest);
	ok = signature != NULL && *origin != '\0' && *size != '\0' &&
	     *size != '0' && strlen(size) <= 19 &&
	     strspn(size, "0123456789") == strlen(size) && is_root(root) &&
	     *empty == '\0' && strncmp(signature, "\xe2\x80\x94 ", 4) == 0;
	free(copy);
	return ok;
}

/* Ends the process if there is no checkpoint; nothing has been made yet. */
static void
read_after(const char *after, struct buf *b)
{
	char path[PATH_MAX];
	struct stat st;

	io_path(path, sizeof(path), "%s", after);
	if (stat(after, &st) == 0 && S_ISDIR(st.st_mode))
		io_path(path, sizeof(path), "%s/log/checkpoint", after);
	if (!io_read_file(path, b, MAX_CHECKPOINT))
		log_usage("cannot read \"%s\": %m; --after wants a data "
			  "directory or its log/checkpoint",
		    path);
	if (b->len == 0 || !is_checkpoint(b))
		log_usage("\"%s\" is not a checkpoint; --after wants a data "
			  "directory or its log/checkpoint",
		    path);
}

static bool
datadir_keep_after(const char *dir, const struct buf *after)
{
	char path[PATH_MAX];

	if (after->len == 0)
		return true;
	io_path(path, sizeof(path), "%s/log/after", dir);
	if (io_replace_file(path, after->data, after->len, 0600))
		return true;
	log_error("init_failed", "cannot write \"%s\": %m", path);
	return false;
}

/* Leaves an empty directory, so that --init can be tried again. */
static void
datadir_undo(const char *dir)
{
	static const char *const files[] = { CONF_FILE, "evidence.key",
		"evidence.pub", "log/after" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		io_path(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	for (size_t i = 0; i < N_SUBDIRS; i++) {
		io_path(path, sizeof(path), "%s/%s", dir, datadir_subdirs[i]);
		rmdir(path);
	}
}

int
datadir_init(const char *dir, const char *after)
{
	struct buf old = { 0 };
	bool ok;

	umask(077);
	if (after != NULL)
		read_after(after, &old);
	datadir_make_top(dir);
	ok = datadir_fill(dir) && datadir_keep_after(dir, &old) &&
	     datadir_make_keys(dir);
	buf_free(&old);
	if (!ok) {
		datadir_undo(dir);
		return EXIT_CODE_FATAL;
	}
	printf("made \"%s\"; next: set [backend] in %s/" CONF_FILE
	       ", then pgwitness -D %s\n",
	    dir, dir, dir);
	return 0;
}

void
datadir_check(const char *dir)
{
	struct stat st;

	if (stat(dir, &st) != 0)
		log_usage("cannot use data directory \"%s\": %m", dir);
	if (st.st_uid != geteuid())
		log_usage("data directory \"%s\" belongs to user id %u; start "
			  "pgwitness as that user",
		    dir, (unsigned)st.st_uid);
	if ((st.st_mode & 077) != 0)
		log_usage("data directory \"%s\" is open to others; "
			  "chmod 0700 it",
		    dir);
}

/* --- the secret of auth_method = scram-sha-256 --- */

void
datadir_secret(const char *dir, uint8_t out[DATADIR_SECRET_BYTES])
{
	char path[PATH_MAX];
	struct buf b = { 0 };

	io_path(path, sizeof(path), "%s/" SECRET_FILE, dir);
	if (io_read_file(path, &b, DATADIR_SECRET_BYTES) &&
	    b.len == DATADIR_SECRET_BYTES) {
		memcpy(out, b.data, DATADIR_SECRET_BYTES);
	} else if (getrandom(out, DATADIR_SECRET_BYTES, 0) !=
		       DATADIR_SECRET_BYTES ||
		   !io_replace_file(path, out, DATADIR_SECRET_BYTES, 0600)) {
		log_fatal("auth_secret", "cannot write \"%s\": %m", path);
	}
	buf_free(&b);
}

/* --- the pid file --- */

static pid_t
pidfile_read(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}

/* A process's name, or "" if there is none or only its zombie. */
static void
proc_name(pid_t pid, char *out, size_t size)
{
	char path[64];
	struct buf b = { 0 };
	const char *name = NULL, *end = NULL; /* "PID (NAME) STATE ..." */

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	if (io_read_file(path, &b, 4096)) {
		buf_put_u8(&b, 0);
		name = strchr((const char *)b.data, '(');
		end = strrchr((const char *)b.data, ')');
	}
	out[0] = '\0';
	if (name != NULL && end != NULL && strncmp(end, ") Z", 3) != 0)
		snprintf(out, size, "%.*s", (int)(end - name - 1), name + 1);
	buf_free(&b);
}

/* A number may have been given to another program since. */
static bool
pidfile_owner_lives(pid_t pid)
{
	char self[32], other[32];

	if (pid <= 0 || pid == getpid())
		return false;
	proc_name(getpid(), self, sizeof(self));
	proc_name(pid, other, sizeof(other));
	return strcmp(self, other) == 0;
}

/* Does the command line of pid hold dir as an argument? */
static bool
proc_has_argument(pid_t pid, const char *dir)
{
	char path[64];
	struct buf b = { 0 };
	struct rd r;
	const char *arg;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)pid);
	if (io_read_file(path, &b, 1 << 20)) {
		r = rd_init(b.data, b.len);
		while (!found && (arg = rd_cstr(&r)) != NULL)
			found = strcmp(arg, dir) == 0;
	}
	buf_free(&b);
	return found;
}

/* "replayd 4711, pgwitness 4712": processes that were started for dir. */
static void
pidfile_leftovers(const char *dir, struct buf *names)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		char name[32];

		if (pid <= 0 || pid == getpid() || pid == getppid() ||
		    !proc_has_argument(pid, dir))
			continue;
		proc_name(pid, name, sizeof(name));
		buf_printf(names, "%s%s %ld", names->len == 0 ? "" : ", ", name,
		    (long)pid);
	}
	if (d != NULL)
		closedir(d);
	buf_put_u8(names, 0);
}

static void
pidfile_alarm(int signo)
{
	(void)signo; /* only interrupts flock() */
}

/* flock() that gives up after LEFTOVER_WAIT_SECONDS. */
static bool
pidfile_wait_lock(int fd)
{
	struct sigaction sa = { .sa_handler = pidfile_alarm }, saved;
	bool ok;

	sigaction(SIGALRM, &sa, &saved);
	alarm(LEFTOVER_WAIT_SECONDS);
	ok = flock(fd, LOCK_EX) == 0;
	alarm(0);
	sigaction(SIGALRM, &saved, NULL);
	return ok;
}

static void
pidfile_wait_leftovers(const char *dir, int fd)
{
	struct buf names = { 0 };

	pidfile_leftovers(dir, &names);
	log_warning("leftovers",
	    "waiting for what is left of the postmaster that died: %s",
	    names.len > 1 ? (const char *)names.data : "not found by name");
	if (pidfile_wait_lock(fd)) {
		buf_free(&names);
		return;
	}
	buf_reset(&names);
	pidfile_leftovers(dir, &names);
	log_usage("data directory \"%s\" is still in use by what is left of a "
		  "postmaster that died: %s; end these processes and try again",
	    dir,
	    names.len > 1 ? (const char *)names.data
			  : "see fuser on its " PID_FILE);
}

/* -1 if the file was removed by its former owner meanwhile: try again. */
static int
pidfile_try(const char *dir, const char *path)
{
	struct stat ours, there;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		log_fatal("pid_file", "cannot open \"%s\": %m", path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		pid_t pid = pidfile_read(fd);

		if (errno != EWOULDBLOCK)
			log_fatal("pid_file", "cannot lock \"%s\": %m", path);
		if (pidfile_owner_lives(pid))
			log_usage("data directory \"%s\" is in use by pid %ld",
			    dir, (long)pid);
		pidfile_wait_leftovers(dir, fd);
	}
	if (fstat(fd, &ours) == 0 && stat(path, &there) == 0 &&
	    ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
		return fd;
	close(fd);
	return -1;
}

/* What atexit() needs: the file, and whose it is. */
static char pidfile_path[PATH_MAX];
static pid_t pidfile_owner;

/* The lock goes with its last descriptor. */
static void
pidfile_remove(void)
{
	/* Children inherit this too. */
	if (getpid() == pidfile_owner)
		unlink(pidfile_path);
}

int
datadir_lock(const char *dir, int port)
{
	struct buf text = { 0 };
	int fd;

	io_path(pidfile_path, sizeof(pidfile_path), "%s/" PID_FILE, dir);
	while ((fd = pidfile_try(dir, pidfile_path)) < 0)
		;
	pidfile_owner = getpid();
	atexit(pidfile_remove);
	buf_printf(&text, "%ld\n%s\n%lld\n%d\n", (long)getpid(), dir,
	    (long long)time(NULL), port);
	if (ftruncate(fd, 0) != 0 || !io_write_all(fd, text.data, text.len))
		log_fatal("pid_file", "cannot write \"%s\": %m", pidfile_path);
	buf_free(&text);
	return fd;
}
