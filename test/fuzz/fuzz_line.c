/*
 * fuzz_line.c: an evidence line of a stranger: `verify` finds in it what
 * jansson finds, and people can read it on a terminal.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <jansson.h>
#include <string.h>

#include "../../replayd/jscan.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/witnessctl.h"
#include "fuzz.h"

static struct jscan *scan;
static FILE *saved;

/* The same member by both readers. */
static void
compare(const struct jscan_value *v, const json_t *line, const char *name)
{
	const json_t *j = json_object_get(line, name);

	switch (v->kind) {
	case JSCAN_ABSENT:
		must(j == NULL);
		break;
	case JSCAN_STRING:
		must(json_is_string(j) && json_string_length(j) == v->len);
		must(memcmp(json_string_value(j), v->text, v->len + 1) == 0);
		break;
	case JSCAN_INTEGER:
		must(json_is_integer(j) && json_integer_value(j) == v->integer);
		break;
	case JSCAN_REAL:
		must(json_is_real(j));
		break;
	case JSCAN_ARRAY:
		must(json_is_array(j));
		break;
	case JSCAN_OBJECT:
		must(json_is_object(j));
		break;
	case JSCAN_NULL:
		must(json_is_null(j));
		break;
	case JSCAN_FALSE:
	case JSCAN_TRUE:
		must(json_is_boolean(j));
		must(json_is_true(j) == (v->kind == JSCAN_TRUE));
		break;
	}
}

static void
compare_line(const struct jscan_fields *f, const json_t *line)
{
	struct merkle_hash a, b;
	bool hash = jscan_hash(&f->member[JSCAN_PREV], &a);
	const json_t *tables = json_object_get(line, "tables");

	compare(&f->member[JSCAN_TYPE], line, "type");
	compare(&f->member[JSCAN_SEQ], line, "seq");
	compare(&f->member[JSCAN_TX_ID], line, "tx_id");
	compare(&f->member[JSCAN_OUTCOME], line, "outcome");
	compare(&f->member[JSCAN_SUCCESS], line, "success");
	compare(&f->member[JSCAN_NEW], line, "new");
	must(hash == jsonx_get_hash(line, "prev", &b));
	must(!hash || memcmp(&a, &b, sizeof(a)) == 0);
	must(f->n_tables ==
	     (json_is_array(tables) ? json_array_size(tables) : 0));
}

/* What people see has no control character of the line's. */
static void
read_aloud(const json_t *line)
{
	char *text = NULL;
	size_t n = 0;

	saved = stdout;
	stdout = open_memstream(&text, &n);
	if (stdout == NULL)
		abort();
	witnessctl_put_line(line);
	fclose(stdout);
	stdout = saved;
	for (size_t i = 0; i + 1 < n; i++)
		must((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jscan_fields f;
	char error[200];
	json_t *line;
	bool good;

	if (scan == NULL)
		scan = jscan_new();
	good = jscan_line(
	    scan, (const char *)data, size, &f, error, sizeof(error));
	line = memchr(data, 0, size) != NULL
		   ? NULL
		   : json_loadb((const char *)data, size,
			 JSON_REJECT_DUPLICATES, NULL);
	must(good == json_is_object(line));
	if (good) {
		fuzz_accepted = 1;
		compare_line(&f, line);
		read_aloud(line);
	}
	json_decref(line);
	return 0;
}
