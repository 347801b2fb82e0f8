/*
 * copydata.h: the data of COPY FROM, taken apart into rows and fields as
 * PostgreSQL 15 does (copyfromparse.c).
 *
 * Data is what CopyData messages carried, all of it, in UTF-8 or another
 * encoding whose trailing bytes have the high bit set.  It is as hostile as a
 * client: what PostgreSQL would refuse is COPYDATA_BAD or, where it hangs on
 * column types or names, is taken for what it seems.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COPYDATA_H
#define PGW_COPYDATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "rowenc.h"

enum copydata_format { COPYDATA_TEXT, COPYDATA_CSV, COPYDATA_BINARY };

struct copydata_options {
	enum copydata_format format;
	bool header;		/* the first line is no row */
	char delimiter;
	char quote, escape;	/* CSV */
	const char *null;	/* not of binary */
	/* CSV, one for each field, or NULL: */
	const bool *force_null;
	const bool *force_not_null;
};

/* The defaults of a format. */
void copydata_defaults(struct copydata_options *o,
	enum copydata_format format);

enum copydata_eol { COPYDATA_EOL_UNKNOWN, COPYDATA_LF, COPYDATA_CR,
	COPYDATA_CRLF };

/* A reader; all members are copydata.c's. */
struct copydata {
	const struct copydata_options *options;
	const uint8_t *p, *end;
	enum copydata_eol eol;
	bool started, ended;
	struct buf scratch;	/* fields without their escapes */
};

/* Options and data must live as long as the reader. */
void copydata_open(struct copydata *c, const struct copydata_options *o,
	const void *data, size_t len);
void copydata_close(struct copydata *c);

enum copydata_answer { COPYDATA_ROW, COPYDATA_END, COPYDATA_BAD };

/*
 * The next row has *n fields, at most max: more is COPYDATA_BAD.  Of a text
 * or CSV row they are the fields' texts, of a binary one what the type's
 * receive function gets; data NULL is SQL NULL.  They live until the next
 * call.
 */
PGW_MUSTCHECK enum copydata_answer copydata_row(struct copydata *c,
	struct rowenc_value *fields, size_t max, size_t *n);

#endif
