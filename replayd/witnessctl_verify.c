/*
 * witnessctl_verify.c: the subcommands verify and keygen.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
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
	char error[512];

	if (a->n_keys == 0) {
		fprintf(stderr, "witnessctl: verify needs --key FILE.pub\n");
		return EXIT_USAGE;
	}
	if (!witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	if (access(dir, R_OK | X_OK) != 0) {
		perror(dir);
		return EXIT_CANNOT_RUN;
	}
	for (size_t i = 0; i < a->n_keys; i++)
		if (!key_load_public(a->keys[i], &keys[i], error,
			sizeof(error))) {
			fprintf(stderr, "witnessctl: %s\n", error);
			return EXIT_USAGE;
		}
	o.log_dir = dir;
	return verify_log(&o, stdout) ? EXIT_GOOD : EXIT_BAD_NEWS;
}

int
witnessctl_keygen(const struct witnessctl_args *a)
{
	char name[KEY_NAME_BYTES];
	char error[512];
	struct key_signer k;
	bool ok;

	if (a->data_dir == NULL) {
		fprintf(stderr, "witnessctl: keygen needs -D DIR\n");
		return EXIT_USAGE;
	}
	key_default_name(name);
	if (a->origin != NULL && !key_name_ok(a->origin)) {
		fprintf(stderr, "witnessctl: an origin has no spaces and no "
		    "'+': %s\n", a->origin);
		return EXIT_USAGE;
	}
	if (!key_generate(a->origin != NULL ? a->origin : name, &k))
		return EXIT_CANNOT_RUN;
	ok = key_save(&k, a->data_dir, error, sizeof(error));
	key_forget(&k);
	if (!ok) {
		fprintf(stderr, "witnessctl: %s\n", error);
		return EXIT_CANNOT_RUN;
	}
	printf("%s\n", k.public.name);
	return EXIT_GOOD;
}
