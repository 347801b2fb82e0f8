/*
 * bundle.c: writes the bundle of a mismatch, before its verdict names it.
 *
 * It holds rows and literals: readable by the owner only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ioutil.h"
#include "jsonx.h"
#include "line.h"
#include "log.h"

static bool
make_dir(const char *path)
{
	return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static json_t *
settings(const struct record *r)
{
	json_t *v = jsonx_object();

	for (size_t i = 0; i < r->n_settings; i++)
		jsonx_set(
		    v, r->settings[i].name, jsonx_text(r->settings[i].value));
	return v;
}

static json_t *
readable(uint64_t tx_id, const struct record *r, const json_t *verdict)
{
	static const struct line_context all = { .row_data = true };
	json_t *v = jsonx_object();
	struct line record = { 0 };

	line_record(&record, tx_id, r, &all);
	jsonx_set(v, "record", line_json(&record));
	line_free(&record);
	jsonx_set(v, "now", jsonx_text_or_null(r->now));
	jsonx_set(v, "settings", settings(r));
	jsonx_set(v, "verdict", json_deep_copy(verdict));
	return v;
}

static bool
write_json(const char *path, json_t *v)
{
	char *text = json_dumps(v, JSON_INDENT(2));
	bool ok;

	if (text == NULL)
		log_fatal("json_failed", "a bundle cannot be written as JSON");
	ok = io_replace_file(path, text, strlen(text), 0600);
	free(text);
	json_decref(v);
	return ok;
}

bool
bundle_write(const char *data_dir, uint64_t tx_id, const struct record *r,
    const void *bytes, size_t len, const json_t *verdict,
    char name[BUNDLE_NAME_BYTES])
{
	char dir[PATH_MAX];
	char path[PATH_MAX];
	bool ok;

	snprintf(name, BUNDLE_NAME_BYTES, "bundles/%" PRIu64, tx_id);
	io_path(path, sizeof(path), "%s/bundles", data_dir);
	io_path(dir, sizeof(dir), "%s/%s", data_dir, name);
	ok = make_dir(path) && make_dir(dir) && io_fsync_dir(path);
	io_path(path, sizeof(path), "%s/%s/record.bin", data_dir, name);
	ok = ok && io_replace_file(path, bytes, len, 0600);
	io_path(path, sizeof(path), "%s/%s/transaction.json", data_dir, name);
	ok = ok && write_json(path, readable(tx_id, r, verdict));
	if (!ok)
		log_error("bundle_failed", "%s: %s", path, strerror(errno));
	return ok;
}
