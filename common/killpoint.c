/*
 * killpoint.c: dying at a named place, for test/torture.
 *
 * Only in a build with KILLPOINTS=1.  The control file is opened once, by the
 * first process that passes a point, and inherited over fork.  Two processes
 * that pass at the same time may count as one: the pass is random anyway.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "killpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* name, zero-padded, and left: by the test; left is counted down here;
 * victim: the one that dies. */
struct control {
	char name[56];
	int32_t left;
	int32_t victim;
};

#define AT offsetof(struct control, left)

static int
open_control(void)
{
	const char *path = getenv("PGWITNESS_KILLPOINT");

	return path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
}

void
killpoint(const char *name)
{
	static int fd = -2;
	struct control c;

	if (fd == -2)
		fd = open_control();
	if (fd < 0 || pread(fd, &c, sizeof(c), 0) != (ssize_t)sizeof(c) ||
	    strncmp(c.name, name, sizeof(c.name)) != 0 || c.left <= 0)
		return;
	c.left--;
	if (c.left == 0)
		c.victim = (int32_t)getpid();
	if (pwrite(fd, (const char *)&c + AT, sizeof(c) - AT, AT) !=
	    (ssize_t)(sizeof(c) - AT))
		return;
	if (c.left == 0)
		raise(SIGKILL);
}
