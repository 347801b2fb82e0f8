/*
 * test_analyze_cache.c: what a cached analysis says is what a fresh one would.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "analyze_fixture.h"

/*
 * Templates for the cache: %s string, %n integer, %f other number, %e
 * E'string', %d dollar-quoted string, %x bit string, %c comment.
 */
static const char *const templates[] = {
	"UPDATE pgbench_accounts SET abalance = abalance + -%n WHERE aid = %n;",
	"SELECT %n", "%c SELECT %s %c",
	"SELECT abalance FROM pgbench_accounts WHERE aid = %n;",
	"INSERT INTO pgbench_history (tid, bid) VALUES (%n, %n)",
	"INSERT INTO t VALUES (%n, %s, %f, %e, %d, %x)",
	"INSERT INTO t VALUES (%n, %s), (%n, %s), (%n, %s)",
	"INSERT INTO t (a, b) VALUES (%s, DEFAULT) RETURNING a, %s, b",
	"INSERT INTO t (a) VALUES (%n) ON CONFLICT (a) DO NOTHING",
	"INSERT INTO t (a) VALUES (%n) ON CONFLICT (a) DO UPDATE SET b = %s "
	"WHERE t.c = %f RETURNING *",
	"INSERT INTO t SELECT %n, a FROM u WHERE b = %s",
	"INSERT INTO t SELECT %s AS returning FROM u RETURNING %n",
	"INSERT INTO t OVERRIDING USER VALUE VALUES (%n)",
	"INSERT INTO t DEFAULT VALUES %c",
	"INSERT INTO t VALUES (nextval(%s), now(), f(%n))",
	"INSERT INTO t WITH x AS (SELECT %n) SELECT * FROM x",
	"INSERT INTO t VALUES ((SELECT max(a) FROM u WHERE b = %n))",
	"UPDATE t SET a = %s WHERE id = %n",
	"UPDATE t SET a = %s, b = %n WHERE id = %n AND k = %s",
	"UPDATE t SET a = %e WHERE id = %n RETURNING id, %s || a",
	"UPDATE t SET a = %d WHERE %n = id",
	"UPDATE ONLY s.t x SET a = %s WHERE x.id = %n",
	"UPDATE t SET a[%n] = %n WHERE id = %n",
	"UPDATE t SET (a, b) = (%n, %s) WHERE id = %n",
	"UPDATE t SET a = %n FROM u WHERE u.id = t.id AND u.b = %s",
	"UPDATE t SET a = %n WHERE id = %n::bigint",
	"UPDATE t SET a = %n WHERE id = CAST(%s AS uuid)",
	"UPDATE t SET a = %n WHERE d = date %s",
	"UPDATE t SET a = a + interval %s day WHERE id = %n",
	"UPDATE t SET a = %s::varchar(%n) WHERE id = %n",
	"UPDATE t SET a = %n WHERE id = $1 AND b = %s",
	"UPDATE t SET a = %n WHERE id = -%n",
	"UPDATE t SET a = %n WHERE id = %f",
	"UPDATE t SET a = %n WHERE id IN (%n, %n, %n)",
	"UPDATE t SET a = %n WHERE id = %n OR id = %n",
	"UPDATE t SET a = %n WHERE id > %n",
	"UPDATE t SET a = %n WHERE id = NULL AND b = %n",
	"UPDATE t SET a = %n WHERE b = %s %c RETURNING %c a %c",
	"UPDATE %c t %c SET %c a %c = %c %n %c WHERE %c id %c = %c %n %c ; %c",
	"UPDATE t SET a = %s WHERE CURRENT OF c",
	"UPDATE t SET a = DEFAULT WHERE id = %n",
	"UPDATE t SET a = CASE WHEN b = %n THEN %s ELSE %s END WHERE id = %n",
	"UPDATE t SET a = (SELECT b FROM u WHERE c = %s) WHERE id = %n",
	"UPDATE \"t %\" SET \"a '\" = %s WHERE \"i''d\" = %n",
	"UPDATE t\303\244 SET \303\266 = %s WHERE \303\274 = %s",
	"UPDATE t SET a = f(%s, %n) WHERE id = g(%n)",
	"UPDATE t SET a = %n WHERE s = %s AND n = N%s",
	"UPDATE t SET a = %x WHERE id = %n",
	"UPDATE t SET a = %n+%n-%n*%n/%n WHERE id=%n",
	"UPDATE t SET a=%s WHERE id=%n AND b=%s;",
	"UPDATE t SET a = %s::jsonb WHERE id = %n RETURNING t",
	"UPDATE t SET a = a || %s WHERE id = %n",
	"UPDATE t SET a = now() + %s WHERE id = %n",
	"WITH x AS (SELECT %n AS a) UPDATE t SET a = %n FROM x "
	"WHERE t.id = %n",
	"WITH x AS (DELETE FROM u WHERE id = %n RETURNING *) "
	"INSERT INTO t SELECT * FROM x WHERE a = %s",
	"DELETE FROM t", "DELETE FROM t WHERE id = %n",
	"DELETE FROM t WHERE id = %n AND k = %s RETURNING %s, id",
	"DELETE FROM t x WHERE x.id = %n", "DELETE FROM ONLY t WHERE id = %s",
	"DELETE FROM t USING u WHERE t.id = u.id AND u.a = %n",
	"DELETE FROM t WHERE id IN (SELECT a FROM u WHERE b = %n)",
	"DELETE FROM t WHERE a LIKE %s ESCAPE %s",
	"DELETE FROM t WHERE a BETWEEN %n AND %n",
	"DELETE FROM t WHERE a < now() - interval %s",
	"DELETE FROM t WHERE a = %e AND b = %d",
	"DELETE FROM t WHERE a = %f AND b = -%f",
	"SELECT * FROM t WHERE id = %n FOR UPDATE",
	"SELECT a, b FROM t WHERE c = %s ORDER BY %n LIMIT %n OFFSET %n",
	"SELECT count(*) FROM t WHERE a > %f", "SELECT f(%s), g(%n, %s) FROM t",
	"SELECT * FROM generate_series(%n, %n)",
	"SELECT extract(year FROM timestamp %s)",
	"SELECT a FROM t GROUP BY a HAVING sum(b) > %n",
	"SELECT a FROM t WHERE b = %s UNION SELECT c FROM u WHERE d = %s",
	"SELECT * FROM t JOIN u ON t.a = u.a AND u.b = %n WHERE t.c = %s",
	"SELECT * FROM t WHERE a = ANY (ARRAY[%n, %n])",
	"SELECT * FROM t WHERE a ~ %s AND b !~ %s",
	"SELECT * FROM t FETCH FIRST %n ROWS ONLY",
	"SELECT %s AS \"x\", %n AS y", "SELECT current_timestamp(%n), %s",
	"SELECT (%n, %s)", "SELECT %n;SELECT %s;", "SELECT %f::numeric(%n, %n)",
	"SELECT -%n, +%n, - %f", "SELECT a.%c b FROM a", "SELECT 'a' = %s",
	"SELECT $1, %s, $2",
	"SELECT coalesce(a, %s), nullif(b, %n), greatest(%n, %n) FROM t",
	"SELECT CASE a WHEN %n THEN %s WHEN %n THEN %s END FROM t",
	"SELECT * FROM t TABLESAMPLE system (%n) REPEATABLE (%n)",
	"SELECT * FROM (VALUES (%n, %s), (%n, %s)) v (a, b)",
	"SELECT * FROM t WHERE (a, b) = (%n, %s)",
	"SELECT * FROM t WHERE EXISTS (SELECT %n FROM u WHERE u.a = %s)",
	"SELECT pg_sleep(%f)",
	"WITH RECURSIVE r AS (SELECT %n AS n UNION ALL SELECT n + %n FROM r "
	"WHERE n < %n) SELECT * FROM r",
	"VALUES (%n, %s), (%n, %s)",
	"BEGIN; UPDATE t SET a = %s WHERE id = %n; COMMIT",
	"BEGIN; INSERT INTO t VALUES (%s); DELETE FROM t WHERE id = %n; END;",
	"UPDATE t SET a = %s; ; UPDATE u SET b = %n WHERE id = %n ;;",
	"BEGIN ISOLATION LEVEL SERIALIZABLE %c", "COMMIT AND CHAIN %c",
	"ROLLBACK TO a %c", "SAVEPOINT a %c ;", "PREPARE TRANSACTION %s",
	"COMMIT PREPARED %s", "%c", "%c ; %c", "SELECT/**/%n%c,%s\n,%f\t\r\n",
	"SELECT x'1f', b'01', %n",
	"UPDATE t SET a = a + %z, b = %z WHERE id = %z",
	"UPDATE t SET a = %z, b = %z * a WHERE id = %z AND k = %z",
	"INSERT INTO t VALUES (a, %z,%z) RETURNING a, %z",
	"DELETE FROM t WHERE id = %z AND k = %z RETURNING a > %z",
	"SELECT f(a, %z) + %z FROM t WHERE a < %z ORDER BY a, %z",
	"SELECT b -> %z, c = %z collate x, a IN (b, %z) FROM t",
	"SELECT numeric(9, %z) '1', a[b + %z], row(a, %z)",
	"UPDATE t SET a = %s WHERE id = %n\n-- the end\n"
};
#define N_TEMPLATES (sizeof(templates) / sizeof(templates[0]))
#define N_VALUES 3

