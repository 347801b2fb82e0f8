/*
 * inputs.c: recorded values, read in place of the calls that gave them.
 *
 * A queue for each column of a statement's target; each row takes one.  What
 * runs out is calculated after all: the server claimed fewer rows than the
 * statement makes, and the difference is to show.  A column without a queue is
 * refused: nobody recorded what it was.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define PIN_SCHEMA "pgwitness_pin"

struct queue {
	struct queue *next;
	Oid relid;
	AttrNumber column;
	Datum *values;		/* of text */
	bool *nulls;
	int n;
	int at;
};

/* All of a job's, so that its end is one call. */
static MemoryContext context;
static struct queue *queues;

void
inputs_forget(void)
{
	if (context != NULL)
		MemoryContextDelete(context);
	context = NULL;
	queues = NULL;
}

/* The first one with something left, else the last one. */
static struct queue *
find_queue(Oid relid, AttrNumber column)
{
	struct queue *found = NULL;

	for (struct queue *q = queues; q != NULL; q = q->next) {
		if (q->relid != relid || q->column != column)
			continue;
		found = q;
		if (q->at < q->n)
			break;
	}
	return found;
}

static void
append_queue(struct queue *q)
{
	struct queue **end = &queues;

	while (*end != NULL)
		end = &(*end)->next;
	*end = q;
}

/* input(token, table, column, values) */
PG_FUNCTION_INFO_V1(pgwitness_pin_input);

Datum
pgwitness_pin_input(PG_FUNCTION_ARGS)
{
	text *table = PG_GETARG_TEXT_PP(1);
	char *column = text_to_cstring(PG_GETARG_TEXT_PP(2));
	MemoryContext old;
	struct queue *q;

	job_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!job_is_running())
		ereport(ERROR,
		    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("no job is running")));
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext,
		    "pgwitness inputs", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	q = palloc0(sizeof(*q));
	q->relid = DatumGetObjectId(
	    DirectFunctionCall1(to_regclass, PointerGetDatum(table)));
	q->column = get_attnum(q->relid, column);
	if (q->column == InvalidAttrNumber)
		ereport(ERROR,
		    (errcode(ERRCODE_UNDEFINED_COLUMN),
			errmsg("no such column: %s", column)));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P_COPY(3), TEXTOID, -1, false,
	    TYPALIGN_INT, &q->values, &q->nulls, &q->n);
	append_queue(q);
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

/*
 * has(table, column), take(table, column): in expressions of ours alone.  SQL
 * knows them with an argument of type internal, so nobody else can call them.
 */
PG_FUNCTION_INFO_V1(pgwitness_pin_has);

Datum
pgwitness_pin_has(PG_FUNCTION_ARGS)
{
	const struct queue *q = find_queue(
	    PG_GETARG_OID(0), PG_GETARG_INT16(1));

	if (q == NULL)
		job_refuse(PIN_NOT_PINNED, "a value that was not recorded");
	PG_RETURN_BOOL(q->at < q->n);
}

PG_FUNCTION_INFO_V1(pgwitness_pin_take);

Datum
pgwitness_pin_take(PG_FUNCTION_ARGS)
{
	struct queue *q = find_queue(PG_GETARG_OID(0), PG_GETARG_INT16(1));
	Oid input;
	Oid param;
	char *value;

	if (q == NULL || q->at == q->n)
		job_refuse(PIN_NOT_PINNED, "a value that was not recorded");
	if (q->nulls[q->at]) {
		q->at++;
		PG_RETURN_NULL();
	}
	value = TextDatumGetCString(q->values[q->at++]);
	getTypeInputInfo(get_fn_expr_rettype(fcinfo->flinfo), &input, &param);
	return OidInputFunctionCall(input, value, param, -1);
}

/* Triggers that may change a row before it is there. */
static bool
has_before_triggers(Oid relid)
{
	Relation rel = table_open(relid, AccessShareLock);
	const TriggerDesc *desc = rel->trigdesc;
	bool found = false;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++) {
		const Trigger *t = &desc->triggers[i];

		found = found ||
			(!t->tgisinternal && t->tgenabled != TRIGGER_DISABLED &&
			    TRIGGER_FOR_ROW(t->tgtype) &&
			    !TRIGGER_FOR_AFTER(t->tgtype));
	}
	table_close(rel, AccessShareLock);
	return found;
}

/* Some of the column's values were read, in whatever statement. */
static bool
is_read(const struct queue *of)
{
	for (const struct queue *q = queues; q != NULL; q = q->next)
		if (q->relid == of->relid && q->column == of->column &&
		    q->at > 0)
			return true;
	return false;
}

/*
 * sure(token): what was recorded is what the calls gave: nothing changes it on
 * its way into the row, and it was called for each row or for none.
 */
PG_FUNCTION_INFO_V1(pgwitness_pin_sure);

Datum
pgwitness_pin_sure(PG_FUNCTION_ARGS)
{
	job_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	for (const struct queue *q = queues; q != NULL; q = q->next)
		if ((q->at < q->n && is_read(q)) ||
		    has_before_triggers(q->relid))
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}

static Oid
own_function(const char *name)
{
	Oid internal = INTERNALOID;

	return LookupFuncName(
	    list_make2(makeString(PIN_SCHEMA), makeString(pstrdup(name))), 1,
	    &internal, false);
}

static Oid
has_oid(void)
{
	static Oid oid = InvalidOid;

	if (!OidIsValid(oid))
		oid = own_function("has");
	return oid;
}

static Oid
take_oid(void)
{
	static Oid oid = InvalidOid;

	if (!OidIsValid(oid))
		oid = own_function("take");
	return oid;
}

static Node *
own_call(Oid function, Oid type, Oid collation, Oid relid, AttrNumber column)
{
	Const *table = makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
	    ObjectIdGetDatum(relid), false, true);
	Const *attribute = makeConst(INT2OID, -1, InvalidOid, sizeof(int16),
	    Int16GetDatum(column), false, true);

	return (Node *)makeFuncExpr(function, type,
	    list_make2(table, attribute), collation, InvalidOid,
	    COERCE_EXPLICIT_CALL);
}

Node *
inputs_reader(Oid relid, AttrNumber column, Node *call)
{
	CaseExpr *c = makeNode(CaseExpr);
	CaseWhen *when = makeNode(CaseWhen);

	c->casetype = exprType(call);
	c->casecollid = exprCollation(call);
	when->expr = (Expr *)own_call(
	    has_oid(), BOOLOID, InvalidOid, relid, column);
	when->result = (Expr *)own_call(
	    take_oid(), c->casetype, c->casecollid, relid, column);
	c->args = list_make1(when);
	c->defresult = (Expr *)call;
	c->location = when->location = -1;
	return (Node *)c;
}

bool
inputs_is_reader(const Node *node)
{
	const CaseWhen *when;

	if (!IsA(node, CaseExpr) || ((const CaseExpr *)node)->arg != NULL)
		return false;
	when = linitial_node(CaseWhen, ((const CaseExpr *)node)->args);
	return IsA(when->expr, FuncExpr) &&
	       ((const FuncExpr *)when->expr)->funcid == has_oid();
}
