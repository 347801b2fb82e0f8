/*
 * witnessctl_common.c: paths and safe printing for the subcommands.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "jsonx.h"
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
