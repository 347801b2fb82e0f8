/*
 * fuzz_text.h: a line that was written as text is what jansson would write of
 * the same values: read and written again it is the same bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_FUZZ_TEXT_H
#define PGW_FUZZ_TEXT_H

#include <string.h>

#include "../../replayd/jsonx.h"
#include "../../replayd/line.h"
#include "fuzz.h"

static inline void
fuzz_line_is_json(const struct line *l)
{
	json_t *v = line_json(l);
	size_t len;
	char *text = jsonx_dump(v, &len);

	must(len == l->text.len + 2);
	must(memcmp(text + 1, l->text.data, l->text.len) == 0);
	must(memchr(text, '\n', len) == NULL);
	free(text);
	json_decref(v);
}

#endif
