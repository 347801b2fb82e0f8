/*
 * facts.c: what is asked of the server once per captured transaction.
 *
 * The tables are under lock by then (their rows were locked or changed), so a
 * fingerprint that is still the cached one held for the captures too.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_sql.h"
#include "fingerprint.h"
#include "ioutil.h"
#include "mem.h"
#include "quiet.h"
#include "watch.h"

/* 2000-01-01 UTC as microseconds since 1970. */
#define TIMESTAMP_EPOCH_US INT64_C(946684800000000)
#define SETTING(name) " pg_catalog.current_setting('" name "'),"

static const char *const setting_names[FACTS_SETTINGS] = { "search_path",
	"DateStyle", "IntervalStyle", "TimeZone", "extra_float_digits",
	"bytea_output", "lc_monetary", "lc_numeric", "lc_time",
	"default_text_search_config", "standard_conforming_strings",
	"client_encoding", "synchronous_commit" };
enum {
	S_SEARCH_PATH,
	S_DATESTYLE,
	S_INTERVALSTYLE,
	S_TIMEZONE,
	S_FLOAT,
	S_BYTEA,
	S_MONETARY,
	S_ROLE = FACTS_SETTINGS /* of replication: the first rare one */
};

/* Whose names are in the values of one column, and what they mostly are. */
static const char *const rare_names[FACTS_RARE] = { "session_replication_role",
	"array_nulls", "transform_null_equals", "xmlbinary", "xmloption",
	"timezone_abbreviations", "quote_all_identifiers" };
static const char rare_defaults[] = "origin,on,off,base64,content,Default,off";

/* SQL, broken where it reads. */
/* clang-format off */
#define MOMENT                                                               \
	"CAST(pg_catalog.pg_current_xact_id_if_assigned()"                   \
	" AS pg_catalog.text)"                                               \
	", " FACTS_TIME("pg_catalog.now()")                                  \
	", " FACTS_TIME("pg_catalog.pg_conf_load_time()")
#define SETTINGS                                                             \
	SETTING("transaction_isolation")                                     \
	SETTING("search_path") SETTING("DateStyle") SETTING("IntervalStyle") \
	SETTING("TimeZone") SETTING("extra_float_digits")                    \
	SETTING("bytea_output") SETTING("lc_monetary") SETTING("lc_numeric") \
	SETTING("lc_time") SETTING("default_text_search_config")             \
	SETTING("standard_conforming_strings") SETTING("client_encoding")    \
	SETTING("synchronous_commit") " pg_catalog.concat_ws(',',"           \
	SETTING("session_replication_role") SETTING("array_nulls")           \
	SETTING("transform_null_equals") SETTING("xmlbinary")                \
	SETTING("xmloption") SETTING("timezone_abbreviations")               \
	" pg_catalog.current_setting('quote_all_identifiers'))"
#define COLUMNS MOMENT "," SETTINGS
static const char facts_sql[] = "SELECT " COLUMNS;
/* What makes a table plain does not show in its fingerprint alone. */
static const char quick_sql[] = "SELECT " COLUMNS ", " CATALOG_USER_OPERATORS;
/* clang-format on */
enum {
	F_XID,
	F_NOW,
	F_LOADED,
	F_ISOLATION,
	F_SETTINGS,
	F_RARE = F_SETTINGS + FACTS_SETTINGS,
	F_OPERATORS = FACTS_COLUMNS,
	F_COLUMNS
};

/* Those of the transaction, and n more, without the same one twice. */
static size_t
gather(const struct txn *t, const struct catalog_table *const *tables, size_t n,
    const struct catalog_table **all)
{
	size_t k = 0;

	for (size_t i = 0; i < t->n_tables; i++)
		all[k++] = t->tables[i].catalog;
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;

		while (j < k && all[j] != tables[i])
			j++;
		all[j] = tables[i];
		k += j == k;
	}
	return k;
}

static bool
may_be_quick(const struct catalog_table *const *tables, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (tables[i]->quick == NULL)
			return false;
	return n <= FINGERPRINT_FEW;
}

void
facts_put_settings(struct session *s, bool keep)
{
	s->txn->quick = false;
	s->txn->known = true;
	kept_put(s, keep ? KEPT_FACTS : KEPT_NONE, facts_sql, NULL, 0);
}

