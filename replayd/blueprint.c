/*
 * blueprint.c: keeps the archive of a copy, hands it to bundles, reads it back.
 *
 * Called by schema.c and replay.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "blueprint.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
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

#define MAX_ARCHIVE ((size_t)1 << 30)
#define MAX_COLUMNS 16

static const char *const endings[] = { "dump", "json" };

/* --- results as JSON: rows of strings and nulls --- */

static json_t *
put_result(const PGresult *res)
{
	json_t *rows = jsonx_array();

	for (int i = 0; i < PQntuples(res); i++) {
		json_t *row = jsonx_array();

		for (int k = 0; k < PQnfields(res); k++)
			jsonx_append(
			    row, PQgetisnull(res, i, k)
				     ? json_null()
				     : jsonx_text(PQgetvalue(res, i, k)));
		jsonx_append(rows, row);
	}
	return rows;
}

static bool
get_row(PGresult *res, int i, const json_t *row)
{
	int n = PQnfields(res);

	if (json_array_size(row) != (size_t)n)
		return false;
	for (int k = 0; k < n; k++) {
		const char *text = json_string_value(
		    json_array_get(row, (size_t)k));

		/* libpq does not write to it */
		if (!PQsetvalue(res, i, k, (char *)(uintptr_t)text,
			text == NULL ? -1 : (int)strlen(text)))
			return false;
	}
	return true;
}

static PGresult *
get_result(const json_t *rows, int columns)
{
	PGresAttDesc attributes[MAX_COLUMNS] = { 0 };
	PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	bool ok = res != NULL && json_is_array(rows);

	for (int k = 0; k < columns; k++)
		attributes[k].name = (char[]){ "" };
	ok = ok && PQsetResultAttrs(res, columns, attributes);
	for (size_t i = 0; ok && i < json_array_size(rows); i++)
		ok = get_row(res, (int)i, json_array_get(rows, i));
	if (ok)
		return res;
	PQclear(res);
	return NULL;
}

/* --- keeping --- */

static void
kept_path(const struct config *c, const char *name, const char *ending,
    char out[PATH_MAX])
{
	io_path(
	    out, PATH_MAX, "%s/verification/%s.%s", c->data_dir, name, ending);
}

void
blueprint_keep(const struct config *c, const char *name, const char *archive,
    const PGresult *database, const PGresult *extensions)
{
	json_t *v = jsonx_object();
	char path[PATH_MAX];
	char *text;
	size_t len;
	bool ok;

	jsonx_set(v, "database", put_result(database));
	jsonx_set(v, "extensions", put_result(extensions));
	text = jsonx_dump(v, &len);
	kept_path(c, name, "json", path);
	ok = io_replace_file(path, text, len, 0600);
	kept_path(c, name, "dump", path);
	ok = ok && rename(archive, path) == 0;
	if (!ok) {
		log_warning("blueprint", "%s: %s; bundles will lack it", path,
		    strerror(errno));
		unlink(archive);
		unlink(path);
	}
	free(text);
	json_decref(v);
}

static bool
make_dir(const char *path)
{
	return mkdir(path, 0700) == 0 || errno == EEXIST;
}

void
blueprint_link(const struct config *c, const char *name, uint64_t tx_id)
{
	char dir[PATH_MAX];
	char from[PATH_MAX];
	char to[PATH_MAX];
	bool ok;

	io_path(dir, sizeof(dir), "%s/bundles", c->data_dir);
	ok = make_dir(dir);
	io_path(dir, sizeof(dir), "%s/bundles/%" PRIu64, c->data_dir, tx_id);
	ok = ok && make_dir(dir);
	for (size_t i = 0; ok && i < sizeof(endings) / sizeof(*endings); i++) {
		kept_path(c, name, endings[i], from);
		io_path(to, sizeof(to), "%s/bundles/%" PRIu64 "/schema.%s",
		    c->data_dir, tx_id, endings[i]);
		/* Judged again after a crash: the definitions may be others. */
		unlink(to);
		ok = link(from, to) == 0;
	}
	if (!ok)
		log_error("bundle_failed", "%s: %s", dir, strerror(errno));
}

/* --- reading --- */

bool
blueprint_read(const char *dir, const char *archive, PGresult **database,
    PGresult **extensions)
{
	struct buf b = { 0 };
	char path[PATH_MAX];
	json_t *v;
	bool ok;

	io_path(path, sizeof(path), "%s/schema.dump", dir);
	ok = io_read_file(path, &b, MAX_ARCHIVE) &&
	     io_replace_file(archive, b.data, b.len, 0600);
	buf_free(&b);
	if (!ok) {
		log_error("bundle_unreadable", "%s: %s", path, strerror(errno));
		return false;
	}
	io_path(path, sizeof(path), "%s/schema.json", dir);
	v = json_load_file(path, 0, NULL);
	*database = get_result(json_object_get(v, "database"), 6);
	*extensions = get_result(json_object_get(v, "extensions"), 2);
	json_decref(v);
	ok = *database != NULL && PQntuples(*database) == 1 &&
	     *extensions != NULL;
	if (!ok)
		log_error(
		    "bundle_unreadable", "%s: not as replayd wrote it", path);
	return ok;
}
