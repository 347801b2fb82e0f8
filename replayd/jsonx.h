/*
 * jsonx.h: jansson without unchecked results.
 *
 * jansson drops what is not UTF-8 and gives NULL without memory, silently;
 * these end the process instead, so that no field of the evidence is lost.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_JSONX_H
#define PGW_JSONX_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "merkle.h"

json_t *jsonx_object(void);
json_t *jsonx_array(void);

/* value is taken over. */
void jsonx_set(json_t *object, const char *key, json_t *value);
void jsonx_append(json_t *array, json_t *value);

/* For text that comes from outside: {"hex"} if it is not UTF-8 or has a NUL. */
json_t *jsonx_text(const char *s);
json_t *jsonx_textn(const void *s, size_t n);
/* The same, null for NULL or "". */
json_t *jsonx_text_or_null(const char *s);

json_t *jsonx_int(uint64_t v);
/* Decimal string; null for 0. */
json_t *jsonx_decimal(uint64_t v);
json_t *jsonx_hash(const struct merkle_hash *h);

/* Compact text, the caller's to free(); keys as they were put in. */
char *jsonx_dump(const json_t *v, size_t *len);

/* A string member, NULL if there is none. */
const char *jsonx_get(const json_t *object, const char *key);
/* An integer member above 0, else 0. */
uint64_t jsonx_get_int(const json_t *object, const char *key);
/* 64 hex digits; false if the member is not that. */
PGW_MUSTCHECK bool jsonx_get_hash(const json_t *object, const char *key,
	struct merkle_hash *h);

#endif
