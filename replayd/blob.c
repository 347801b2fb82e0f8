/*
 * blob.c: keeps what is too long for a line of evidence, by its SHA-256.
 *
 * A blob is durable before the line that names it is written, and never
 * changed: the same bytes give the same file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "blob.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "jsonx.h"
#include "log.h"

#define LONG_STRING 2048 /* shorter ones are not worth a file */
#define MAX_BLOB ((size_t)2 << 30)

static void
blob_path(char out[PATH_MAX], const char *log_dir, const struct merkle_hash *h)
{
	char hex[MERKLE_HEX_BYTES];

	merkle_hex(h, hex);
	io_path(out, PATH_MAX, "%s/blob/%.2s/%s", log_dir, hex, hex);
}

static void
make_dirs(const char *log_dir, const struct merkle_hash *h)
{
	char parent[PATH_MAX];
	char path[PATH_MAX];
	char hex[MERKLE_HEX_BYTES];

	io_path(parent, sizeof(parent), "%s/blob", log_dir);
	io_path(
	    path, sizeof(path), "%s/blob/%.2s", log_dir, merkle_hex(h, hex));
	if ((mkdir(parent, 0700) < 0 && errno != EEXIST) ||
	    (mkdir(path, 0700) < 0 && errno != EEXIST) ||
	    !io_fsync_dir(parent) || !io_fsync_dir(log_dir))
		log_fatal("blob_failed", "%s: %s", path, strerror(errno));
}

json_t *
blob_put(const char *log_dir, const void *data, size_t n)
{
	const struct merkle_part part = { data, n };
	struct merkle_hash h;
	char path[PATH_MAX];
	struct stat st;
	json_t *ref = jsonx_object();

	merkle_sha256(&part, 1, &h);
	blob_path(path, log_dir, &h);
	if (stat(path, &st) < 0 || (size_t)st.st_size != n) {
		make_dirs(log_dir, &h);
		if (!io_replace_file(path, data, n, 0600))
			log_fatal(
			    "blob_failed", "%s: %s", path, strerror(errno));
	}
	jsonx_set(ref, "sha256", jsonx_hash(&h));
	jsonx_set(ref, "bytes", jsonx_int(n));
	return ref;
}

bool
blob_check(const char *log_dir, const struct blob_ref *ref, char *error,
    size_t error_size)
{
	char path[PATH_MAX];
	struct buf b = { 0 };
	struct merkle_hash h;
	bool ok = false;

	blob_path(path, log_dir, &ref->hash);
	if (!io_read_file(path, &b, MAX_BLOB))
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
	else {
		const struct merkle_part part = { b.data, b.len };

		merkle_sha256(&part, 1, &h);
		ok = b.len == ref->bytes &&
		     memcmp(&h, &ref->hash, sizeof(h)) == 0;
		if (!ok)
			snprintf(error, error_size,
			    "%s: its bytes are not those of its name", path);
	}
	buf_free(&b);
	return ok;
}

/* --- shortening --- */

static json_t *shortened(const char *log_dir, json_t *v);

static void
shorten_members(const char *log_dir, json_t *object)
{
	const char *key;
	json_t *v;
	void *next;

	json_object_foreach_safe(object, next, key, v)
	{
		json_t *new = shortened(log_dir, v);

		if (new != NULL)
			jsonx_set(object, key, new);
	}
}

/* What stands for v if it is a long string; else NULL, its parts done. */
static json_t *
shortened(const char *log_dir, json_t *v)
{
	if (json_is_string(v) && json_string_length(v) > LONG_STRING)
		return blob_put(
		    log_dir, json_string_value(v), json_string_length(v));
	if (json_is_object(v))
		shorten_members(log_dir, v);
	for (size_t i = 0; i < json_array_size(v); i++) {
		json_t *new = shortened(log_dir, json_array_get(v, i));

		if (new != NULL && json_array_set_new(v, i, new) != 0)
			log_fatal("json_failed", "no memory for JSON");
	}
	return NULL;
}

static size_t
dumped_size(const json_t *v)
{
	return json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void
replace_longest(const char *log_dir, json_t *body)
{
	const char *longest = NULL;
	size_t most = 0;
	size_t len;
	const char *key;
	json_t *v;
	char *text;

	json_object_foreach(body, key, v) if (dumped_size(v) > most)
	{
		most = dumped_size(v);
		longest = key;
	}
	text = jsonx_dump(json_object_get(body, longest), &len);
	jsonx_set(body, longest, blob_put(log_dir, text, len));
	free(text);
}

void
blob_shorten(const char *log_dir, json_t *body, size_t max)
{
	if (dumped_size(body) <= max)
		return;
	shorten_members(log_dir, body);
	while (dumped_size(body) > max)
		replace_longest(log_dir, body);
}
