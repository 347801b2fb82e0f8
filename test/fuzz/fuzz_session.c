/*
 * fuzz_session.c: the state machine of a session, simple and extended protocol
 * and COPY, between a client and a server of the input's making.
 *
 * The client gets what it may get: whole messages, no answer to what it did
 * not ask, nothing of what the proxy asked for itself, one ReadyForQuery for
 * each Query, Sync and FunctionCall.  The records are whole, and each has at
 * most one outcome.
 *
 * Input: flags (1: the server's answers in pieces, 2: commit level before_ack,
 * 4: async), the number of the server's choices, these, then the client's
 * script.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "../../backend/catalog.h"
#include "../../backend/pipeline.h"
#include "../../backend/portal.h"
#include "../../backend/relay.h"
#include "../../backend/txn.h"
#include "fuzz.h"
#include "record.h"
#include "server.h"
#include "world.h"

static const char *const texts[] = { "UPDATE t SET v = 'w' WHERE id = 1",
	"INSERT INTO t VALUES ($1, 'x') RETURNING id", "SELECT 1", "BEGIN",
	"COMMIT", "ROLLBACK", "DELETE FROM t", "COPY t FROM STDIN", "",
	"SELECT f(1)", "SAVEPOINT a", "ROLLBACK TO a", "DEALLOCATE ALL",
	"PREPARE TRANSACTION 'g'", "UPDATE t SET v = 1; SELECT 2", "CALL p()",
	"SELECT 'not closed", "SET search_path = x", "TRUNCATE t",
	"COMMIT AND CHAIN", "EXECUTE a(1)", "EXECUTE b" };
/* By greater bytes, so that the inputs that there were keep their meaning. */
static const char *const more_texts[] = { "UPDATE u SET v = 'w' WHERE id = 1",
	"INSERT INTO u VALUES (1, 'x')", "DELETE FROM u",
	"UPDATE t SET v = u.v FROM u",
	"INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'y'",
	"INSERT INTO t VALUES (1, 'x'), ($1, 'y') ON CONFLICT DO NOTHING" };
#define N_MORE (sizeof(more_texts) / sizeof(*more_texts))
/* By still greater ones: what stays prepared in a client's block, too. */
static const char *const kept_texts[] = { "SELECT v FROM t WHERE id = 1",
	"UPDATE t SET v = $1 WHERE id = 1", "INSERT INTO t VALUES (1, $1)",
	"DELETE FROM t WHERE id = $1", "UPDATE t SET v = NULL WHERE id = 1" };
#define KEPT_TEXTS_FROM (256 - sizeof(kept_texts) / sizeof(*kept_texts))
static const char *const names[] = { "", "a", "b", "pgwitness" };

/* How many messages of a type went to the server's side or came from it. */
struct tally {
	unsigned of[256];
};

struct play {
	struct take client;
	struct server server;
	struct tally asked;
	bool pieces;
	bool copies; /* COPY makes Sync ambiguous */
	bool odd;    /* bytes that are no message of the protocol */
};

static void
finish(struct play *p, struct buf *b, size_t at)
{
	buf_set_u32(b, at + 1, (uint32_t)(b->len - at - 1));
	p->asked.of[b->data[at]]++;
}

static size_t
message(struct buf *b, char type)
{
	buf_put_u8(b, (uint8_t)type);
	buf_put_u32(b, 0);
	return b->len - 5;
}

static const char *
a_name(struct take *t)
{
	return names[take_u8(t) % 4u];
}

static const char *
a_text(struct play *p)
{
	uint8_t byte = take_u8(&p->client);
	size_t i = byte % (sizeof(texts) / sizeof(*texts));

	if (byte >= KEPT_TEXTS_FROM)
		return kept_texts[byte - KEPT_TEXTS_FROM];
	if (byte >= 192)
		return more_texts[byte < 224 ? byte % 4u
					     : 4 + byte % (N_MORE - 4u)];
	p->copies = p->copies || i == 7;
	return texts[i];
}

static void
put_bind(struct play *p, struct buf *b)
{
	uint8_t n;

	buf_put_cstr(b, a_name(&p->client));
	buf_put_cstr(b, a_name(&p->client));
	buf_put_u16(b, 0);
	n = take_u8(&p->client) % 3u;
	buf_put_u16(b, n);
	for (uint8_t i = 0; i < n; i++)
		buf_put_lp(b, "1", 1);
	buf_put_u16(b, 0);
}

