/*
 * recorder.c: the process that turns the spool into evidence.
 *
 * One poll() loop: follow the spool up to where the drain says it is durable,
 * write a line for each frame, give jobs to the workers, write their verdicts,
 * sign.  Waits for no worker and no server; the drain never waits for it.
 * The only process that opens evidence.key.
 *
 * Exit: 0 all is recorded and signed; 1 the drain died (what is not in the
 * log is in the spool); 3 the log cannot be written or must not be signed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "recorder.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "checkpoint.h"
#include "command.h"
#include "doubt.h"
#include "hold.h"
#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "procsig.h"
#include "track.h"

#define IDENTITY_WAIT_MS 500
#define FINISH_WAIT_US (5 * (int64_t)1000000)
#define COMMAND_WAIT_US (5 * (int64_t)1000000)
#define MAX_AFTER 65536
/* Not at once: it may have died of what it was asked. */
#define RESOLVER_AGAIN_US INT64_C(1000000)
#define ASK_AGAIN_MS 200
#define FRAMES_PER_ROUND 1000
/* Records are not taken one by one: a round costs as much as many of them. */
#define PACE_US 10000
#define SEQLOCK_TRIES 100000

enum { POLL_WAKE, POLL_SIGNAL, POLL_RESOLVER, POLL_WORKERS };

struct recorder {
	const struct config *config;
	struct recorder_shared *shared;
	int wake_fd;
	pid_t drain;
	struct key_signer keys[2]; /* the present one, and one to come */
	struct key_signer *key;
	struct track track;
	struct command *command;
	struct spool_reader *spool;
	struct spool_position durable; /* as last told */
	bool finishing;                /* end of file on wake_fd */
	uint64_t recycled;             /* segments below are deleted */
	int64_t next_checkpoint_us;
	int64_t next_look_us; /* into the spool */
	struct pollfd *poll;
	int64_t resolver_due_us; /* when to start another; 0: never */
};

/* --- what the drain and the resolver tell --- */

/* A writer that died in the middle leaves version odd: then the old one. */
static void
read_durable(struct recorder *r)
{
	struct recorder_shared *s = r->shared;

	for (int i = 0; i < SEQLOCK_TRIES; i++) {
		uint64_t version = atomic_load(&s->version);
		struct spool_position p;

		p.segment = atomic_load(&s->segment);
		p.offset = atomic_load(&s->offset);
		if ((version & 1) == 0 && atomic_load(&s->version) == version) {
			r->durable = p;
			return;
		}
	}
}

static void
read_wake(struct recorder *r)
{
	char bytes[4096];
	ssize_t n = read(r->wake_fd, bytes, sizeof(bytes));

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (getppid() != r->drain) {
		log_error("drain_lost",
		    "the drain is gone; the next recorder goes on");
		exit(1);
	}
	r->finishing = true;
}

static bool follow_spool(struct recorder *r);

/*
 * What was recorded before the server answered comes first: of a transaction
 * that was given this one's xid, say.
 */
static void
take_answer(struct recorder *r, const struct resolver_answer *a)
{
	if (a->kind == RESOLVER_OUTCOME)
		while (follow_spool(r))
			evidence_flush(r->track.evidence);
	doubt_answer(&r->track, a);
}

static void
read_answers(struct recorder *r)
{
	struct resolver_answer a;
	ssize_t n;

	while ((n = recv(r->track.resolver_fd, &a, sizeof(a), MSG_DONTWAIT)) ==
	       (ssize_t)sizeof(a))
		take_answer(r, &a);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	log_warning("resolver_lost",
	    "the resolver is gone; what is in doubt waits for another");
	close(r->track.resolver_fd);
	r->track.resolver_fd = -1;
	r->resolver_due_us = io_monotonic_us() + RESOLVER_AGAIN_US;
	doubt_ask_again(&r->track);
}

/* One that was killed, not one that could not be started at all. */
static void
resolver_again(struct recorder *r)
{
	if (r->resolver_due_us == 0 || io_monotonic_us() < r->resolver_due_us)
		return;
	r->resolver_due_us = 0;
	r->track.resolver_fd = resolver_start(r->config);
	if (r->track.resolver_fd < 0)
		r->resolver_due_us = io_monotonic_us() + RESOLVER_AGAIN_US;
}

/* --- starting --- */

