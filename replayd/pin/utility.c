/*
 * utility.c: commands that a job's code may not run: what outlives the job,
 * leaves its user, or reaches files and other sessions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "catalog/namespace.h"
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

/* Names are compared as SET compares them. */
static void
check_set(const VariableSetStmt *s)
{
	static const char *const names[] = { "role", "session_authorization",
		"statement_timeout", "lock_timeout",
		"idle_in_transaction_session_timeout",
		"client_connection_check_interval", "temp_file_limit",
		"session_replication_role" };

	for (size_t i = 0; s->name != NULL && i < lengthof(names); i++)
		if (pg_strcasecmp(s->name, names[i]) == 0)
			job_refuse(PIN_ENVIRONMENT, names[i]);
	if (s->kind == VAR_RESET_ALL)
		job_refuse(PIN_ENVIRONMENT, "RESET ALL");
}

static void
check_utility(Node *s)
{
	switch (nodeTag(s)) {
	case T_CopyStmt:
		check_copy((CopyStmt *)s);
		break;
	case T_VariableSetStmt:
		check_set((VariableSetStmt *)s);
		break;
	case T_CallStmt:
		plan_check_expression((Node *)((CallStmt *)s)->funcexpr);
		break;
	case T_PrepareStmt:
	case T_ExecuteStmt:
	case T_DeallocateStmt:
	case T_DiscardStmt:
	case T_LoadStmt:
	case T_ListenStmt:
	case T_UnlistenStmt:
	case T_NotifyStmt:
	case T_LockStmt:
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
	case T_CreateExtensionStmt:
	case T_CreatePLangStmt:
	case T_CreateTableSpaceStmt:
	case T_CreateSubscriptionStmt:
	case T_CreatePublicationStmt:
	case T_CreateForeignServerStmt:
	case T_CreateUserMappingStmt:
		job_refuse(PIN_ENVIRONMENT, GetCommandTagName(CreateCommandTag(s)));
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
