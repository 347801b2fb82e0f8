/*
 * witnessctl_key.c: the subcommands keygen and rotate-key.
 *
 * rotate-key is step 1 of key.h; the recorder does the others, at once if it
 * runs, else at its next start.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "jsonx.h"
#include "key.h"
#include "witnessctl.h"

#define CHANGE_SECONDS 30
#define POLL_MS 20

/* done: NULL where that is no question. */
static void
print_key(const struct witnessctl_args *a, const struct key_public *k,
    const bool *done)
{
	struct buf text = { 0 };
	json_t *o;

	key_public_text(k, &text);
	if (a->json) {
		o = jsonx_object();
		jsonx_set(o, "origin", jsonx_text(k->name));
		jsonx_set(o, "key", jsonx_textn(text.data, text.len));
		if (done != NULL)
			jsonx_set(o, "done", json_boolean(*done));
		witnessctl_print_json(stdout, o);
		putchar('\n');
		json_decref(o);
	} else
		printf("%.*s\n", (int)text.len, (const char *)text.data);
	buf_free(&text);
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
		fprintf(stderr,
		    "witnessctl: an origin has no spaces and no "
		    "'+': %s\n",
		    a->origin);
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
	if (a->json)
		print_key(a, &k.public, NULL);
	else
		printf("%s\n", k.public.name);
	return EXIT_GOOD;
}

/* True when the recorder took the key over before the time was up. */
static bool
wait_for_change(const struct witnessctl_args *a)
{
	int64_t end = io_monotonic_us() + CHANGE_SECONDS * (int64_t)1000000;
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/evidence.key.new", a->data_dir);
	while (access(path, F_OK) == 0) {
		if (io_monotonic_us() > end ||
		    witnessctl_postmaster(a->data_dir) == 0)
			return false;
		(void)poll(NULL, 0, POLL_MS);
	}
	return true;
}

int
witnessctl_rotate_key(const struct witnessctl_args *a)
{
	struct key_public next;
	char error[512];
	pid_t pid;
	bool done;

	if (a->data_dir == NULL) {
		fprintf(stderr, "witnessctl: rotate-key needs -D DIR\n");
		return EXIT_USAGE;
	}
	if (!key_prepare_next(a->data_dir, &next, error, sizeof(error))) {
		fprintf(stderr, "witnessctl: %s\n", error);
		return EXIT_CANNOT_RUN;
	}
	pid = witnessctl_postmaster(a->data_dir);
	done = pid > 0 && kill(pid, SIGHUP) == 0 && wait_for_change(a);
	print_key(a, &next, &done);
	if (done)
		return EXIT_GOOD;
	fprintf(stderr, pid > 0
			    ? "witnessctl: not in use yet; the operator "
			      "log says why\n"
			    : "witnessctl: in use from the next start on\n");
	return pid > 0 ? EXIT_BAD_NEWS : EXIT_GOOD;
}