static void
load_key(struct recorder *r)
{
	const char *dir = r->config->data_dir;
	char path[PATH_MAX];
	char error[512];

	r->key = &r->keys[0];
	io_path(path, sizeof(path), "%s/evidence.key", dir);
	if (!key_load_signer(path, r->key, error, sizeof(error)))
		log_fatal("evidence_key", "%s; make one with witnessctl keygen",
		    error);
	if (*r->config->origin != '\0' &&
	    strcmp(r->config->origin, r->key->public.name) != 0)
		log_fatal("evidence_key",
		    "evidence.origin is %s but %s is of %s; a log keeps its "
		    "origin",
		    r->config->origin, path, r->key->public.name);
	if (!key_repair_public(dir, &r->key->public, error, sizeof(error)))
		log_fatal("evidence_key", "%s", error);
}

/* If witnessctl rotate-key left a new key: the protocol is in key.h. */
static void
change_key(struct recorder *r)
{
	struct key_signer *next = &r->keys[r->key == &r->keys[0]];
	const char *dir = r->config->data_dir;
	char error[512];

	switch (
	    key_load_next(dir, &r->key->public, next, error, sizeof(error))) {
	case 0:
		return;
	case 1:
		break;
	default:
		log_error("evidence_key", "%s; the old key goes on", error);
		return;
	}
	evidence_change_key(r->track.evidence, next);
	KILLPOINT("key_signed");
	if (!key_finish_change(
		dir, &r->key->public, &next->public, error, sizeof(error)))
		log_fatal("evidence_key", "%s", error);
	key_forget(r->key);
	r->key = next;
	command_note(r->command, evidence_size(r->track.evidence));
	log_info("key_changed",
	    "the evidence log is signed with key "
	    "%02x%02x%02x%02x from now on",
	    next->public.id[0], next->public.id[1], next->public.id[2],
	    next->public.id[3]);
}

/* The server's identity, if it answers soon. */
static void
start_resolver(struct recorder *r)
{
	struct pollfd p = { .events = POLLIN };

	r->track.resolver_fd = -1;
	if (*r->config->backend_user == '\0')
		return;
	p.fd = r->track.resolver_fd = resolver_start(r->config);
	if (p.fd < 0)
		log_error("resolver_start", "cannot start the resolver: %s",
		    strerror(errno));
	else if (poll(&p, 1, IDENTITY_WAIT_MS) > 0)
		read_answers(r);
}

static void
open_log(struct recorder *r)
{
	char dir[PATH_MAX];
	char error[1024];

	config_log_path(r->config, ".", dir, sizeof(dir));
	dir[strlen(dir) - strlen("/.")] = '\0';
	r->track.evidence = evidence_open(
	    dir, r->key, r->config->log_rotate_size, error, sizeof(error));
	if (r->track.evidence == NULL)
		log_fatal("evidence_refused",
		    "nothing is signed until this is explained: %s", error);
	r->command = command_new(dir, r->config->checkpoint_command);
	if (evidence_unsigned(r->track.evidence) <
	    evidence_size(r->track.evidence))
		command_note(
		    r->command, evidence_size(r->track.evidence) -
				    evidence_unsigned(r->track.evidence));
	change_key(r);
}

/* pgwitness --init --after left the other log's checkpoint for us. */
static void
name_the_old_log(
    const struct recorder *r, struct line_start *s, struct checkpoint *old)
{
	struct buf b = { 0 };
	char path[PATH_MAX];

	config_log_path(r->config, "after", path, sizeof(path));
	if (io_read_file(path, &b, MAX_AFTER) && b.len > 0) {
		if (!checkpoint_parse_text(b.data, b.len, old))
			log_fatal("evidence_after",
			    "%s is not a checkpoint; make the data directory "
			    "again",
			    path);
		if (strcmp(old->origin, s->origin) == 0)
			log_fatal("evidence_after",
			    "%s is of the same origin, %s; two logs must not "
			    "have one",
			    path, s->origin);
		s->continued_origin = old->origin;
		s->size = old->size;
		s->root = old->root;
	}
	buf_free(&b);
}

static void
write_start(struct recorder *r)
{
	struct evidence *e = r->track.evidence;
	struct checkpoint old;
	struct line_start s = { .origin = r->key->public.name,
		.system_identifier = r->track.context.system_identifier,
		.timeline = r->track.timeline,
		.config_file = r->config->file,
		.size = evidence_size(e),
		.next_tx_id = evidence_highest_tx_id(e) + 1 };
	uint64_t verdicts;

	evidence_root(e, &s.root);
	if (s.size == 0)
		name_the_old_log(r, &s, &old);
	track_count(&r->track, &s.open_records, &verdicts);
	evidence_append(e, "Start", line_start(&s));
	if (!r->config->enable_capture)
		evidence_append(e, "Gap",
		    line_gap(evidence_last_time(e), "capture_off", 0));
}

