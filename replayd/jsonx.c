/*
 * jsonx.c: jansson with every result checked.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "jsonx.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static json_t *
checked(json_t *v)
{
	if (v == NULL)
		log_fatal("json_failed", "no memory for a JSON value");
	return v;
}

json_t *
jsonx_object(void)
{
	return checked(json_object());
}

json_t *
jsonx_array(void)
{
	return checked(json_array());
}

/* Keys are column names, too: one that is not UTF-8 is named in hex. */
static char *
hex_of(const void *s, size_t n, const char *prefix)
{
	const uint8_t *p = s;
	size_t head = strlen(prefix);
	char *hex = malloc(head + 2 * n + 1);

	if (hex == NULL)
		log_fatal("json_failed", "no memory for a JSON value");
	memcpy(hex, prefix, head + 1);
	for (size_t i = 0; i < n; i++)
		snprintf(hex + head + 2 * i, 3, "%02x", p[i]);
	return hex;
}

void
jsonx_set(json_t *object, const char *key, json_t *value)
{
	char *hex;

	if (json_object_set(object, key, checked(value)) != 0) {
		hex = hex_of(key, strlen(key), "\\x");
		if (json_object_set(object, hex, value) != 0)
			log_fatal("json_failed", "a JSON member is refused");
		free(hex);
	}
	json_decref(value);
}

void
jsonx_append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, checked(value)) != 0)
		log_fatal("json_failed", "no memory for a JSON value");
}

json_t *
jsonx_textn(const void *s, size_t n)
{
	json_t *v = NULL;
	char *hex;

	if (n == 0)
		return checked(json_string(""));
	if (memchr(s, '\0', n) == NULL)
		v = json_stringn(s, n);
	if (v != NULL)
		return v;
	hex = hex_of(s, n, "");
	v = jsonx_object();
	jsonx_set(v, "hex", json_string(hex));
	free(hex);
	return v;
}

json_t *
jsonx_text(const char *s)
{
	return jsonx_textn(s, strlen(s));
}

json_t *
jsonx_text_or_null(const char *s)
{
	return s == NULL || *s == '\0' ? json_null() : jsonx_text(s);
}

json_t *
jsonx_int(uint64_t v)
{
	return checked(json_integer((json_int_t)v));
}

json_t *
jsonx_decimal(uint64_t v)
{
	char text[24];

	if (v == 0)
		return json_null();
	snprintf(text, sizeof(text), "%" PRIu64, v);
	return checked(json_string(text));
}

json_t *
jsonx_hash(const struct merkle_hash *h)
{
	char hex[MERKLE_HEX_BYTES];

	return checked(json_string(merkle_hex(h, hex)));
}

char *
jsonx_dump(const json_t *v, size_t *len)
{
	char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

	if (text == NULL)
		log_fatal("json_failed", "a JSON value cannot be written");
	*len = strlen(text);
	return text;
}

const char *
jsonx_get(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

uint64_t
jsonx_get_int(const json_t *object, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(object, key));

	return v > 0 ? (uint64_t)v : 0;
}

bool
jsonx_get_hash(const json_t *object, const char *key, struct merkle_hash *h)
{
	const char *hex = jsonx_get(object, key);

	return hex != NULL && merkle_unhex(hex, strlen(hex), h);
}
