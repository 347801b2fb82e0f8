/*
 * rowenc.h: canonical bytes of rows and the roots over them.
 *
 *	lp(x)      u32 big-endian length, then x
 *	row_bytes  for each non-NULL column, sorted bytewise by name:
 *	           lp(name) lp(type) lp(value)
 *	row_id     for each primary-key column, in key order: lp(value)
 *	table_root tree over the leaves of rows sorted by (row_id, row_bytes)
 *	table_leaf SHA-256("TABLE:" lp(schema) lp(table) table_root)
 *	db_root    tree over table leaves sorted by (schema, table)
 *
 * Golden vectors: test/vectors/state.json.  value is what the type's output
 * function gives in wire format 0 under the canonical settings.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ROWENC_H
#define PGW_ROWENC_H

#include "arena.h"
#include "buf.h"
#include "merkle.h"

struct rowenc_column {
	const char *name;
	const char *type;	/* format_type(), empty search_path */
	unsigned key;		/* place in the primary key from 1, 0: no part */
	char identity;		/* pg_attribute.attidentity, 0 if none */
	char generated;		/* pg_attribute.attgenerated, 0 if none */
};

/* The shape of a table's rows; columns in attnum order. */
struct rowenc_shape {
	struct rowenc_column *columns;
	unsigned n_columns;
	unsigned *by_name;	/* column indexes sorted bytewise by name */
	unsigned *key;		/* column indexes in key order */
	unsigned n_key;		/* 0: table without a key */
};

/* One column's value; data NULL means SQL NULL (an empty string is not). */
struct rowenc_value {
	const uint8_t *data;
	size_t len;
};

/* A row in canonical form; both parts live in an arena. */
struct rowenc_row {
	const uint8_t *id;
	size_t id_len;
	const uint8_t *bytes;
	size_t bytes_len;
};

/* Fills by_name, key and n_key from columns[].  False: arena limit. */
PGW_MUSTCHECK bool rowenc_shape_init(struct rowenc_shape *s, struct arena *a);

/* NULL: it has none of that name. */
const struct rowenc_column *rowenc_column_named(
    const struct rowenc_shape *s, const char *name);

/* values[] is in shape->columns order.  False: arena limit, or a NULL key. */
PGW_MUSTCHECK bool rowenc_encode(const struct rowenc_shape *s,
	const struct rowenc_value *values, struct arena *a,
	struct rowenc_row *out);

/*
 * Splits row_bytes back into values[] (columns order; absent is NULL).  False
 * if the bytes are not of this shape.  Values point into the row.
 */
PGW_MUSTCHECK bool rowenc_decode(const struct rowenc_shape *s,
	const struct rowenc_row *row, struct rowenc_value *values);

/* Orders by row_id alone, bytewise. */
int rowenc_compare_ids(
	const struct rowenc_row *a, const struct rowenc_row *b);
/* Orders by (row_id, row_bytes), bytewise. */
int rowenc_compare(const struct rowenc_row *a, const struct rowenc_row *b);

/* By rowenc_compare(), in place. */
void rowenc_sort(struct rowenc_row *rows, size_t n);

/*
 * Which ids are among many rows, where looking at each would take long.  The
 * rows stay where they are; to be freed by rowenc_ids_free().
 */
struct rowenc_ids {
	const struct rowenc_row **sorted;
	size_t n;
};
struct rowenc_ids rowenc_ids_of(const struct rowenc_row *rows, size_t n);
PGW_MUSTCHECK bool rowenc_ids_have(
	const struct rowenc_ids *ids, const struct rowenc_row *row);
void rowenc_ids_free(struct rowenc_ids *ids);

/* Sorts rows in place and gives the table's root. */
void rowenc_table_root(struct rowenc_row *rows, size_t n,
	struct merkle_hash *out);

/* table_leaf, the leaf of the database tree. */
void rowenc_table_leaf(const char *schema, const char *table,
	const struct merkle_hash *root, struct merkle_hash *out);

struct rowenc_table {
	const char *schema;
	const char *table;
	struct merkle_hash root;
};

/* Sorts tables in place and gives the database root. */
void rowenc_database_root(struct rowenc_table *tables, size_t n,
	struct merkle_hash *out);

/*
 * Splits the text of a composite value, "(a,"b ""c""",)", as record_out
 * writes it (PostgreSQL manual 8.16.6), into n values.  Values point into the
 * arena or the text.  False: not a composite of n columns, or arena limit.
 */
PGW_MUSTCHECK bool rowenc_split_composite(const uint8_t *text, size_t len,
	struct arena *a, struct rowenc_value *values, size_t n);

#endif