/* The words by which the server knows the proxy's own statements. */
static bool
is_of_ours(const uint8_t *bytes, size_t n)
{
	static const char *const words[] = { "ROW(", "CAST('now'",
		"t.cmin END", "WITH pgwitness" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (memmem(bytes, n, words[i], strlen(words[i])) != NULL)
			return true;
	return false;
}

/* The inside of a message, whatever the input says it is. */
static void
put_raw(struct play *p, struct buf *b)
{
	size_t n;
	const uint8_t *bytes = take_bytes(
	    &p->client, take_u8(&p->client) % 40u, &n);

	if (n > 0 && !is_of_ours(bytes, n))
		buf_put(b, bytes, n);
	p->odd = true;
}

static void
put_object(struct play *p, struct buf *b)
{
	buf_put_u8(b, take_u8(&p->client) & 1 ? 'S' : 'P');
	buf_put_cstr(b, a_name(&p->client));
}

static void
put_message(struct play *p, struct buf *b)
{
	static const char types[] = "QPBDECSHdcfFXSEB";
	uint8_t choice = take_u8(&p->client);
	char type = types[choice % 16];
	size_t at = message(b, type);

	if (choice >= 240)
		put_raw(p, b);
	else if (type == 'Q')
		buf_put_cstr(b, a_text(p));
	else if (type == 'P') {
		buf_put_cstr(b, a_name(&p->client));
		buf_put_cstr(b, a_text(p));
		buf_put_u16(b, 0);
	} else if (type == 'B')
		put_bind(p, b);
	else if (type == 'D' || type == 'C')
		put_object(p, b);
	else if (type == 'E') {
		buf_put_cstr(b, a_name(&p->client));
		buf_put_u32(b, take_u8(&p->client) % 3u);
	} else if (type == 'd')
		buf_put_str(b, choice < 128 ? "1\tx\n" : "!\n");
	else if (type == 'f')
		buf_put_cstr(b, "failed");
	finish(p, b, at);
}

/* A few messages, as one packet. */
static bool
client_turn(struct world *w, struct play *p)
{
	unsigned n = take_u8(&p->client) % 6u + 1;
	struct buf b = { 0 };
	bool sent;

	if (p->client.left == 0)
		return false;
	while (n-- > 0 && p->client.left > 0)
		put_message(p, &b);
	sent = world_send(w->client, b.data, b.len);
	buf_free(&b);
	return sent;
}

static bool
server_turn(struct world *w, struct play *p)
{
	struct server *s = &p->server;
	size_t n, most = p->pieces ? 1 + take_u8(&s->choices) : 60000;
	bool sent;

	buf_put(&s->in, w->to_server.data, w->to_server.len);
	buf_reset(&w->to_server);
	server_run(s);
	must(!s->broken);
	n = s->out.len < most ? s->out.len : most;
	sent = world_send(w->server, s->out.data, n);
	if (sent)
		buf_consume(&s->out, n);
	else if (s->ended)
		world_hang_up(w);
	return sent;
}

static bool
turn(struct world *w)
{
	struct play *p = w->arg;

	return server_turn(w, p) || client_turn(w, p);
}

/* --- what must hold --- */

static void
count_answers(const struct buf *b, struct tally *t, bool *fatal)
{
	struct rd r = rd_init(b->data, b->len);

	while (rd_left(&r) > 0) {
		uint8_t type = rd_u8(&r);
		uint32_t len = rd_u32(&r);

		must(!r.bad && len >= 4 && len - 4 <= rd_left(&r));
		t->of[type]++;
		if (type == 'E' && memmem(r.p, len - 4, "FATAL", 5) != NULL)
			*fatal = true;
		(void)rd_bytes(&r, len - 4);
	}
	must(b->len == 0 ||
	     memmem(b->data, b->len, SERVER_MARK, strlen(SERVER_MARK)) == NULL);
}

static void
check_answers(const struct play *p, const struct buf *to_client)
{
	struct tally got = { { 0 } };
	const unsigned *a = p->asked.of, *g = got.of;
	bool fatal = false;
	unsigned owed;

	count_answers(to_client, &got, &fatal);
	must(g['1'] <= a['P'] && g['2'] <= a['B'] && g['3'] <= a['C']);
	must(g['n'] + g['t'] <= 2 * a['D']);
	must(g['s'] + g['I'] <= a['E'] + a['Q']);
	must(g['V'] <= a['F']);
	/* The first is that of the login. */
	owed = 1 + a['Q'] + a['S'] + a['F'] - p->server.skipped;
	/* A COMMIT that was skipped behind a question of ours is sent again. */
	must(p->copies ||
	     g['Z'] <= owed + (p->server.own_failed ? p->server.skipped : 0));
	if (fatal || p->copies || p->odd || a['X'] != 0)
		return;
	if (p->server.own_failed)
		must(g['Z'] + a['Q'] + a['F'] >= owed);
	else
		must(g['Z'] == owed);
}

/* --- replayd --- */

struct lane {
	unsigned open; /* a record waits for its outcome */
	struct arena *arena;
};

static void
take_record(void *arg, const struct shmq_message *m)
{
	struct lane *l = arg;
	struct record_outcome_message o;
	struct record r;

	if (m->kind == RECORD_OUTCOME) {
		must(record_outcome_decode(m->data, m->len, &o));
		must(l->open == 1);
		l->open = 0;
		return;
	}
	arena_reset(l->arena);
	must(record_decode(m->data, m->len, l->arena, &r));
	if (m->kind == RECORD_DDL) {
		must(r.n_tables == 0);
		must(r.n_statements > 0 || r.capture_reason[0] != '\0');
		return;
	}
	must(m->kind == RECORD_INTENT || l->open == 0);
	l->open = m->kind == RECORD_TRANSACTION ? 1 : l->open;
}

/*
 * LeakSanitizer asks: leaks do not count here, as a child never frees what
 * lasts as long as its only client.
 */
int __lsan_is_turned_off(void);
int
__lsan_is_turned_off(void)
{
	return 1;
}

static void
configure(struct config *c, uint8_t flags)
{
	c->commit = flags & 4   ? COMMIT_ASYNC
		    : flags & 2 ? COMMIT_BEFORE_ACK
				: COMMIT_BEFORE_COMMIT;
	c->max_capture_bytes = 1 << 20;
	c->max_parse_bytes = 1 << 16;
	c->enable_verification = true;
	c->log_non_deterministic_warnings = true;
	c->on_capture_failure = flags & 8 ? POLICY_REJECT : POLICY_FORWARD;
	c->on_unverifiable = flags & 16 ? POLICY_REJECT : POLICY_FORWARD;
}

/*
 * As backend.c does before relay_run(); what a child never frees is used
 * again, as it is at the start.
 */
static void
prepare(struct session *s, struct world *w)
{
	static char nobody[] = "ann", base[] = "d", application[] = "fuzz";
	static struct analyzer *analyzer;
	static struct catalog *catalog;
	static struct txn *txn;

	if (analyzer == NULL) {
		analyzer = analyzer_new(1 << 16);
		catalog = catalog_new(1 << 16);
		txn = txn_new(1 << 20);
	}
	txn_reset(txn);
	catalog_flush(catalog);
	s->catalog = catalog;
	catalog_start(s);
	s->user = nobody;
	s->database = base;
	s->application_name = application;
	s->analyzer = analyzer;
	s->txn = txn;
	s->pipeline = pipeline_new();
	s->portals = portals_new();
	s->producer = shmq_producer_join(w->queue, 0);
	must(s->producer != NULL);
}

static void
free_parameters(struct session *s)
{
	for (size_t i = 0; i < s->n_parameters; i++) {
		free(s->parameters[i].name);
		free(s->parameters[i].value);
	}
	free(s->parameters);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct take in = { data, size < 2048 ? size : 2048 };
	uint8_t flags = take_u8(&in);
	struct take choices = { NULL, take_u8(&in) };
	struct lane lane = { 0, arena_new(0) };
	struct play p = { .pieces = flags & 1 };
	struct world w = { .turn = turn, .arg = &p };
	struct session s = { .status = 0 };

	choices.p = take_bytes(&in, choices.left, &choices.left);
	p.client = in;
	server_open(&p.server, choices);
	world_open(&w, &s);
	configure(&w.config, flags);
	world_open_queue(&w, take_record, &lane);
	prepare(&s, &w);
	relay_run(&s);
	world_listen(&w);
	world_replayd(&w);
	check_answers(&p, &w.to_client);
	shmq_producer_close(s.producer);
	portals_free(s.portals);
	pipeline_free(s.pipeline);
	free_parameters(&s);
	world_close(&w, &s);
	server_close(&p.server);
	arena_free(lane.arena);
	return 0;
}
