/*
 * test_sandbox.c: what a process can still do that gave up opening files.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

static char dir[64];
static struct sockaddr_un address;
static char key[96];

/* The parent's side: a secret, and a socket that listens. */
static int
set_up(void **state)
{
	int fd;

	(void)state;
	strcpy(dir, "/tmp/pgw-sandbox-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(key, sizeof(key), "%s/evidence.key", dir);
	fd = open(key, O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || write(fd, "secret", 6) != 6)
		return -1;
	close(fd);
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	return fd < 0 ||
			       bind(fd, (struct sockaddr *)&address,
				   sizeof(address)) != 0
		   ? -1
		   : listen(fd, 5);
}

static int
tear_down(void **state)
{
	(void)state;
	unlink(key);
	unlink(address.sun_path);
	return rmdir(dir);
}

/* Runs it in a child that has entered; its result is the exit status. */
static int
inside(bool names, int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		sandbox_enter(names);
		_exit(what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int
read_key(void)
{
	return open(key, O_RDONLY) < 0 ? errno : 0;
}

static int
write_key(void)
{
	return open(key, O_WRONLY | O_APPEND) < 0 ? errno : 0;
}

static int
remove_key(void)
{
	return unlink(key) < 0 ? errno : 0;
}

static int
list_files(void)
{
	return open(dir, O_RDONLY | O_DIRECTORY) < 0 ? errno : 0;
}

static int
run_program(void)
{
	execl("/bin/true", "true", (char *)NULL);
	return errno;
}

static int
read_hosts(void)
{
	return open("/etc/hosts", O_RDONLY) < 0 ? errno : 0;
}

static int
connect_unix(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0
		   ? errno
		   : 0;
}

static int
find_host(void)
{
	struct addrinfo *list;

	return getaddrinfo("localhost", "1", NULL, &list) == 0 ? 0 : 1;
}

static void
files_are_out_of_reach(void **state)
{
	(void)state;
	if (!sandbox_is_available())
		skip();
	for (int names = 0; names <= 1; names++) {
		assert_int_equal(inside(names, read_key), EACCES);
		assert_int_equal(inside(names, write_key), EACCES);
		assert_int_equal(inside(names, remove_key), EACCES);
		assert_int_equal(inside(names, list_files), EACCES);
		assert_int_equal(inside(names, run_program), EACCES);
	}
	assert_int_equal(inside(true, read_hosts), 0);
	assert_int_equal(inside(false, read_hosts), EACCES);
}

static void
connections_are_as_before(void **state)
{
	(void)state;
	assert_int_equal(inside(true, connect_unix), 0);
	assert_int_equal(inside(false, connect_unix), 0);
	assert_int_equal(inside(true, find_host), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_out_of_reach),
		cmocka_unit_test(connections_are_as_before),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
