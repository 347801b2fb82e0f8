/*
 * pin.h: what the files of the extension share.
 *
 * A job is a transaction of the worker's that began with begin_job(); all that
 * is here ends with it.  Outside of jobs the extension does nothing, but for
 * transactions that began with guard(): there functions run no commands.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGWITNESS_PIN_H
#define PGWITNESS_PIN_H

#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/* SQLSTATEs that replayd/replay.c makes reasons of. */
#define PIN_ENVIRONMENT MAKE_SQLSTATE('P', 'W', '0', '0', '1')
#define PIN_VOLATILE MAKE_SQLSTATE('P', 'W', '0', '0', '2')
#define PIN_SEQUENCE MAKE_SQLSTATE('P', 'W', '0', '0', '3')
#define PIN_NOT_PINNED MAKE_SQLSTATE('P', 'W', '0', '0', '4')
#define PIN_UNPINNED_EXPRESSION MAKE_SQLSTATE('P', 'W', '0', '0', '5')
#define PIN_READ_SET MAKE_SQLSTATE('P', 'W', '0', '0', '6')
#define PIN_USER_FUNCTION MAKE_SQLSTATE('P', 'W', '0', '0', '7')

/* --- job.c --- */

bool job_is_running(void);
/* A transaction of DDL (barrier.c): what it runs has no commands to give. */
bool job_is_guarded(void);
/* A statement of the worker's: it begins with the secret as a comment. */
bool job_is_own(const char *text);
/* Is the relation one of those whose rows the record has? */
bool job_has_relation(Oid relid);
/* All of them, so that what functions read and write there is known? */
bool job_has_whole(Oid relid);
/*
 * Fails the statement, and each one behind it until the job ends: no handler
 * of the client's code makes it undone.
 */
void job_refuse(int sqlstate, const char *what) pg_attribute_noreturn();
/* What is refused from here on is of no statement, but of a table. */
void job_in_expression(bool begins);
/* Fails if job_refuse() was called in this job. */
void job_check(void);
/* The worker's secret, without which none of the functions does anything. */
void job_check_token(const char *token);

/* --- inputs.c --- */

void inputs_forget(void);
/* The expression that reads the column's next input, or else is call. */
Node *inputs_reader(Oid relid, AttrNumber column, Node *call);
/* Made by inputs_reader(). */
bool inputs_is_reader(const Node *node);

/* --- plan.c --- */

void plan_install(void);
/* Is what is looked at in the body of a function? */
bool plan_is_nested(void);
/* Types whose values are OIDs with a name. */
bool plan_is_named_oid(Oid type);
/* Refuses what an expression outside of any plan may not call. */
void plan_check_expression(Node *node);

/* --- relation.c --- */

void relation_install(void);
/* Refuses expressions of the relation that run whenever it is written. */
void relation_check(Oid relid);

/* --- function.c --- */

/*
 * Results depend on the arguments and on what is pinned, or it is refused.
 * nested: called by another function of users'; the record does not say which
 * version of this one that was.
 */
void function_check(Oid funcid, bool nested);
/* Its result can be recorded, and read instead of calling it. */
bool function_is_recordable(Oid funcid);

/* --- utility.c --- */

void utility_install(void);

#endif