void
facts_put(struct session *s, const struct txn *t,
    const struct catalog_table *const *tables, size_t n)
{
	const struct catalog_table **all;

	if (n == 0 && watch_knows_all(s)) {
		facts_put_settings(s, true);
		return;
	}
	s->txn->known = false;
	all = mem_zalloc(t->n_tables + n + 1, sizeof(*all));
	n = gather(t, tables, n, all);
	s->txn->quick = may_be_quick(all, n);
	if (s->txn->quick)
		kept_put(s, KEPT_QUICK_FACTS, quick_sql, NULL, 0);
	else
		kept_put(s, KEPT_FACTS, facts_sql, NULL, 0);
	fingerprint_put(s, all, n, s->txn->quick);
	free(all);
}

struct reading {
	struct txn *t;
	struct facts *f;
	bool operators; /* CATALOG_USER_OPERATORS */
	bool whole;
};

/* A copy in the transaction's arena; "" at its limit. */
static const char *
keep(struct txn *t, const struct exchange_value *v)
{
	const char *c = v->data == NULL
			    ? ""
			    : arena_memdup(t->arena, v->data, v->len);

	if (c != NULL)
		return c;
	txn_degrade(t, CAPTURE_INCOMPLETE, "max_capture_bytes");
	return "";
}

/* FACTS_TIME() as the record has it; "" if it is none. */
static const char *
keep_time(struct txn *t, const struct exchange_value *v)
{
	const char *hex = keep(t, v);
	char time[IO_TIME_BYTES + sizeof("+00")];
	struct exchange_value text = { .data = (const uint8_t *)time };
	int64_t us;

	if (strlen(hex) != FACTS_TIME_DIGITS ||
	    strspn(hex, "0123456789abcdef") != FACTS_TIME_DIGITS)
		return "";
	us = (int64_t)strtoull(hex, NULL, 16);
	if (us > INT64_MAX - TIMESTAMP_EPOCH_US)
		return "";
	io_format_time(us + TIMESTAMP_EPOCH_US, time);
	time[strcspn(time, "T")] = ' ';
	memcpy(strchr(time, 'Z'), "+00", sizeof("+00"));
	text.len = strlen(time);
	return keep(t, &text);
}

void
facts_give_up(struct facts *f)
{
	f->tables = "";
	f->same = false;
	if (f->n_settings > 0)
		return;
	if (f->now == NULL)
		f->now = "";
	f->loaded = f->isolation = "";
	for (size_t i = 0; i < FACTS_SETTINGS; i++) {
		f->settings[i].name = setting_names[i];
		f->settings[i].value = "";
	}
	f->n_settings = FACTS_SETTINGS;
}

bool
facts_are_of(const struct txn *t, const struct facts *f,
    const struct catalog_table *table)
{
	return fingerprint_is_of(f->tables, t->quick, table);
}

static void
check_tables(struct session *s, struct txn *t, const struct facts *f)
{
	for (size_t i = 0; i < t->n_tables && !f->same; i++)
		if (facts_are_of(t, f, t->tables[i].catalog))
			watch_learn(s, &t->tables[i]);
		else
			txn_degrade(t, CAPTURE_INCOMPLETE, "schema_changed");
}

void
facts_put_columns(struct buf *sql, bool settings)
{
	buf_put_str(sql, settings ? COLUMNS : MOMENT);
}

/* "value,value,...": none of them has a comma in it. */
static void
take_rare(struct txn *t, struct facts *f, const struct exchange_value *v)
{
	const char *p;

	if (v->data != NULL && v->len == strlen(rare_defaults) &&
	    memcmp(v->data, rare_defaults, v->len) == 0)
		return;
	p = keep(t, v);
	for (size_t i = 0; i < FACTS_RARE; i++) {
		struct record_setting *s = &f->settings[f->n_settings++];
		size_t n = strcspn(p, ",");

		s->name = rare_names[i];
		s->value = keep(t, &(struct exchange_value){
			.data = (const uint8_t *)p, .len = n });
		p += n + (p[n] == ',');
	}
}

