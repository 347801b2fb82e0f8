/*
 * plan.c: every statement of a job is looked at before it is planned, in
 * function bodies, too.
 *
 * Where a column of INSERT or UPDATE is nothing but a call whose result was
 * recorded, that is read instead.  Calls, relations and columns that would not
 * be the server's are refused.  SQL functions are kept from being inlined: what
 * they do is planned, and seen, when they run.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static planner_hook_type next_planner;
static ExecutorStart_hook_type next_start;
static ExecutorEnd_hook_type next_end;
static needs_fmgr_hook_type next_needs;

/* --- what is refused --- */

static bool
check_function(Oid funcid, void *arg)
{
	function_check(funcid, plan_is_nested());
	return false;
}

/* Types whose values are OIDs with a name. */
bool
plan_is_named_oid(Oid type)
{
	switch (type) {
	case REGCLASSOID:
	case REGCOLLATIONOID:
	case REGCONFIGOID:
	case REGDICTIONARYOID:
	case REGNAMESPACEOID:
	case REGOPEROID:
	case REGOPERATOROID:
	case REGPROCOID:
	case REGPROCEDUREOID:
	case REGROLEOID:
	case REGTYPEOID:
		return true;
	default:
		return false;
	}
}

/* The number behind a name is another one here. */
static void
check_oid(const Node *from, Oid to)
{
	if (plan_is_named_oid(exprType(from)) && !plan_is_named_oid(to))
		job_refuse(PIN_ENVIRONMENT, "an OID");
}

/* A function that takes the number, not the name. */
static void
check_arguments(const FuncExpr *f)
{
	Oid *types;
	int n;
	int i = 0;
	ListCell *lc;

	if (function_is_recordable(f->funcid))
		return;
	(void)get_func_signature(f->funcid, &types, &n);
	foreach (lc, f->args) {
		if (i < n)
			check_oid(lfirst(lc), types[i]);
		i++;
	}
	pfree(types);
}

static void
check_value_function(const SQLValueFunction *f)
{
	switch (f->op) {
	case SVFOP_CURRENT_ROLE:
	case SVFOP_CURRENT_USER:
	case SVFOP_USER:
	case SVFOP_SESSION_USER:
	case SVFOP_CURRENT_CATALOG:
	case SVFOP_CURRENT_SCHEMA:
		job_refuse(PIN_ENVIRONMENT, "who or where one is");
	default:
		break;
	}
}

static void
check_relation_entry(const RangeTblEntry *rte)
{
	if (rte->rtekind != RTE_RELATION)
		return;
	if (rte->relid < FirstNormalObjectId)
		job_refuse(PIN_ENVIRONMENT, "a catalog");
	if (rte->tablesample != NULL)
		job_refuse(PIN_ENVIRONMENT, "tablesample");
}

static bool check_node(Node *node, void *arg);
static void check_query(Query *q);

static bool
check_node(Node *node, void *arg)
{
	if (node == NULL || inputs_is_reader(node))
		return false;
	switch (nodeTag(node)) {
	case T_Query:
		check_query((Query *)node);
		return false;
	case T_RangeTblEntry:
		check_relation_entry((RangeTblEntry *)node);
		return false; /* its parts are walked by query_tree_walker() */
	case T_Var:
		if (((Var *)node)->varattno < 0)
			job_refuse(PIN_ENVIRONMENT, "a system column");
		return false;
	case T_NextValueExpr:
		job_refuse(PIN_SEQUENCE, "nextval");
	case T_CurrentOfExpr:
		job_refuse(PIN_ENVIRONMENT, "WHERE CURRENT OF");
	case T_SQLValueFunction:
		check_value_function((SQLValueFunction *)node);
		break;
	case T_RelabelType:
		check_oid((Node *)((RelabelType *)node)->arg,
		    ((RelabelType *)node)->resulttype);
		break;
	case T_FuncExpr:
		check_arguments((FuncExpr *)node);
		break;
	default:
		break;
	}
	(void)check_functions_in_node(node, check_function, NULL);
	return expression_tree_walker(node, check_node, arg);
}

