/*
 * job.c: one job of a replay session, from begin_job() to the end of its
 * transaction.
 *
 * Loaded by CREATE FUNCTION with an absolute path (replayd/schema.c), into no
 * other server than the verification cluster.  A job has the recorded start
 * time, so that now(), CURRENT_TIMESTAMP, CURRENT_DATE and 'now' repeat what
 * the client's statement saw, and a user that cannot be left.  The end of the
 * transaction takes both back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

PG_MODULE_MAGIC;

void _PG_init(void);

#define TOKEN_BYTES 64

static char secret[TOKEN_BYTES + 1];	/* "": not armed yet */
static bool running;
static bool guarded;
static bool in_expression;
static bool caught;			/* of the last job */
static int refusal;			/* SQLSTATE, 0: none */
static char refused[128];

/* Of the job, in TopMemoryContext. */
struct relations {
	Oid *list;
	int n;
};
static struct relations relations;	/* those that the record has */
static struct relations whole;		/* with all their rows */

bool
job_is_running(void)
{
	return running;
}

bool
job_is_guarded(void)
{
	return guarded;
}

static bool
has(const struct relations *r, Oid relid)
{
	for (int i = 0; i < r->n; i++)
		if (r->list[i] == relid)
			return true;
	return false;
}

bool
job_has_relation(Oid relid)
{
	return has(&relations, relid);
}

bool
job_has_whole(Oid relid)
{
	return has(&whole, relid);
}

void
job_check(void)
{
	if ((running || guarded) && refusal != 0)
		ereport(ERROR, (errcode(refusal), errmsg("%s", refused)));
}

void
job_refuse(int sqlstate, const char *what)
{
	if (refusal == 0) {
		refusal = in_expression ? PIN_UNPINNED_EXPRESSION : sqlstate;
		strlcpy(refused, what, sizeof(refused));
	}
	ereport(ERROR, (errcode(refusal), errmsg("%s", refused)));
}

bool
job_is_own(const char *text)
{
	size_t n = strlen(secret);

	return n > 0 && strncmp(text, "/*", 2) == 0 &&
	       strncmp(text + 2, secret, n) == 0;
}

void
job_in_expression(bool begins)
{
	in_expression = begins;
}

void
job_check_token(const char *token)
{
	if (secret[0] == '\0' || strcmp(token, secret) != 0)
		ereport(ERROR,
		    (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("not for clients")));
}

static void
forget(struct relations *r)
{
	if (r->list != NULL)
		pfree(r->list);
	r->list = NULL;
	r->n = 0;
}

static void
job_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_ABORT && event != XACT_EVENT_COMMIT)
		return;
	if (running)
		SessionReplicationRole = SESSION_REPLICATION_ROLE_REPLICA;
	running = guarded = false;
	in_expression = false;
	refusal = 0;
	forget(&relations);
	forget(&whole);
	inputs_forget();
}

/*
 * An EXCEPTION block of a function begins; SAVEPOINT would begin its own when
 * the command has ended.  That an error comes is not waited for: it may be one
 * that the server alone had.
 */
static void
subtransaction(SubXactEvent event, SubTransactionId own,
    SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_START_SUB && running &&
	    ActivePortal != NULL)
		caught = true;
}

void
_PG_init(void)
{
	plan_install();
	relation_install();
	utility_install();
	RegisterXactCallback(job_end, NULL);
	RegisterSubXactCallback(subtransaction, NULL);
}

/* arm(token): once in a session, before anything of a client's runs. */
PG_FUNCTION_INFO_V1(pgwitness_pin_arm);

Datum
pgwitness_pin_arm(PG_FUNCTION_ARGS)
{
	char *token = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (secret[0] != '\0')
		job_check_token(token);
	if (token[0] == '\0' || strlen(token) > TOKEN_BYTES)
		ereport(ERROR,
		    (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("not a token")));
	strlcpy(secret, token, sizeof(secret));
	PG_RETURN_VOID();
}

/* Quoted, qualified names. */
static void
set_relations(struct relations *r, ArrayType *names)
{
	Datum *elements;
	int n;

	deconstruct_array(
	    names, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	forget(r);
	r->list = MemoryContextAlloc(
	    TopMemoryContext, sizeof(*r->list) * (size_t)(n + 1));
	for (int i = 0; i < n; i++) {
		List *name = textToQualifiedNameList(
		    DatumGetTextPP(elements[i]));

		r->list[r->n++] = RangeVarGetRelid(
		    makeRangeVarFromNameList(name), NoLock, false);
	}
}

/* begin_job(token, now or NULL, tables, those with all their rows) */
PG_FUNCTION_INFO_V1(pgwitness_pin_begin_job);

Datum
pgwitness_pin_begin_job(PG_FUNCTION_ARGS)
{
	Oid user;
	int context;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
		    (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			errmsg("NULL for a job")));
	job_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (running)
		ereport(ERROR,
		    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("a job is running")));
	set_relations(&relations, PG_GETARG_ARRAYTYPE_P(2));
	set_relations(&whole, PG_GETARG_ARRAYTYPE_P(3));
	if (!PG_ARGISNULL(1)) {
		TimestampTz now = PG_GETARG_TIMESTAMPTZ(1);

		SetParallelStartTimestamps(now, now);
	}
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(user, context | SECURITY_LOCAL_USERID_CHANGE);
	/*
	 * What the client's statements would fire fires; the worker's own fire
	 * nothing (plan.c).  Past the setting, which would forget all plans.
	 */
	SessionReplicationRole = SESSION_REPLICATION_ROLE_ORIGIN;
	running = true;
	caught = false;
	PG_RETURN_VOID();
}

/*
 * caught(token): did a function of the last job's have a handler for errors?
 * Which errors there are here is another thing than on the server: foreign keys
 * are not checked, nobody else holds locks, something may be missing.
 */
PG_FUNCTION_INFO_V1(pgwitness_pin_caught);

Datum
pgwitness_pin_caught(PG_FUNCTION_ARGS)
{
	job_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_BOOL(caught);
}

/* guard(token): to the end of the transaction, which is no job. */
PG_FUNCTION_INFO_V1(pgwitness_pin_guard);

Datum
pgwitness_pin_guard(PG_FUNCTION_ARGS)
{
	job_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	guarded = !running;
	PG_RETURN_VOID();
}

/* set(token, name, value): as SET LOCAL. */
PG_FUNCTION_INFO_V1(pgwitness_pin_set);

Datum
pgwitness_pin_set(PG_FUNCTION_ARGS)
{
	job_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	(void)set_config_option(text_to_cstring(PG_GETARG_TEXT_PP(1)),
	    text_to_cstring(PG_GETARG_TEXT_PP(2)),
	    superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
	    GUC_ACTION_LOCAL, true, 0, false);
	PG_RETURN_VOID();
}
