/*
 * witnessctl_verify.c: the subcommand verify.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "key.h"
#include "verify.h"
#include "witnessctl.h"

int
witnessctl_verify(const struct witnessctl_args *a)
{
	struct key_public keys[sizeof(a->keys) / sizeof(*a->keys)];
	struct verify_options o = { .keys = keys,
		.n_keys = a->n_keys,
		.old = a->old,
		.n_old = a->n_old,
		.final = a->final,
		.json = a->json };
	char dir[PATH_MAX];

	if (!witnessctl_load_keys(a, keys) || !witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	if (access(dir, R_OK | X_OK) != 0) {
		fprintf(stderr, "witnessctl: %s: %s\n", dir, strerror(errno));
		return EXIT_CANNOT_RUN;
	}
	o.log_dir = dir;
	return verify_log(&o, stdout) ? EXIT_GOOD : EXIT_BAD_NEWS;
}