static const struct {
	char letter;
	const char *values[N_VALUES];
} literals[] = {
	{ 's', { "'x'", "''", "'it''s \346\226\207 \"; -- /* a longer one'" } },
	{ 'n', { "1", "1234567890", "0042" } },
	{ 'z', { "1", "-20", "-300000" } },
	{ 'f', { "1.5", ".25e-10", "99999999999999999999" } },
	{ 'e', { "E'a'", "e'\\'\\\\ ''; \\n'", "E''" } },
	{ 'd', { "$$a$$", "$x$ ' $$ \" \n; $y$ $x$", "$\303\244$$\303\244$" } },
	{ 'x', { "B'0'", "b'010101'", "B''" } },
	{ 'c', { "/* a */", "/* /* ' */ \" ; */", "/**/" } }
};

static const char *
literal_value(char letter, size_t which)
{
	for (size_t i = 0; i < sizeof(literals) / sizeof(literals[0]); i++)
		if (literals[i].letter == letter)
			return literals[i].values[which % N_VALUES];
	return NULL;
}

/* Literals rotate, so that one text has short and long ones. */
static void
expand(struct buf *b, const char *template, size_t round)
{
	size_t k = 0;

	buf_reset(b);
	for (const char *p = template; *p != '\0'; p++) {
		const char *value = *p == '%' ? literal_value(p[1], round + k)
					      : NULL;

		if (value == NULL) {
			buf_put_u8(b, (uint8_t)*p);
			continue;
		}
		buf_put_str(b, value);
		k += round / N_VALUES;
		p++;
	}
}