void
facts_take_columns(struct txn *t, struct facts *f,
    const struct exchange_value *v, bool settings)
{
	f->xid = strtoull(keep(t, &v[F_XID]), NULL, 10);
	f->now = keep_time(t, &v[F_NOW]);
	f->loaded = keep(t, &v[F_LOADED]);
	f->reloaded = v[F_NOW].len == FACTS_TIME_DIGITS &&
		      v[F_LOADED].len == FACTS_TIME_DIGITS &&
		      memcmp(v[F_LOADED].data, v[F_NOW].data,
			  FACTS_TIME_DIGITS) > 0;
	if (!settings)
		return;
	f->isolation = keep(t, &v[F_ISOLATION]);
	for (size_t i = 0; i < FACTS_SETTINGS; i++) {
		f->settings[i].name = setting_names[i];
		f->settings[i].value = keep(t, &v[F_SETTINGS + i]);
	}
	f->n_settings = FACTS_SETTINGS;
	take_rare(t, f, &v[F_RARE]);
}

static bool
remember(struct known_settings *k, const char *value)
{
	size_t n = strlen(value) + 1;

	if (n > sizeof(k->values) - k->len)
		return false;
	memcpy(k->values + k->len, value, n);
	k->len += n;
	return true;
}

void
facts_remember(struct session *s, const struct facts *f, uint64_t n)
{
	struct known_settings *k = &s->settings;

	k->told = s->ran;
	k->len = 0;
	k->valid = quiet_in_transaction(s, n) &&
		   f->n_settings == FACTS_SETTINGS &&
		   strlen(f->loaded) < sizeof(k->loaded) &&
		   remember(k, f->isolation);
	for (size_t i = 0; k->valid && i < FACTS_SETTINGS; i++)
		k->valid = remember(k, f->settings[i].value);
	if (k->valid)
		strcpy(k->loaded, f->loaded);
}

bool
facts_remembered(const struct session *s, uint64_t n)
{
	return s->settings.valid && quiet_since(s, s->settings.told - 1, n);
}

bool
facts_recall(struct session *s, struct facts *f)
{
	struct known_settings *k = &s->settings;
	const char *p = k->values;

	k->valid = strcmp(k->loaded, f->loaded) == 0;
	if (!k->valid)
		return false;
	f->isolation = p;
	for (size_t i = 0; i < FACTS_SETTINGS; i++) {
		p += strlen(p) + 1;
		f->settings[i].name = setting_names[i];
		f->settings[i].value = p;
	}
	f->n_settings = FACTS_SETTINGS;
	return true;
}

bool
facts_tell_settings(struct facts *f, const struct facts *later)
{
	bool same = strcmp(f->loaded, later->loaded) == 0 &&
		    (f->n_settings == 0 || f->n_settings == later->n_settings);

	for (size_t i = 0; same && i < f->n_settings; i++)
		same = strcmp(f->settings[i].value, later->settings[i].value) ==
		       0;
	f->isolation = later->isolation;
	memcpy(f->settings, later->settings, sizeof(f->settings));
	f->n_settings = later->n_settings;
	return same;
}

bool
facts_known(const struct session *s, uint64_t n)
{
	const struct txn_settings *told = &s->txn->settings;

	return facts_remembered(s, n) ||
	       (told->values != NULL && quiet_since(s, told->at - 1, n));
}

/* As known_settings has them. */
static void
pack(struct buf *b, const struct facts *f)
{
	buf_put_cstr(b, f->isolation);
	for (size_t i = 0; i < f->n_settings; i++)
		buf_put_cstr(b, f->settings[i].value);
}

/* The first ones, or the same. */
static void
settle(struct session *s, const void *values, size_t len)
{
	struct txn *t = s->txn;
	struct txn_settings *told = &t->settings;

	if (told->values == NULL) {
		told->values = arena_memdup(t->arena, values, len);
		told->len = len;
	}
	if (told->values == NULL || told->len != len || t->unsettled ||
	    memcmp(told->values, values, len) != 0)
		txn_degrade(t, CAPTURE_INCOMPLETE, "settings");
}

