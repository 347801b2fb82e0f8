/*
 * replay.c: from a record to a verdict.
 *
 * Decides what can be replayed, where, and what an outcome means: `mismatch`
 * only where PostgreSQL's rules contradict what the server showed; all that
 * may lie with us, with the copy or with this machine is `unverifiable`.
 * Called by worker.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "replay.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "blueprint.h"
#include "compare.h"
#include "ddltext.h"
#include "ioutil.h"
#include "job.h"
#include "mem.h"
#include "procsig.h"
#include "schema.h"
#include "session.h"

#define NO_TIMEOUT_MS INT64_C(30000)
/* FirstNormalObjectId: below it OIDs are the same on every server. */
#define FIRST_NORMAL_OID 16384u

struct replay {
	const struct config *config;
	struct schema *schema;
};

struct replay *
replay_new(const struct config *c, unsigned index)
{
	struct replay *p = mem_zalloc(1, sizeof(*p));

	p->config = c;
	p->schema = schema_new(c, index);
	return p;
}

void
replay_free(struct replay *p)
{
	schema_free(p->schema);
	free(p);
}

struct schema *
replay_schema(const struct replay *p)
{
	return p->schema;
}

/* --- may it be replayed at all --- */

static void
conclude(struct verdict *v, enum verdict_kind kind, enum reason reason)
{
	v->kind = kind;
	v->reason = reason_name(reason);
}

/* Behind white space, comments and opening parentheses. */
static const char *
first_word(const char *p, const char *end)
{
	while ((p = ddl_first_word(p, end)) < end && *p == '(')
		p++;
	return p;
}

static bool
begins_with(const struct record_statement *s, const char *const *words)
{
	const char *end = s->sql + s->sql_len;
	const char *word = first_word(s->sql, end);
	size_t n = 0;

	while (word + n < end && isalpha((unsigned char)word[n]))
		n++;
	for (; *words != NULL; words++) {
		if (strlen(*words) == n && strncasecmp(*words, word, n) == 0)
			return true;
	}
	return false;
}

/*
 * Only what works inside a transaction and ends with it is ever sent; above
 * all no COMMIT, no PREPARE.  COPY comes with its data; from a file or a
 * program, the cluster refuses it to the replay role.
 */
static bool
statement_is_sendable(const struct record_statement *s)
{
	static const char *const words[] = { "insert", "update", "delete",
		"merge", "select", "with", "values", "table", "truncate",
		"explain", NULL };
	static const char *const copy[] = { "copy", NULL };

	if (memchr(s->sql, '\0', s->sql_len) != NULL)
		return false;
	if (job_is_copy(s))
		return begins_with(s, copy) && s->n_params == 1 &&
		       s->params[0].value != NULL;
	return begins_with(s, words);
}

/* OIDs of types that users made mean nothing on another server. */
static bool
params_are_sendable(const struct record_statement *s)
{
	for (size_t i = 0; i < s->n_params; i++)
		if (s->params[i].type >= FIRST_NORMAL_OID)
			return false;
	return s->n_params <= PQ_QUERY_PARAM_MAX_LIMIT;
}

static enum reason
statements_refused(const struct record *r)
{
	for (size_t i = 0; i < r->n_statements; i++) {
		if (!params_are_sendable(&r->statements[i]))
			return REASON_PARAMETER_TYPE;
		if (!statement_is_sendable(&r->statements[i]))
			return REASON_UNSUPPORTED;
	}
	return REASON_NONE;
}

static bool
rows_name_statements(const struct record *r)
{
	for (size_t i = 0; i < r->n_tables; i++) {
		for (size_t k = 0; k < r->tables[i].n_before; k++) {
			if (r->tables[i].before[k].statement >= r->n_statements)
				return false;
		}
	}
	return true;
}

enum reason
replay_refusal(const struct record *r)
{
	static const enum reason captures[] = {
		[CAPTURE_EXACT] = REASON_NONE,
		[CAPTURE_INCOMPLETE] = REASON_CAPTURE_INCOMPLETE,
		[CAPTURE_RACE] = REASON_CAPTURE_RACE,
		[CAPTURE_UNSUPPORTED] = REASON_CAPTURE_UNSUPPORTED,
		[CAPTURE_LOST] = REASON_CAPTURE_LOST,
	};

	if (r->unverifiable != NULL && r->unverifiable[0] != '\0')
		return reason_of(r->unverifiable);
	if (captures[r->capture] == REASON_NONE && !r->has_images)
		return REASON_CAPTURE_UNSUPPORTED;
	return captures[r->capture];
}