void
plan_check_expression(Node *node)
{
	(void)check_node(node, NULL);
}

/* --- what is read from the record --- */

/* The call below casts, if there is nothing else and it can be recorded. */
static Node *
recorded_call(Node *node)
{
	while (node != NULL) {
		if (IsA(node, RelabelType)) {
			node = (Node *)((RelabelType *)node)->arg;
		} else if (IsA(node, CoerceViaIO)) {
			node = (Node *)((CoerceViaIO *)node)->arg;
		} else if (IsA(node, CoerceToDomain)) {
			node = (Node *)((CoerceToDomain *)node)->arg;
		} else if (IsA(node, FuncExpr) &&
			   ((FuncExpr *)node)->funcformat !=
			       COERCE_EXPLICIT_CALL &&
			   ((FuncExpr *)node)->args != NIL) {
			node = linitial(((FuncExpr *)node)->args);
		} else {
			break;
		}
	}
	if (node == NULL || IsA(node, NextValueExpr))
		return node;
	if (IsA(node, SQLValueFunction)) {
		SQLValueFunctionOp op = ((SQLValueFunction *)node)->op;

		return op >= SVFOP_CURRENT_ROLE && op <= SVFOP_SESSION_USER
			   ? node
			   : NULL;
	}
	return IsA(node, FuncExpr) &&
		       function_is_recordable(((FuncExpr *)node)->funcid)
		   ? node
		   : NULL;
}

/* expr, or what reads the record in its place. */
static Node *
pin_expression(Oid relid, AttrNumber column, Node *expr)
{
	Node *call = recorded_call(expr);

	if (call == NULL)
		return expr;
	if (IsA(call, FuncExpr))
		(void)check_node((Node *)((FuncExpr *)call)->args, NULL);
	return inputs_reader(relid, column, expr);
}

/* INSERT of several rows: the column's values are in VALUES. */
static void
pin_values(Query *q, Oid relid, AttrNumber column, const Var *v)
{
	RangeTblEntry *rte;
	ListCell *lc;

	if (v->varlevelsup != 0)
		return;
	rte = rt_fetch(v->varno, q->rtable);
	if (rte->rtekind != RTE_VALUES)
		return;
	foreach (lc, rte->values_lists) {
		List *row = lfirst(lc);
		ListCell *cell = list_nth_cell(row, v->varattno - 1);

		lfirst(cell) = pin_expression(relid, column, lfirst(cell));
	}
}

static void
pin_targets(Query *q)
{
	Oid relid = rt_fetch(q->resultRelation, q->rtable)->relid;
	ListCell *lc;

	foreach (lc, q->targetList) {
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		if (IsA(tle->expr, Var))
			pin_values(q, relid, tle->resno, (Var *)tle->expr);
		else
			tle->expr = (Expr *)pin_expression(
			    relid, tle->resno, (Node *)tle->expr);
	}
}

static void
check_query(Query *q)
{
	if (q->resultRelation > 0) {
		RangeTblEntry *rte = rt_fetch(q->resultRelation, q->rtable);

		if (q->commandType == CMD_INSERT ||
		    q->commandType == CMD_UPDATE)
			pin_targets(q);
		relation_check(rte->relid);
	}
	(void)query_tree_walker(
	    q, check_node, NULL, QTW_EXAMINE_RTES_BEFORE);
}

/* --- hooks --- */

static int planning; /* a constant's function plans within planning */

bool
plan_is_nested(void)
{
	return planning > 1 || ActivePortal != NULL;
}

static PlannedStmt *
plan_on(Query *q, const char *text, int options, ParamListInfo params)
{
	return next_planner != NULL ? next_planner(q, text, options, params)
				    : standard_planner(q, text, options, params);
}