static void
start(struct recorder *r, const int *worker_fds, unsigned n_workers)
{
	struct track *t = &r->track;

	load_key(r);
	start_resolver(r);
	KILLPOINT("start_recorder");
	open_log(r);
	t->config = r->config;
	t->open = evidence_open_transactions(t->evidence);
	t->spool = evidence_spool(t->evidence);
	t->dispatch = dispatch_new(worker_fds, n_workers);
	t->hold = hold_new(t->dispatch);
	t->n_workers = n_workers;
	t->context.row_data = r->config->log_row_data;
	t->context.normalized = r->config->log_statements ==
				STATEMENTS_NORMALIZED;
	t->arena = arena_new(0);
	r->poll = calloc(POLL_WORKERS + n_workers, sizeof(*r->poll));
	if (r->poll == NULL || !io_set_nonblock(r->wake_fd))
		log_fatal("recorder_start", "%s", strerror(errno));
	r->spool = spool_reader_open(r->config->data_dir);
	if (r->spool == NULL)
		log_fatal("spool_open", "cannot read the spool in %s: %s",
		    r->config->data_dir, strerror(errno));
	write_start(r);
	if (track_resume(t))
		spool_reader_seek(r->spool, t->spool->next);
	log_info("recorder_started",
	    "the evidence log has %" PRIu64 " lines, %zu transactions are open",
	    evidence_size(t->evidence), t->open->n);
}

/* --- rounds --- */

/* True if there is more to take. */
static bool
follow_spool(struct recorder *r)
{
	struct spool_frame f;

	read_durable(r);
	if (r->durable.segment == 0)
		return false;
	for (int i = 0; i < FRAMES_PER_ROUND; i++) {
		if (!spool_next(r->spool, r->durable, &f)) {
			if (!r->track.started)
				track_started(&r->track);
			return false;
		}
		track_frame(&r->track, &f);
	}
	return true;
}

/*
 * Only when the log is on the disk.  The segment of the last record stays, by
 * which the next start knows that this spool and this log belong together.
 */
static void
recycle(struct recorder *r)
{
	uint64_t lowest;

	if (r->config->keep_payload == KEEP_ALL)
		return;
	lowest = track_lowest_segment(&r->track);
	if (lowest <= r->recycled)
		return;
	KILLPOINT("recycle");
	spool_recycle(r->config->data_dir, lowest);
	r->recycled = lowest;
}

static void
sign_if_due(struct recorder *r)
{
	int64_t now = io_monotonic_us();

	if (evidence_unsigned(r->track.evidence) == 0 ||
	    now < r->next_checkpoint_us)
		return;
	evidence_checkpoint(r->track.evidence);
	command_note(r->command, evidence_size(r->track.evidence));
	recycle(r);
	r->next_checkpoint_us = now + r->config->checkpoint_interval * 1000;
}

/* It was read to its end a moment ago. */
static bool
is_early(const struct recorder *r)
{
	return !r->finishing && io_monotonic_us() < r->next_look_us;
}

/* How long poll() may wait; -1: until something comes. */
static int
wait_ms(const struct recorder *r, bool more, bool early)
{
	int64_t left = r->next_checkpoint_us - io_monotonic_us();
	int ms = command_wait_ms(r->command);

	if (more)
		return 0;
	if (evidence_unsigned(r->track.evidence) > 0 &&
	    (ms < 0 || ms > left / 1000))
		ms = left <= 0 ? 0 : (int)(left / 1000) + 1;
	if ((r->resolver_due_us != 0 ||
		(r->track.unasked && r->track.resolver_fd >= 0)) &&
	    (ms < 0 || ms > ASK_AGAIN_MS))
		ms = ASK_AGAIN_MS;
	if (!hold_is_empty(r->track.hold) && (ms < 0 || ms > ASK_AGAIN_MS))
		ms = ASK_AGAIN_MS;
	if (r->finishing && (ms < 0 || ms > ASK_AGAIN_MS))
		ms = ASK_AGAIN_MS;
	if (early && (ms < 0 || ms > PACE_US / 1000))
		ms = PACE_US / 1000;
	return ms;
}

