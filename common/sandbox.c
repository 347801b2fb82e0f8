/*
 * sandbox.c: Landlock: a process that parses hostile bytes cannot open the
 * evidence key, the log, or anything else of its user's.
 *
 * Owns nothing.  There is no way back, and none is wanted.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

/* Younger than Debian 12's headers, or may be. */
#define ACCESS_REFER (UINT64_C(1) << 13)    /* ABI 2 */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */
/* Execute, write, read, and all that makes or removes a name. */
#define ACCESS_ABI_1 ((UINT64_C(1) << 13) - 1)
#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

static int
abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
	    LANDLOCK_CREATE_RULESET_VERSION);
}

bool
sandbox_is_available(void)
{
	return abi() >= 1;
}

static int
make_ruleset(int version)
{
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = ACCESS_ABI_1 |
				     (version >= 2 ? ACCESS_REFER : 0) |
				     (version >= 3 ? ACCESS_TRUNCATE : 0)
	};

	/* Only what this field needs: later ones are of a younger ABI. */
	return (int)syscall(SYS_landlock_create_ruleset, &attr,
	    offsetof(struct landlock_ruleset_attr, handled_access_fs) +
		sizeof(attr.handled_access_fs),
	    0);
}

/* What is not there needs no rule. */
static bool
allow_reading(int ruleset, const char *path)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = ACCESS_READ,
		.parent_fd = open(path, O_PATH | O_CLOEXEC)
	};
	bool ok;

	if (rule.parent_fd < 0)
		return errno == ENOENT || errno == EACCES;
	ok = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH,
		 &rule, 0) == 0;
	close(rule.parent_fd);
	return ok;
}

void
sandbox_enter(bool names)
{
	static const char *const readable[] = { "/etc", "/usr", "/lib",
		"/lib64", "/run/systemd/resolve" };
	int version = abi(), ruleset;
	bool ok;

#ifdef PGW_KILLPOINTS
	/* A place to die at reads from a file which one is armed. */
	(void)names;
	return;
#endif
	if (version < 1)
		return;
	ruleset = make_ruleset(version);
	ok = ruleset >= 0;
	for (size_t i = 0;
	     names && ok && i < sizeof(readable) / sizeof(*readable); i++)
		ok = allow_reading(ruleset, readable[i]);
	ok = ok && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	     syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
	if (!ok)
		log_fatal("sandbox_failed", "cannot give up opening files: %m");
	close(ruleset);
}