void
facts_settle(struct session *s, const struct facts *f, uint64_t n)
{
	const struct known_settings *k = &s->settings;
	struct buf b = { 0 };

	if (f == NULL && facts_remembered(s, n)) {
		settle(s, k->values, k->len);
	} else if (f == NULL) {
		/* The server has read its configuration. */
		s->txn->unsettled |= !facts_known(s, n);
		return;
	} else {
		pack(&b, f);
		settle(s, b.data, b.len);
		buf_free(&b);
	}
	s->txn->settings.at = s->ran;
}

static const struct facts *
copy_of(struct arena *a, const struct facts *f)
{
	struct facts *copy = arena_alloc(a, sizeof(*copy));

	if (copy != NULL)
		*copy = *f;
	return copy;
}

void
facts_note_last(struct session *s, int kept, const struct facts *f)
{
	struct txn_last *l = &s->txn->last;

	/* The one before was not the last one. */
	if (l->facts != NULL)
		kept_set_last(s, l->kept, l->placed, false);
	memset(l, 0, sizeof(*l));
	/* What comes behind it in one message is not counted. */
	if (s->one_answer)
		return;
	l->kept = kept;
	l->placed = kept_placed(s, kept);
	l->at = l->ran = s->ran;
	l->facts = f != NULL ? copy_of(s->txn->arena, f) : NULL;
}

void
facts_pass(struct session *s)
{
	struct txn_last *l = &s->txn->last;

	if (l->ran + 1 == s->ran)
		l->ran = s->ran;
}

bool
facts_told(struct session *s, struct facts *f)
{
	const struct txn_last *l = &s->txn->last;
	bool last = l->ran + 1 == s->ran && !s->one_answer;

	if (l->placed != 0)
		kept_set_last(s, l->kept, l->placed, last);
	if (l->placed != 0 && last)
		quiet_note(s, s->ran - l->at);
	if (s->txn->unsettled && !last)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "settings");
	s->txn->unsettled = false;
	if (l->facts == NULL || !last || !watch_knows_all(s)) {
		s->settings.valid = false;
		return false;
	}
	*f = *l->facts;
	f->same = true;
	f->tables = "";
	return true;
}

static bool
facts_row(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v[F_COLUMNS];

	if (!exchange_row_values(
		row, v, r->t->quick ? F_COLUMNS : FACTS_COLUMNS))
		return false;
	facts_take_columns(r->t, r->f, v, true);
	r->operators = r->t->quick && exchange_is_true(&v[F_OPERATORS]);
	r->whole = true;
	return true;
}

static bool
tables_row(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v;

	if (exchange_row_values(row, &v, 1) && !r->operators)
		r->f->tables = keep(r->t, &v);
	return false;
}

enum exchange_end
facts_read(struct session *s, struct txn *t, struct facts *f,
    struct exchange_error *error, struct buf *raw_error)
{
	struct reading r = { .t = t, .f = f };
	enum exchange_end end;

	memset(f, 0, sizeof(*f));
	f->tables = "";
	f->same = t->known;
	end = exchange_read(s, facts_row, &r, error, raw_error);
	kept_answered(
	    s, t->quick ? KEPT_QUICK_FACTS : KEPT_FACTS, end == EXCHANGE_DONE);
	if (end == EXCHANGE_DONE && !t->known)
		end = fingerprint_read(
		    s, t->quick, tables_row, &r, error, raw_error);
	return end == EXCHANGE_DONE && !r.whole ? EXCHANGE_LOST : end;
}

static bool
is(const struct facts *f, int setting, const char *value)
{
	return strcmp(f->settings[setting].value, value) == 0;
}

void
facts_judge(struct session *s, struct txn *t, const struct facts *f)
{
	check_tables(s, t, f);
	if (f->n_settings > FACTS_SETTINGS &&
	    is(f, S_ROLE, "replica"))
		txn_unverifiable(t, REASON_ENVIRONMENT);
	if (t->settings.values != NULL || t->unsettled)
		facts_settle(s, f, 0);
	/* Then nobody knows which ones a statement ran under. */
	if (f->reloaded)
		txn_degrade(t, CAPTURE_INCOMPLETE, "settings");
	if (strcmp(t->reason, "schema_changed") == 0)
		catalog_refuted(s);
}