static void
assert_same_as_fresh(const char *text, size_t len, const struct analysis *an)
{
	struct analyzer *fresh = analyzer_new(MAX_BYTES);
	struct buf got = { 0 };
	struct buf want = { 0 };

	show_all(&got, text, len, an);
	show_all(&want, text, len, analyze(fresh, text, len, true));
	if (got.len != want.len || memcmp(got.data, want.data, got.len) != 0)
		fail_msg("%.*s\n  hit   %s\n  fresh %s", (int)len, text,
		    (const char *)got.data, (const char *)want.data);
	buf_free(&got);
	buf_free(&want);
	analyzer_free(fresh);
}

static void
a_hit_equals_a_fresh_analysis(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf sql = { 0 };

	(void)state;
	for (size_t i = 0; i < N_TEMPLATES; i++) {
		size_t rounds = N_VALUES * N_VALUES;
		size_t hits = hits_of(a);

		for (size_t round = 0; round < rounds; round++) {
			const char *text;

			expand(&sql, templates[i], round);
			text = (const char *)sql.data;
			assert_same_as_fresh(
			    text, sql.len, analyze(a, text, sql.len, true));
		}
		/* An integer beyond 2^31 would be another shape. */
		if (hits_of(a) - hits < rounds - 1)
			fail_msg("no hit: %s", templates[i]);
	}
	buf_free(&sql);
	analyzer_free(a);
}