bool
replay_is_wanted(const struct replay *p, struct record *r, struct arena *a,
    struct verdict *v)
{
	enum reason refused = replay_refusal(r);

	if (!p->config->enable_verification)
		refused = REASON_VERIFICATION_DISABLED;
	if (refused == REASON_NONE &&
	    (!compare_record_roots(r, a) || !rows_name_statements(r))) {
		conclude(v, VERDICT_ERROR, REASON_RECORD_INCONSISTENT);
		return false;
	}
	if (refused == REASON_NONE)
		refused = statements_refused(r);
	if (refused != REASON_NONE)
		conclude(v, VERDICT_UNVERIFIABLE, refused);
	return refused == REASON_NONE;
}

/* --- what an outcome means --- */

static bool
class_is(const char *sqlstate, const char *class)
{
	return strncmp(sqlstate, class, 2) == 0;
}

static void
explain(const struct job *j, struct arena *a, struct verdict *v)
{
	/* messages of class 22 and 23 may hold values of rows */
	bool may_hold_values = class_is(j->sqlstate, "22") ||
			       class_is(j->sqlstate, "23");
	size_t size = strlen(j->message) + 16;
	char *detail = arena_alloc(a, size);

	if (detail == NULL)
		return;
	snprintf(detail, size, "%s %s", j->sqlstate,
	    may_hold_values ? "" : j->message);
	v->detail = detail;
}

/* What replayd/pin refused; NONE: it was not that. */
static enum reason
pin_reason(const char *sqlstate)
{
	static const enum reason reasons[] = { REASON_ENVIRONMENT,
		REASON_VOLATILE_FUNCTION, REASON_SEQUENCE, REASON_NOT_PINNED,
		REASON_UNPINNED_EXPRESSION, REASON_READ_SET,
		REASON_USER_FUNCTION };

	if (strncmp(sqlstate, "PW00", 4) != 0 || sqlstate[4] < '1' ||
	    (size_t)(sqlstate[4] - '1') >= sizeof(reasons) / sizeof(*reasons))
		return REASON_NONE;
	return reasons[sqlstate[4] - '1'];
}

/* "replay_error:23505" */
static void
name_sqlstate(const struct job *j, struct arena *a, struct verdict *v)
{
	size_t size = strlen(v->reason) + sizeof(j->sqlstate) + 1;
	char *reason = arena_alloc(a, size);

	if (reason == NULL)
		return;
	snprintf(reason, size, "%s:%s", v->reason, j->sqlstate);
	v->reason = reason;
}

/*
 * Unique keys are checked row by row: an UPDATE of several succeeds in one order
 * and fails in another.  Which rows it was about is not asked: the transaction
 * has several.
 */
static bool
is_order_of_keys(const struct job *j)
{
	const struct record_statement *st =
	    &j->record->statements[j->statement];
	size_t rows = 0;

	if (strcmp(j->sqlstate, "23505") != 0 &&
	    strcmp(j->sqlstate, "23P01") != 0)
		return false;
	if (strcmp(st->type, "INSERT") == 0 &&
	    memmem(st->sql, st->sql_len, "onflict", 7) == NULL &&
	    memmem(st->sql, st->sql_len, "ONFLICT", 7) == NULL)
		return false;
	for (size_t i = 0; i < j->record->n_tables; i++) {
		const struct record_table *t = &j->record->tables[i];

		rows += t->n_before > t->n_after ? t->n_before : t->n_after;
	}
	return rows > 1;
}

/*
 * The server said that the statement succeeded.  Bad data and violated
 * constraints contradict it; lack of rights, names or room may be ours.
 */
static void
judge_statement_error(const struct job *j, struct arena *a, struct verdict *v)
{
	enum reason pinned = pin_reason(j->sqlstate);

	v->statement = (int32_t)j->statement;
	if (pinned != REASON_NONE) {
		conclude(v, VERDICT_UNVERIFIABLE, pinned);
	} else if (strcmp(j->sqlstate, "57014") == 0) {
		conclude(v, VERDICT_UNVERIFIABLE, REASON_TIMEOUT);
	} else if (class_is(j->sqlstate, "53") || class_is(j->sqlstate, "54")) {
		conclude(v, VERDICT_UNVERIFIABLE, REASON_TOO_LARGE);
	} else if (strcmp(j->sqlstate, "22P03") == 0) {
		/* A binary value may hold OIDs of the server's own. */
		conclude(v, VERDICT_UNVERIFIABLE, REASON_PARAMETER_TYPE);
	} else if (is_order_of_keys(j)) {
		conclude(v, VERDICT_UNVERIFIABLE, REASON_ORDER);
	} else if (class_is(j->sqlstate, "22") || class_is(j->sqlstate, "23")) {
		conclude(v, VERDICT_MISMATCH, REASON_REPLAY_ERROR);
		name_sqlstate(j, a, v);
	} else {
		conclude(v, VERDICT_UNVERIFIABLE, REASON_REPLAY_ERROR);
	}
}

