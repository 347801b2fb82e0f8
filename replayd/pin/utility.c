/*
 * utility.c: commands that a job's code may not run: what outlives the job,
 * leaves its user, or reaches files and other sessions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "catalog/namespace.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

static ProcessUtility_hook_type next_utility;

static void
check_copy(const CopyStmt *s)
{
	if (s->filename != NULL || s->is_program || !s->is_from)
		job_refuse(PIN_ENVIRONMENT, "COPY");
	if (s->relation != NULL)
		relation_check(
		    RangeVarGetRelid(s->relation, AccessShareLock, false));
}

static void
check_truncate(const TruncateStmt *s)
{
	ListCell *lc;

	foreach (lc, s->relations) {
		RangeVar *rv = lfirst_node(RangeVar, lc);

		if (!job_has_whole(
			RangeVarGetRelid(rv, AccessExclusiveLock, false)))
			job_refuse(PIN_READ_SET, rv->relname);
	}
}

/*
 * Inside of functions: nothing that the rows could be read back by afterwards
 * may change, be it a setting, a name or a definition.
 */
static void
check_nested(Node *s)
{
	switch (nodeTag(s)) {
	case T_CallStmt:
	case T_ClosePortalStmt:
	case T_ConstraintsSetStmt:
	case T_DoStmt:
	case T_ExplainStmt:
	case T_FetchStmt:
		break;
	case T_TruncateStmt:
		check_truncate((TruncateStmt *)s);
		break;
	case T_DeclareCursorStmt:
		if (((DeclareCursorStmt *)s)->options & CURSOR_OPT_HOLD)
			job_refuse(PIN_ENVIRONMENT, "WITH HOLD");
		break;
	default:
		job_refuse(
		    PIN_ENVIRONMENT, GetCommandTagName(CreateCommandTag(s)));
	}
}

static void
check_utility(Node *s)
{
	switch (nodeTag(s)) {
	case T_CopyStmt:
		check_copy((CopyStmt *)s);
		break;
	case T_CallStmt:
		plan_check_expression((Node *)((CallStmt *)s)->funcexpr);
		break;
	case T_PrepareStmt:
	case T_ExecuteStmt:
	case T_DeallocateStmt:
	case T_DiscardStmt:
	case T_VariableSetStmt:
	case T_LoadStmt:
	case T_ListenStmt:
	case T_UnlistenStmt:
	case T_NotifyStmt:
	case T_CheckPointStmt:
	case T_AlterSystemStmt:
	case T_CreateRoleStmt:
	case T_AlterRoleStmt:
	case T_AlterRoleSetStmt:
	case T_DropRoleStmt:
	case T_GrantRoleStmt:
	case T_CreatedbStmt:
	case T_DropdbStmt:
	case T_AlterDatabaseStmt:
	case T_AlterDatabaseSetStmt:
		job_refuse(
		    PIN_ENVIRONMENT, GetCommandTagName(CreateCommandTag(s)));
	default:
		break;
	}
}

static void
utility(PlannedStmt *p, const char *text, bool read_only,
    ProcessUtilityContext context, ParamListInfo params,
    QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *done)
{
	/* The worker's own ROLLBACK ends a job in any state. */
	if (job_is_running() && !IsA(p->utilityStmt, TransactionStmt)) {
		job_check();
		check_utility(p->utilityStmt);
		if (context != PROCESS_UTILITY_TOPLEVEL)
			check_nested(p->utilityStmt);
	}
	/* Parts of a command of the client's come as subcommands. */
	if (job_is_guarded() && !IsA(p->utilityStmt, TransactionStmt)) {
		job_check();
		if (context == PROCESS_UTILITY_QUERY ||
		    context == PROCESS_UTILITY_QUERY_NONATOMIC)
			job_refuse(PIN_ENVIRONMENT,
			    GetCommandTagName(
				CreateCommandTag(p->utilityStmt)));
		check_utility(p->utilityStmt);
	}
	if (next_utility != NULL)
		next_utility(p, text, read_only, context, params, environment,
		    dest, done);
	else
		standard_ProcessUtility(p, text, read_only, context, params,
		    environment, dest, done);
}

void
utility_install(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