static size_t
hits_after(const char *first, const char *second)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	const struct analysis *an;
	size_t hits;

	(void)analyze(a, first, strlen(first), true);
	an = analyze(a, second, strlen(second), true);
	assert_same_as_fresh(second, strlen(second), an);
	hits = hits_of(a);
	analyzer_free(a);
	return hits;
}

static void
what_is_more_than_a_value_is_no_hit(void **state)
{
	static const struct {
		const char *first;
		const char *second;
		size_t hits;
	} pairs[] = {
		{ "SELECT 1", "SELECT 2", 1 },
		{ "SET x TO 'a'", "SET x TO 'b'", 0 },
		{ "COPY t FROM 'a'", "COPY t FROM 'b'", 0 },
		{ "SELECT 1", "SELECT 1.0", 0 },
		{ "SELECT a + 1", "SELECT a + -1", 1 },
		{ "SELECT f(a,1)", "SELECT f(a,-1)", 1 },
		{ "SELECT f(1)", "SELECT f(-1)", 0 },
		{ "SELECT a + 1", "SELECT a +-1", 0 },
		{ "SELECT a @+ 1", "SELECT a @+-1", 0 },
		{ "SELECT a 1", "SELECT a -1", 0 },
		{ "SELECT a /* = */ 1", "SELECT a /* = */ -1", 0 },
		{ "SELECT a --=\n 1", "SELECT a --=\n -1", 0 },
		{ "SELECT t.* 1", "SELECT t.* -1", 0 },
		{ "SELECT a = 1::int", "SELECT a = -1::int", 0 },
		{ "SELECT a = 1 :: int", "SELECT a = -1 :: int", 0 },
		{ "SELECT a = 1[1]", "SELECT a = -1[1]", 0 },
		{ "SELECT 1", "SELECT 2147483648", 0 },
		{ "SELECT 'a'", "SELECT E'a'", 0 },
		{ "SELECT $1", "SELECT $2", 0 },
		{ "SELECT \"a\"", "SELECT \"b\"", 0 },
		{ "SELECT E'a'\n'b'", "SELECT E'a'\n'\\''", 0 },
		{ "UPDATE U&\"!0061\" UESCAPE '!' SET a=1",
		    "UPDATE U&\"!0061\" UESCAPE '?' SET a=1", 0 },
		{ "SELECT E'\\u0061'", "SELECT E'\\u006'", 0 },
		{ "SELECT B'1'", "SELECT B'1''0'", 0 },
		{ "SELECT 1", "SELECT 1a", 0 },
		{ "SELECT 'a'", "SELECT 'b", 0 },
		{ "SELECT /*a*/ 1", "SELECT /*/*a*/ 1", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (hits_after(pairs[i].first, pairs[i].second) !=
		    pairs[i].hits)
			fail_msg("%s, %s: not %zu hits", pairs[i].first,
			    pairs[i].second, pairs[i].hits);
}

static void
the_cache_is_bounded(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf sql = { 0 };

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		buf_reset(&sql);
		buf_printf(&sql, "UPDATE t%u SET a = 1 WHERE b%0*u = %u", i,
		    (int)(i % 4000), i, i);
		assert_same_as_fresh((const char *)sql.data, sql.len,
		    analyze(a, (const char *)sql.data, sql.len, true));
	}
	(void)analyze(a, (const char *)sql.data, sql.len, true);
	assert_int_equal(hits_of(a), 1);
	buf_free(&sql);
	analyzer_free(a);
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Replaces, drops or inserts a few bytes. */
static void
mutate(struct buf *b, uint64_t *seed)
{
	static const char alphabet[] =
	    "'\"$;()-/*.,=1ae E\\\n[]:&Ux\303\244\200%";
	size_t n = 1 + next_random(seed) % 3;

	while (n-- > 0 && b->len > 0) {
		size_t at = next_random(seed) % b->len;
		uint64_t how = next_random(seed) % 3;
		char c = alphabet[next_random(seed) % (sizeof(alphabet) - 1)];

		if (how == 0) {
			b->data[at] = (uint8_t)c;
			continue;
		}
		if (how == 1)
			(void)buf_reserve(b, 1);
		memmove(b->data + at + (how == 1), b->data + at + (how == 2),
		    b->len - at - (how == 2));
		if (how == 1)
			b->data[at] = (uint8_t)c;
		b->len = how == 1 ? b->len + 1 : b->len - 1;
	}
}

/* PGW_TEST_SECONDS: how long at most; 200,000 texts are enough. */
static void
mutated_texts_are_harmless(void **state)
{
	const char *limit = getenv("PGW_TEST_SECONDS");
	double end = seconds() + (limit != NULL ? atof(limit) : 3);
	struct analyzer *a = analyzer_new(MAX_BYTES);
	uint64_t seed = 0x243F6A8885A308D3u;
	struct buf sql = { 0 };
	unsigned i;

	(void)state;
	for (i = 0; i < 200000 && seconds() < end; i++) {
		size_t hits = hits_of(a);
		const struct analysis *an;
		const char *text;

		if (i % 2 == 0)
			expand(&sql, templates[i / 2 % N_TEMPLATES], i % 9);
		else {
			buf_reset(&sql);
			buf_put_str(&sql, examples[i / 2 % N_EXAMPLES].sql);
		}
		(void)buf_reserve(&sql, 1);
		mutate(&sql, &seed);
		text = (const char *)sql.data;
		an = analyze(a, text, sql.len, true);
		if (hits_of(a) > hits)
			assert_same_as_fresh(text, sql.len, an);
	}
	print_message("%u texts, %zu hits\n", i, hits_of(a));
	buf_free(&sql);
	analyzer_free(a);
}

/* Says what a hit and a miss cost; pins nothing. */
static void
cost_of_hit_and_miss(void **state)
{
	static const char sql[] = "UPDATE pgbench_accounts SET abalance = "
				  "abalance + -1234 WHERE aid = 98765;";
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf other = { 0 };
	double start = seconds();
	double hit;

	(void)state;
	for (int i = 0; i < 20000; i++)
		(void)analyze(a, sql, sizeof(sql) - 1, true);
	hit = (seconds() - start) / 20000;
	start = seconds();
	for (unsigned i = 0; i < 2000; i++) {
		buf_reset(&other);
		buf_printf(&other,
		    "UPDATE pgbench_accounts SET abalance = "
		    "abalance + -1234 WHERE aid%04u = 98765;",
		    i);
		(void)analyze(a, (const char *)other.data, other.len, true);
	}
	print_message("hit %.0f ns, miss %.1f us\n", hit * 1e9,
	    (seconds() - start) / 2000 * 1e6);
	assert_int_equal(hits_of(a), 19999);
	buf_free(&other);
	analyzer_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hit_equals_a_fresh_analysis),
		cmocka_unit_test(what_is_more_than_a_value_is_no_hit),
		cmocka_unit_test(the_cache_is_bounded),
		cmocka_unit_test(mutated_texts_are_harmless),
		cmocka_unit_test(cost_of_hit_and_miss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
