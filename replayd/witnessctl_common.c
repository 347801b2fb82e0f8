/*
 * witnessctl_common.c: paths and safe printing for the subcommands.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "evlog.h"
#include "ioutil.h"
#include "jscan.h"
#include "jsonx.h"
#include "key.h"
#include "witnessctl.h"

bool
witnessctl_log_dir(const struct witnessctl_args *a, char out[PATH_MAX])
{
	struct config *c;
	char error[1024];

	if (a->log_dir != NULL) {
		snprintf(out, PATH_MAX, "%s", a->log_dir);
		return true;
	}
	if (a->data_dir == NULL) {
		fprintf(stderr, "witnessctl: say where: -D DIR or --log DIR\n");
		return false;
	}
	c = config_load(a->data_dir, a->config_file, error, sizeof(error));
	if (c == NULL) {
		fprintf(stderr, "witnessctl: %s\n", error);
		return false;
	}
	config_log_path(c, ".", out, PATH_MAX);
	out[strlen(out) - strlen("/.")] = '\0';
	config_free(c);
	return true;
}

pid_t
witnessctl_postmaster(const char *data_dir)
{
	char path[PATH_MAX];
	struct buf b = { 0 };
	long pid = 0;

	if (data_dir == NULL)
		return 0;
	io_path(path, sizeof(path), "%s/pgwitness.pid", data_dir);
	if (io_read_file(path, &b, 4096)) {
		buf_put_u8(&b, '\0');
		pid = strtol((const char *)b.data, NULL, 10);
	}
	buf_free(&b);
	if (pid <= 0 || (kill((pid_t)pid, 0) < 0 && errno != EPERM))
		return 0;
	return (pid_t)pid;
}

uint64_t
witnessctl_tx_id(const struct witnessctl_args *a)
{
	const char *word = a->n_words == 1 ? a->words[0] : "";
	uint64_t tx_id;
	char *end;

	errno = 0;
	tx_id = strtoull(word, &end, 10);
	if (*word >= '1' && *word <= '9' && *end == '\0' && errno == 0)
		return tx_id;
	fprintf(stderr, "witnessctl: one TXID is needed, a number from 1\n");
	return 0;
}

bool
witnessctl_load_keys(const struct witnessctl_args *a, struct key_public *keys)
{
	char error[512];

	if (a->n_keys == 0) {
		fprintf(stderr, "witnessctl: --key FILE.pub is needed\n");
		return false;
	}
	for (size_t i = 0; i < a->n_keys; i++)
		if (!key_load_public(
			a->keys[i], &keys[i], error, sizeof(error))) {
			fprintf(stderr, "witnessctl: %s\n", error);
			return false;
		}
	return true;
}

/* --- lines of one transaction --- */

/* Most lines do not even contain the number. */
static bool
may_name(const struct evlog_line *line, const char *digits)
{
	return memmem(line->text, line->len, digits, strlen(digits)) != NULL;
}

int
witnessctl_lines_of(const char *log_dir, uint64_t tx_id,
    bool (*take)(void *context, const struct evlog_line *line, uint64_t seq),
    void *context)
{
	const struct evlog_place first = { evlog_lowest(log_dir, NULL), 0, 0 };
	struct evlog *l = evlog_open(log_dir);
	struct jscan *s = jscan_new();
	struct jscan_fields f;
	struct evlog_line line;
	enum evlog_result r = EVLOG_END;
	char digits[24];
	char error[512] = "no memory";
	int found = 0;

	snprintf(digits, sizeof(digits), "%" PRIu64, tx_id);
	if (l == NULL || (first.file > 0 && !evlog_seek(l, &first)))
		r = EVLOG_WRONG;
	else
		while ((r = evlog_next(l, &line, error, sizeof(error))) ==
		       EVLOG_LINE)
			if (may_name(&line, digits) &&
			    jscan_line(s, line.text, line.len, &f, error,
				sizeof(error)) &&
			    jscan_count(&f.member[JSCAN_TX_ID]) == tx_id) {
				found++;
				if (!take(context, &line,
					jscan_count(&f.member[JSCAN_SEQ])))
					break;
			}
	jscan_free(s);
	evlog_close(l);
	if (r == EVLOG_WRONG)
		fprintf(stderr, "witnessctl: %s: %s\n", log_dir, error);
	return r == EVLOG_WRONG ? -1 : found;
}

/* --- printing --- */

/* C0, DEL, and C1 in UTF-8 (0xc2 0x80..0x9f): a terminal obeys them. */
void
witnessctl_print(FILE *out, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	for (; *p != '\0'; p++)
		if (*p < ' ' || *p == 0x7f)
			fprintf(out, "\\x%02x", *p);
		else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
			fprintf(out, "\\u00%02x", *++p);
		else
			putc(*p, out);
}

void
witnessctl_print_json(FILE *out, const json_t *v)
{
	size_t len;
	char *text;

	if (json_is_string(v)) {
		witnessctl_print(out, json_string_value(v));
		return;
	}
	if (v == NULL)
		return;
	text = jsonx_dump(v, &len);
	witnessctl_print(out, text);
	free(text);
}