static void
judge_failure(const struct job *j, struct arena *a, struct verdict *v)
{
	enum reason pinned = pin_reason(j->sqlstate);

	explain(j, a, v);
	switch (j->failure) {
	case JOB_STATEMENT:
		judge_statement_error(j, a, v);
		break;
	case JOB_PRELOAD:
		conclude(v, VERDICT_UNVERIFIABLE,
		    pinned != REASON_NONE ? pinned : REASON_PRELOAD);
		break;
	case JOB_READ:
	case JOB_OWN:
		conclude(v, VERDICT_UNVERIFIABLE,
		    pinned != REASON_NONE               ? pinned
		    : strcmp(j->sqlstate, "57014") == 0 ? REASON_TIMEOUT
							: REASON_REPLAY_ERROR);
		break;
	case JOB_TOO_LARGE:
		conclude(v, VERDICT_UNVERIFIABLE, REASON_TOO_LARGE);
		break;
	case JOB_FINE:
	default:
		break;
	}
}

/* A difference that this copy's own shortcomings may explain is no mismatch. */
static void
excuse(const struct job *j, struct verdict *v)
{
	enum reason reason = REASON_NONE;

	if (v->kind != VERDICT_MISMATCH)
		return;
	if (j->record->now[0] == '\0')
		reason = REASON_NOT_PINNED;
	else if (!j->copy->same_locale)
		reason = REASON_LOCALE;
	else if (j->record->doubt[0] != '\0')
		reason = reason_of(j->record->doubt);
	if (reason == REASON_TRIGGER_INPUT && j->inputs_sure)
		reason = REASON_NONE;
	if (reason == REASON_NONE && j->caught_error)
		reason = REASON_CAUGHT_ERROR;
	if (reason == REASON_NONE)
		return;
	conclude(v, VERDICT_UNVERIFIABLE, reason);
	v->n_mismatches = 0;
	v->more = false;
}

static void
judge(struct job *j, struct arena *a, struct verdict *v)
{
	if (j->failure != JOB_FINE) {
		judge_failure(j, a, v);
	} else if (!compare_tables(j->record, j->calculated, a, v)) {
		conclude(v, VERDICT_UNVERIFIABLE, REASON_TOO_LARGE);
		v->n_mismatches = 0;
	} else if (v->kind == VERDICT_MISMATCH) {
		conclude(v, VERDICT_MISMATCH, REASON_ROWS_DIFFER);
		v->statement = j->record->n_statements == 1 ? 0 : -1;
	}
	excuse(j, v);
}

/* --- running --- */

enum attempt {
	ATTEMPT_DONE,  /* there is a verdict */
	ATTEMPT_AGAIN, /* the session broke */
	ATTEMPT_STOPPED
};

static enum attempt
after_wait(const struct replay *p, enum session_wait w,
    struct schema_copy *copy, struct verdict *v)
{
	if (w == SESSION_TIMEOUT)
		session_kill(p->config, copy);
	else
		session_close(copy);
	switch (w) {
	case SESSION_STOPPED:
		return ATTEMPT_STOPPED;
	case SESSION_TIMEOUT:
		conclude(v, VERDICT_UNVERIFIABLE, REASON_TIMEOUT);
		return ATTEMPT_DONE;
	case SESSION_READY:
	case SESSION_LOST:
	default:
		return ATTEMPT_AGAIN;
	}
}

void
replay_verdict_init(struct verdict *v, uint64_t tx_id)
{
	memset(v, 0, sizeof(*v));
	v->tx_id = tx_id;
	v->kind = VERDICT_UNVERIFIABLE;
	v->reason = "";
	v->detail = "";
	v->statement = -1;
}

static int64_t
deadline(const struct replay *p)
{
	int64_t timeout = p->config->statement_timeout;

	return io_monotonic_us() +
	       1000 * (timeout > 0 ? timeout : NO_TIMEOUT_MS);
}

