/*
 * relation.c: expressions that run when a table is written, and that no planner
 * sees: CHECK and domain constraints, generated columns, indexes, WHEN of
 * triggers.
 *
 * What was found good stays so until the relation's definition changes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pin.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "nodes/execnodes.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

static HTAB *good; /* Oid */

static void
forget(Datum arg, Oid relid)
{
	if (good == NULL)
		return;
	if (OidIsValid(relid)) {
		(void)hash_search(good, &relid, HASH_REMOVE, NULL);
	} else {
		hash_destroy(good);
		good = NULL;
	}
}

static void
remember(Oid relid)
{
	HASHCTL ctl = { .keysize = sizeof(Oid),
		.entrysize = sizeof(Oid),
		.hcxt = TopMemoryContext };

	if (good == NULL)
		good = hash_create("pgwitness relations", 64, &ctl,
		    HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	(void)hash_search(good, &relid, HASH_ENTER, NULL);
}

static void
check_text(const char *tree)
{
	if (tree != NULL)
		plan_check_expression(stringToNode(tree));
}

static void
check_constraints(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	TupleConstr *constr = desc->constr;

	if (constr == NULL)
		return;
	for (int i = 0; i < constr->num_check; i++)
		check_text(constr->check[i].ccbin);
	for (int i = 0; i < constr->num_defval; i++)
		if (TupleDescAttr(desc, constr->defval[i].adnum - 1)
			->attgenerated != '\0')
			check_text(constr->defval[i].adbin);
}

static void
check_domains(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		DomainConstraintRef *ref;
		ListCell *lc;

		if (att->attisdropped ||
		    !DomainHasConstraints(att->atttypid))
			continue;
		ref = palloc0(sizeof(*ref));
		InitDomainConstraintRef(
		    att->atttypid, ref, CurrentMemoryContext, false);
		foreach (lc, ref->constraints) {
			DomainConstraintState *c = lfirst(lc);

			if (c->check_expr != NULL)
				plan_check_expression((Node *)c->check_expr);
		}
	}
}

static void
check_indexes(Relation rel)
{
	List *list = RelationGetIndexList(rel);
	ListCell *lc;

	foreach (lc, list) {
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		plan_check_expression(
		    (Node *)RelationGetIndexExpressions(index));
		plan_check_expression((Node *)RelationGetIndexPredicate(index));
		index_close(index, AccessShareLock);
	}
	list_free(list);
}

static void
check_triggers(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++) {
		const Trigger *t = &desc->triggers[i];

		if (t->tgenabled == TRIGGER_DISABLED)
			continue;
		check_text(t->tgqual);
		if (!t->tgisinternal)
			function_check(t->tgfoid, false);
	}
}

/*
 * Enums and what is made of types that users made are hashed by their OIDs, so
 * here their rows belong into other partitions.
 */
static void
check_partitions(Relation rel)
{
	PartitionKey key;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	key = RelationGetPartitionKey(rel);
	for (int i = 0; key->strategy == PARTITION_STRATEGY_HASH &&
			i < key->partnatts;
	     i++) {
		Oid type = getBaseType(key->parttypid[i]);

		if (type >= FirstNormalObjectId || plan_is_named_oid(type))
			job_refuse(PIN_ENVIRONMENT, "a hash of OIDs");
	}
}

static void
check_one(Oid relid)
{
	Relation rel = table_open(relid, AccessShareLock);

	check_constraints(rel);
	check_domains(rel);
	check_indexes(rel);
	check_triggers(rel);
	check_partitions(rel);
	table_close(rel, NoLock);
}

void
relation_check(Oid relid)
{
	List *all;
	ListCell *lc;

	if (good != NULL && hash_search(good, &relid, HASH_FIND, NULL) != NULL)
		return;
	all = find_all_inheritors(relid, AccessShareLock, NULL);
	job_in_expression(true);
	foreach (lc, all)
		check_one(lfirst_oid(lc));
	job_in_expression(false);
	list_free(all);
	remember(relid);
}

void
relation_install(void)
{
	CacheRegisterRelcacheCallback(forget, (Datum)0);
}