static PlannedStmt *
plan(Query *q, const char *text, int options, ParamListInfo params)
{
	PlannedStmt *result;

	if (!job_is_running())
		return plan_on(q, text, options, params);
	planning++;
	PG_TRY();
	{
		job_check();
		if (q->commandType != CMD_UTILITY)
			check_query(q);
		result = plan_on(q, text, options, params);
	}
	PG_FINALLY();
	{
		planning--;
	}
	PG_END_TRY();
	return result;
}

/* Partitions and the like, which the planner added for their parent. */
static bool
is_child(const PlannedStmt *p, int index)
{
	ListCell *lc;

	foreach (lc, p->appendRelations)
		if ((int)lfirst_node(AppendRelInfo, lc)->child_relid == index)
			return true;
	return false;
}

/*
 * The target of an INSERT that looks at no row which is there; 0: it is none.
 * A unique key finds fewer rows here than on the server, and no other ones.
 */
static int
blind_target(const PlannedStmt *p)
{
	const ModifyTable *m = (const ModifyTable *)p->planTree;

	return IsA(m, ModifyTable) && m->operation == CMD_INSERT &&
		       m->onConflictAction == ONCONFLICT_NONE
		   ? linitial_int(m->resultRelations)
		   : 0;
}

/* What a function's statement may look for there is all there. */
static bool
is_known(const RangeTblEntry *rte, bool nested, bool blind)
{
	return nested && !blind ? job_has_whole(rte->relid)
				: job_has_relation(rte->relid);
}

/*
 * Tables whose rows the record does not have are empty here, and of the job's
 * own, but for whole ones, only those rows are there that its statements touch:
 * what a function would find is another thing, but it may insert.  What foreign
 * keys look for is the server's business.
 */
static void
check_tables(const PlannedStmt *p, bool nested)
{
	int blind = blind_target(p);
	int index = 0;
	ListCell *lc;

	if (InNoForceRLSOperation())
		return;
	foreach (lc, p->rtable) {
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		index++;
		if (rte->rtekind == RTE_RELATION &&
		    (rte->relkind == RELKIND_RELATION ||
			rte->relkind == RELKIND_MATVIEW ||
			rte->relkind == RELKIND_FOREIGN_TABLE ||
			rte->relkind == RELKIND_SEQUENCE) &&
		    !is_known(rte, nested, index == blind) &&
		    (nested || !is_child(p, index)))
			job_refuse(PIN_READ_SET, get_rel_name(rte->relid));
	}
}

/*
 * Not of the message that the worker sent: its portal has no name, and its
 * text.  A cursor of a function's is a portal, too.
 */
static bool
is_nested(const QueryDesc *d)
{
	return ActivePortal == NULL || ActivePortal->name[0] != '\0' ||
	       d->sourceText != ActivePortal->sourceText;
}

static void
start(QueryDesc *d, int flags)
{
	if (job_is_running()) {
		bool nested = is_nested(d);

		job_check();
		check_tables(d->plannedstmt, nested);
		if (!nested && job_is_own(d->sourceText))
			SessionReplicationRole =
			    SESSION_REPLICATION_ROLE_REPLICA;
	}
	if (next_start != NULL)
		next_start(d, flags);
	else
		standard_ExecutorStart(d, flags);
}

static void
end(QueryDesc *d)
{
	if (job_is_running() && !is_nested(d))
		SessionReplicationRole = SESSION_REPLICATION_ROLE_ORIGIN;
	if (next_end != NULL)
		next_end(d);
	else
		standard_ExecutorEnd(d);
}

static bool
keep_whole(Oid funcid)
{
	HeapTuple tuple;
	bool sql;

	if (next_needs != NULL && next_needs(funcid))
		return true;
	if (!job_is_running() || funcid < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	if (!HeapTupleIsValid(tuple))
		return false;
	sql = ((Form_pg_proc)GETSTRUCT(tuple))->prolang == SQLlanguageId;
	ReleaseSysCache(tuple);
	return sql;
}

void
plan_install(void)
{
	next_planner = planner_hook;
	planner_hook = plan;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	next_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end;
	next_needs = needs_fmgr_hook;
	needs_fmgr_hook = keep_whole;
}