/* Once more, read back after each statement; -1 if it cannot be said. */
static int32_t
first_statement(const struct replay *p, struct schema_copy *copy,
    const struct record *r, struct arena *a)
{
	struct job j = { .record = r,
		.copy = copy,
		.arena = a,
		.message = "",
		.deadline = deadline(p),
		.trace = true };

	if (!job_send(&j)) {
		session_close(copy);
		return -1;
	}
	if (job_receive(&j) != SESSION_READY || j.spent) {
		session_kill(p->config, copy);
		return -1;
	}
	return j.failure == JOB_FINE
		   ? compare_first_statement(r, j.states, j.calculated)
		   : -1;
}

static enum attempt
attempt(struct replay *p, struct schema_copy *copy, struct record *r,
    struct arena *a, struct verdict *v)
{
	struct job j = { .record = r, .copy = copy, .arena = a, .message = "" };
	enum session_wait w;

	replay_verdict_init(v, v->tx_id);
	if (!session_open(p->config, copy))
		return ATTEMPT_AGAIN;
	j.deadline = deadline(p);
	if (!job_send(&j)) {
		bool lost = PQstatus(copy->conn) != CONNECTION_OK;

		session_close(copy);
		conclude(v, VERDICT_UNVERIFIABLE, REASON_TOO_LARGE);
		return lost ? ATTEMPT_AGAIN : ATTEMPT_DONE;
	}
	w = job_receive(&j);
	if (w != SESSION_READY)
		return after_wait(p, w, copy, v);
	if (j.failure == JOB_OWN || j.spent)
		session_close(copy); /* someone deallocated what we prepared */
	if (strcmp(j.sqlstate, "26000") == 0 && j.failure != JOB_STATEMENT)
		return ATTEMPT_AGAIN;
	judge(&j, a, v);
	if (v->kind == VERDICT_MISMATCH && v->statement < 0)
		v->statement = first_statement(p, copy, r, a);
	copy->jobs++;
	if (session_is_due(copy))
		session_clean(copy);
	return ATTEMPT_DONE;
}

/* False: no verdict, SIGTERM is pending. */
static bool
run_on_copy(struct replay *p, struct record *r, struct arena *a,
    struct verdict *v, struct schema_copy **used)
{
	enum attempt what = ATTEMPT_AGAIN;
	enum reason reason;

	*used = schema_copy_for(p->schema, r, &reason);
	if (*used == NULL) {
		replay_verdict_init(v, v->tx_id);
		conclude(v, VERDICT_UNVERIFIABLE, reason);
		return reason != REASON_NONE;
	}
	if (!(*used)->pinned) {
		replay_verdict_init(v, v->tx_id);
		conclude(v, VERDICT_UNVERIFIABLE, REASON_PIN_MISSING);
		return true;
	}
	for (int i = 0; i < 2 && what == ATTEMPT_AGAIN; i++)
		what = attempt(p, *used, r, a, v);
	if (what == ATTEMPT_AGAIN)
		conclude(v, VERDICT_UNVERIFIABLE, REASON_VERIFICATION_CLUSTER);
	return what != ATTEMPT_STOPPED;
}

bool
replay_run(
    struct replay *p, struct record *r, struct arena *a, struct verdict *v)
{
	int64_t start = io_monotonic_us();
	struct schema_copy *copy = NULL;

	replay_verdict_init(v, v->tx_id);
	if (replay_is_wanted(p, r, a, v)) {
		if (!run_on_copy(p, r, a, v, &copy))
			return false;
		/* an enum value or a domain's check may be younger */
		if (v->kind != VERDICT_VERIFIED && copy != NULL &&
		    strcmp(v->reason, "timeout") != 0 &&
		    schema_is_stale(p->schema, copy, r,
			v->kind == VERDICT_MISMATCH) &&
		    !run_on_copy(p, r, a, v, &copy))
			return false;
	}
	/* Types or functions of that copy need not be those of the job. */
	if (v->kind == VERDICT_MISMATCH && copy != NULL && copy->outdated) {
		replay_verdict_init(v, v->tx_id);
		conclude(v, VERDICT_UNVERIFIABLE, REASON_SCHEMA_CHANGED);
	}
	if (v->kind == VERDICT_MISMATCH && copy != NULL &&
	    p->config->keep_payload != KEEP_NONE)
		blueprint_link(p->config, copy->name, v->tx_id);
	v->replay_ms = (double)(io_monotonic_us() - start) / 1000.0;
	return true;
}
