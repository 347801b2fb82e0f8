/*
 * alarm.c: a state that whoever asks for the status has to know of.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "alarm.h"

#include <sys/file.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "ioutil.h"

int
alarm_open(const char *data_dir, const char *name)
{
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/%s.lock", data_dir, name);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* Who asks holds the lock for a moment; it is tried again with the trouble. */
void
alarm_set(int fd, bool on)
{
	if (fd >= 0)
		(void)flock(fd, on ? LOCK_EX | LOCK_NB : LOCK_UN);
}

bool
alarm_is_on(const char *data_dir, const char *name)
{
	char path[PATH_MAX];
	bool on;
	int fd;

	io_path(path, sizeof(path), "%s/%s.lock", data_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	on = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return on;
}