/* From now on the drain wakes; true if it went on before it knew. */
static bool
listen_to_drain(struct recorder *r)
{
	struct spool_position had = r->durable;

	atomic_store(&r->shared->listens, true);
	read_durable(r);
	if (r->durable.segment == had.segment &&
	    r->durable.offset == had.offset)
		return false;
	atomic_store(&r->shared->listens, false);
	return true;
}

static void
wait_and_read(struct recorder *r, bool more)
{
	struct pollfd *p = r->poll;
	bool early = is_early(r), listens = !r->finishing && !early;
	unsigned n;

	resolver_again(r);
	if (listens && listen_to_drain(r))
		more = true;
	p[POLL_WAKE].fd = listens ? r->wake_fd : -1;
	p[POLL_SIGNAL].fd = procsig_fd();
	p[POLL_RESOLVER].fd = r->track.resolver_fd;
	for (n = 0; n < POLL_WORKERS; n++)
		p[n].events = POLLIN;
	n += dispatch_poll(r->track.dispatch, p + POLL_WORKERS);
	if (poll(p, n, wait_ms(r, more, early)) <= 0)
		return;
	if (p[POLL_SIGNAL].revents != 0) {
		procsig_drain();
		if (procsig_take(SIGHUP)) {
			log_reopen();
			change_key(r);
		}
	}
	if (p[POLL_WAKE].revents != 0)
		read_wake(r);
	if (p[POLL_RESOLVER].revents != 0)
		read_answers(r);
	dispatch_receive(
	    r->track.dispatch, p + POLL_WORKERS, track_answer, &r->track);
}

/* True if there is more in the spool. */
static bool
one_round(struct recorder *r, bool more)
{
	uint64_t size = evidence_size(r->track.evidence);

	wait_and_read(r, more);
	if (more || !is_early(r)) {
		more = follow_spool(r);
		if (evidence_size(r->track.evidence) != size)
			r->next_look_us = io_monotonic_us() + PACE_US;
	}
	doubt_ask(&r->track);
	track_release(&r->track);
	dispatch_send(r->track.dispatch);
	evidence_flush(r->track.evidence);
	sign_if_due(r);
	command_step(r->command);
	return more;
}

/* --- ending --- */

static bool
verdicts_are_awaited(const struct recorder *r, int64_t since_us)
{
	return !atomic_load(&r->shared->hurry) &&
	       dispatch_living(r->track.dispatch) > 0 &&
	       (dispatch_open(r->track.dispatch) > 0 ||
		   !hold_is_empty(r->track.hold)) &&
	       io_monotonic_us() - since_us < FINISH_WAIT_US;
}

/* The last checkpoint shall leave the host, too; but not at any price. */
static void
finish_command(struct recorder *r)
{
	int64_t until = io_monotonic_us() +
			(atomic_load(&r->shared->hurry) ? 0 : COMMAND_WAIT_US);

	command_step(r->command);
	while (!command_is_idle(r->command) && io_monotonic_us() < until) {
		(void)poll(NULL, 0, command_wait_ms(r->command));
		command_step(r->command);
	}
	command_free(r->command);
}

static PGW_NORETURN void
finish(struct recorder *r)
{
	int64_t since = io_monotonic_us();
	uint64_t records;
	uint64_t verdicts;
	bool more = true;

	while (more || verdicts_are_awaited(r, since))
		more = one_round(r, more);
	track_count(&r->track, &records, &verdicts);
	evidence_append(
	    r->track.evidence, "Stop", line_stop(records, verdicts));
	evidence_checkpoint(r->track.evidence);
	evidence_save_state(r->track.evidence);
	recycle(r);
	command_note(r->command, evidence_size(r->track.evidence));
	finish_command(r);
	key_forget(r->key);
	log_info("recorder_stopped",
	    "%" PRIu64 " records without outcome, %" PRIu64 " without verdict",
	    records, verdicts);
	exit(0);
}

void
recorder_main(const struct config *config, struct recorder_shared *shared,
    int wake_fd, const int *worker_fds, unsigned n_workers)
{
	struct recorder r = { .config = config,
		.shared = shared,
		.wake_fd = wake_fd,
		.drain = getppid() };
	bool more = true;

	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	procsig_catch(SIGHUP);
	start(&r, worker_fds, n_workers);
	while (!r.finishing)
		more = one_round(&r, more);
	finish(&r);
}
