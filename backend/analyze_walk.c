/*
 * analyze_walk.c: what a parse tree mentions, wherever it stands.
 *
 * Follows protobuf-c's descriptors, so that no kind of node is forgotten; the
 * table at the end names the few that mean something here.  Names of common
 * table expressions are resolved by PostgreSQL's scoping rules.  Owns
 * nothing.  Called by analyze_stmt.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdlib.h>
#include <string.h>

#include "analyze_int.h"

/* The CTEs that a query sees: the first `visible` of with, then outer's. */
struct scope {
	const struct scope *outer;
	const PgQuery__WithClause *with;
	size_t visible;
};

/* A relation and where it stands, for the order of appearance. */
struct mention {
	struct analyzed_relation relation;
	int location;
};

struct walk {
	struct arena *arena;
	struct analyzed_statement *st;
	const struct scope *scope;
	const PgQuery__RangeVar *target; /* of the DML being walked */
	struct mention *mentions;
	size_t cap_mentions;
	size_t cap_functions;
	const struct call_nodes *calls; /* NULL: none */
	size_t next_call;
	uint16_t *params; /* only for walk_params() */
	size_t n_params, cap_params;
	bool failed;
};

typedef void (*walk_fn)(struct walk *w, const ProtobufCMessage *m);

static void walk_message(struct walk *w, const ProtobufCMessage *m);

static const char *
null_if_empty(const char *s)
{
	return s == NULL || s[0] == '\0' ? NULL : s;
}

static bool
same_name(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* All members of a Node's union are pointers to messages. */
static const ProtobufCMessage *
node_message(const PgQuery__Node *n)
{
	if (n->node_case == PG_QUERY__NODE__NODE__NOT_SET)
		return NULL;
	return &n->alias->base;
}

static const ProtobufCMessage *
load_message(const char *at)
{
	const ProtobufCMessage *m;

	memcpy(&m, at, sizeof(m));
	return m;
}

static void
walk_repeated(
    struct walk *w, const char *base, const ProtobufCFieldDescriptor *f)
{
	const char *array;
	size_t n;

	memcpy(&n, base + f->quantifier_offset, sizeof(n));
	memcpy(&array, base + f->offset, sizeof(array));
	for (size_t i = 0; i < n; i++)
		walk_message(w, load_message(array + i * sizeof(void *)));
}

/* Every message below m but m itself. */
static void
walk_fields(struct walk *w, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	const char *base = (const char *)m;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		uint32_t which = f->id;

		if (f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			memcpy(
			    &which, base + f->quantifier_offset, sizeof(which));
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			walk_repeated(w, base, f);
		else if (which == f->id)
			walk_message(w, load_message(base + f->offset));
	}
}

static const char *
node_string(const PgQuery__Node *n)
{
	return n->node_case == NODE(STRING) ? n->string->sval : "";
}

/* One of st->calls; they come in the order of the walk. */
static bool
is_call(struct walk *w, const ProtobufCMessage *m)
{
	if (w->calls == NULL || w->next_call == w->calls->n ||
	    w->calls->node[w->next_call] != m)
		return false;
	w->next_call++;
	return true;
}

static void
add_function(struct walk *w, const char *schema, const char *name, bool nested)
{
	struct analyzed_statement *st = w->st;
	struct analyzed_function *f = st->functions;

	if (w->failed)
		return;
	for (size_t i = 0; i < st->n_functions; i++)
		if (same_name(f[i].schema, schema) &&
		    same_name(f[i].name, name)) {
			f[i].nested = f[i].nested || nested;
			return;
		}
	f = st->n_functions == ANALYZE_NAMES_MAX
		? NULL
		: arena_grow(w->arena, f, st->n_functions, &w->cap_functions,
		      sizeof(*f));
	if (f == NULL) {
		w->failed = true;
		return;
	}
	f[st->n_functions].schema = schema;
	f[st->n_functions].name = name;
	f[st->n_functions].nested = nested;
	st->functions = f;
	st->n_functions++;
}

/* A function or operator by its maybe qualified name. */
static void
add_named(struct walk *w, PgQuery__Node **parts, size_t n, bool nested)
{
	if (n == 0)
		return;
	add_function(w, n > 1 ? node_string(parts[n - 2]) : NULL,
	    node_string(parts[n - 1]), nested);
}

/* The operators written without a schema are not reported. */
static void
add_operator(struct walk *w, PgQuery__Node **parts, size_t n)
{
	if (n > 1)
		add_named(w, parts, n, true);
}

/* True if it was there; as a target now if it is one. */
static bool
find_mention(struct walk *w, const struct analyzed_relation *r)
{
	for (size_t i = 0; i < w->st->n_relations; i++) {
		struct analyzed_relation *have = &w->mentions[i].relation;

		if (!same_name(have->name, r->name) ||
		    !same_name(have->schema, r->schema) ||
		    !same_name(have->alias, r->alias))
			continue;
		if (have->target != r->target)
			w->st->reads_target = true;
		have->target = have->target || r->target;
		return true;
	}
	return false;
}

static void
add_relation(struct walk *w, const PgQuery__RangeVar *rv, bool target)
{
	struct mention m = {
		{ null_if_empty(rv->schemaname), rv->relname,
		    rv->alias != NULL ? rv->alias->aliasname : NULL, target },
		rv->location
	};

	struct mention *grown = NULL;

	if (w->failed || find_mention(w, &m.relation))
		return;
	if (w->st->n_relations < ANALYZE_NAMES_MAX)
		grown = arena_grow(w->arena, w->mentions, w->st->n_relations,
		    &w->cap_mentions, sizeof(*grown));
	if (grown == NULL) {
		w->failed = true;
		return;
	}
	w->mentions = grown;
	w->mentions[w->st->n_relations++] = m;
}

static const PgQuery__CommonTableExpr *
scope_cte(const struct scope *s, size_t i)
{
	const PgQuery__Node *n = s->with->ctes[i];

	return n->node_case == NODE(COMMON_TABLE_EXPR) ? n->common_table_expr
						       : NULL;
}

static bool
is_cte(const struct walk *w, const PgQuery__RangeVar *rv)
{
	if (null_if_empty(rv->schemaname) != NULL)
		return false;
	for (const struct scope *s = w->scope; s != NULL; s = s->outer)
		for (size_t i = 0; i < s->visible; i++) {
			const PgQuery__CommonTableExpr *c = scope_cte(s, i);

			if (c != NULL && same_name(c->ctename, rv->relname))
				return true;
		}
	return false;
}

static void
walk_range_var(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__RangeVar *rv = (const PgQuery__RangeVar *)m;

	if (rv == w->target || is_cte(w, rv))
		return;
	add_relation(w, rv, false);
	w->st->reads_relations = true;
}

/* Walks m, first its CTEs and then the rest, which sees them all. */
static void
walk_scoped(
    struct walk *w, const ProtobufCMessage *m, const PgQuery__WithClause *with)
{
	struct scope s = { w->scope, with, 0 };

	if (with == NULL) {
		walk_fields(w, m);
		return;
	}
	w->scope = &s;
	for (size_t i = 0; i < with->n_ctes; i++) {
		s.visible = with->recursive ? with->n_ctes : i;
		walk_message(w, &with->ctes[i]->base);
	}
	s.visible = with->n_ctes;
	walk_fields(w, m);
	w->scope = s.outer;
}

/* A statement that changes rows of rel. */
static void
walk_writing(struct walk *w, const ProtobufCMessage *m,
    const PgQuery__RangeVar *rel, const PgQuery__WithClause *with)
{
	const PgQuery__RangeVar *outer = w->target;

	w->st->writes = true;
	if (rel != NULL)
		add_relation(w, rel, true);
	w->target = rel;
	walk_scoped(w, m, with);
	w->target = outer;
}

static void
walk_insert(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__InsertStmt *s = (const PgQuery__InsertStmt *)m;

	walk_writing(w, m, s->relation, s->with_clause);
}

static void
walk_update(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__UpdateStmt *s = (const PgQuery__UpdateStmt *)m;

	walk_writing(w, m, s->relation, s->with_clause);
}

static void
walk_delete(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__DeleteStmt *s = (const PgQuery__DeleteStmt *)m;

	walk_writing(w, m, s->relation, s->with_clause);
}

static void
walk_merge(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__MergeStmt *s = (const PgQuery__MergeStmt *)m;

	walk_writing(w, m, s->relation, s->with_clause);
}

/* ctid and its like are not in the row: replay gives others. */
static void
walk_column_ref(struct walk *w, const ProtobufCMessage *m)
{
	static const char *const system_columns[] = { "ctid", "xmin", "xmax",
		"cmin", "cmax", "tableoid" };
	const PgQuery__ColumnRef *c = (const PgQuery__ColumnRef *)m;
	const PgQuery__Node *last = c->n_fields > 0 ? c->fields[c->n_fields - 1]
						    : NULL;

	for (size_t i = 0; last != NULL && last->node_case == NODE(STRING) &&
			   i < sizeof(system_columns) / sizeof(*system_columns);
	     i++)
		if (strcmp(last->string->sval, system_columns[i]) == 0)
			w->st->system_columns = true;
}

static void
walk_select(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__SelectStmt *s = (const PgQuery__SelectStmt *)m;

	/* A plain DISTINCT has one empty member. */
	if (s->limit_count != NULL || s->limit_offset != NULL ||
	    (s->n_distinct_clause > 0 &&
		s->distinct_clause[0]->node_case !=
		    PG_QUERY__NODE__NODE__NOT_SET))
		w->st->order_matters = true;
	if (s->n_distinct_clause > 0 || s->n_group_clause > 0 ||
	    (s->op != PG_QUERY__SET_OPERATION__SETOP_NONE && !s->all))
		w->st->groups = true;
	walk_scoped(w, m, s->with_clause);
}

static void
walk_copy(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__CopyStmt *s = (const PgQuery__CopyStmt *)m;

	if (s->is_from)
		walk_writing(w, m, s->relation, NULL);
	else
		walk_fields(w, m);
}

static void
walk_truncate(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__TruncateStmt *s = (const PgQuery__TruncateStmt *)m;

	w->st->writes = true;
	for (size_t i = 0; i < s->n_relations; i++)
		if (s->relations[i]->node_case == NODE(RANGE_VAR))
			add_relation(w, s->relations[i]->range_var, true);
}

static void
walk_refresh(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__RefreshMatViewStmt *s =
	    (const PgQuery__RefreshMatViewStmt *)m;

	walk_writing(w, m, s->relation, NULL);
}

/* SELECT INTO, CREATE TABLE AS, CREATE MATERIALIZED VIEW. */
static void
walk_into(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__IntoClause *s = (const PgQuery__IntoClause *)m;

	w->st->writes = true;
	if (s->rel != NULL)
		add_relation(w, s->rel, true);
}

static void
walk_cte(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__CommonTableExpr *c = (const PgQuery__CommonTableExpr *)m;
	const PgQuery__Node *q = c->ctequery;

	if (q != NULL && (q->node_case == NODE(INSERT_STMT) ||
			     q->node_case == NODE(UPDATE_STMT) ||
			     q->node_case == NODE(DELETE_STMT)))
		/* Its target is not that of the statement. */
		w->st->modifying_cte = w->st->reads_relations = true;
	walk_fields(w, m);
}

static bool
is_one_of(const char *name, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

/* Where the order of rows shows in the result. */
static void
note_order(struct walk *w, const PgQuery__FuncCall *f)
{
	static const char *const lists[] = { "array_agg", "string_agg",
		"json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg",
		"xmlagg", NULL };
	/* These calculate with floats, whatever they are given. */
	static const char *const floats[] = { "corr", "covar_pop",
		"covar_samp", "regr_avgx", "regr_avgy", "regr_intercept",
		"regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy",
		NULL };
	static const char *const givers[] = { "acos", "asin", "atan", "atan2",
		"cbrt", "cos", "cosh", "cot", "date_part", "degrees", "exp",
		"float4", "float8", "ln", "log", "log10", "pi", "pow", "power",
		"radians", "random", "sin", "sinh", "sqrt", "tan", "tanh",
		NULL };
	static const char *const sums[] = { "sum", "avg", "stddev",
		"stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp",
		NULL };
	const char *name = f->n_funcname > 0
			       ? node_string(f->funcname[f->n_funcname - 1])
			       : "";

	/* ORDER BY may leave some of them equal. */
	if (f->over != NULL || is_one_of(name, lists) ||
	    is_one_of(name, floats))
		w->st->order_matters = true;
	if (is_one_of(name, sums))
		w->st->sums = true;
	if (is_one_of(name, givers))
		w->st->inexact = true;
	if (strcmp(name, "min") == 0 || strcmp(name, "max") == 0)
		w->st->groups = true;
}

static void
walk_func_call(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__FuncCall *f = (const PgQuery__FuncCall *)m;

	note_order(w, f);
	add_named(w, f->funcname, f->n_funcname, !is_call(w, m));
	walk_fields(w, m);
}

static void
walk_value_function(struct walk *w, const ProtobufCMessage *m)
{
	static const char *const names[] = { "", "current_date", "current_time",
		"current_time", "current_timestamp", "current_timestamp",
		"localtime", "localtime", "localtimestamp", "localtimestamp",
		"current_role", "current_user", "user", "session_user",
		"current_catalog", "current_schema" };
	size_t op = ((const PgQuery__SQLValueFunction *)m)->op;

	if (op < sizeof(names) / sizeof(names[0]))
		add_function(w, NULL, names[op], !is_call(w, m));
}

static void
walk_a_expr(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__AExpr *e = (const PgQuery__AExpr *)m;

	/* A quotient has as many digits as its operands make it. */
	if (e->n_name > 0 &&
	    strcmp(node_string(e->name[e->n_name - 1]), "/") == 0)
		w->st->inexact = true;
	add_operator(w, e->name, e->n_name);
	walk_fields(w, m);
}

static void
walk_sort_by(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__SortBy *s = (const PgQuery__SortBy *)m;

	add_operator(w, s->use_op, s->n_use_op);
	walk_fields(w, m);
}

/* Floats, where no column is one. */
static void
walk_type_cast(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__TypeCast *c = (const PgQuery__TypeCast *)m;
	const PgQuery__TypeName *t = c->type_name;
	const char *name = t != NULL && t->n_names > 0
			       ? node_string(t->names[t->n_names - 1])
			       : "";

	if (strcmp(name, "float4") == 0 || strcmp(name, "float8") == 0)
		w->st->inexact = true;
	walk_fields(w, m);
}

static void
walk_sub_link(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__SubLink *s = (const PgQuery__SubLink *)m;

	w->st->has_sublinks = true;
	w->st->reads_relations = true;
	if (s->sub_link_type == PG_QUERY__SUB_LINK_TYPE__ARRAY_SUBLINK)
		w->st->order_matters = true;
	add_operator(w, s->oper_name, s->n_oper_name);
	walk_fields(w, m);
}

/* The sampling method is a function of its own. */
static void
walk_sample(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__RangeTableSample *s = (const PgQuery__RangeTableSample *)
	    m;

	add_named(w, s->method, s->n_method, true);
	walk_fields(w, m);
}

/* The names behind OF are aliases.  Who else holds locks is not recorded. */
static void
walk_locking(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__LockingClause *l = (const PgQuery__LockingClause *)m;

	if (l->wait_policy == PG_QUERY__LOCK_WAIT_POLICY__LockWaitSkip)
		w->st->order_matters = true;
	w->st->for_update = true;
}

/* A number beyond 65535 is the server's to refuse. */
static void
walk_param(struct walk *w, const ProtobufCMessage *m)
{
	const PgQuery__ParamRef *p = (const PgQuery__ParamRef *)m;
	uint16_t *grown;

	w->st->has_params = true;
	grown = arena_grow(w->arena, w->params, w->n_params, &w->cap_params,
	    sizeof(*grown));
	if (grown == NULL) {
		w->failed = true;
		return;
	}
	w->params = grown;
	w->params[w->n_params++] = (uint16_t)p->number;
}

static void
walk_default(struct walk *w, const ProtobufCMessage *m)
{
	w->st->default_keyword = true;
	if (!is_call(w, m))
		w->st->default_mixed = true;
}

/* walk_scoped() was there already. */
static void
walk_nothing(struct walk *w, const ProtobufCMessage *m)
{
	(void)w;
	(void)m;
}

static walk_fn
walk_handler(const ProtobufCMessageDescriptor *d)
{
	static const struct {
		const ProtobufCMessageDescriptor *descriptor;
		walk_fn handler;
	} table[] = { { &pg_query__range_var__descriptor, walk_range_var },
		{ &pg_query__func_call__descriptor, walk_func_call },
		{ &pg_query__sqlvalue_function__descriptor,
		    walk_value_function },
		{ &pg_query__a__expr__descriptor, walk_a_expr },
		{ &pg_query__param_ref__descriptor, walk_param },
		{ &pg_query__set_to_default__descriptor, walk_default },
		{ &pg_query__sub_link__descriptor, walk_sub_link },
		{ &pg_query__type_cast__descriptor, walk_type_cast },
		{ &pg_query__sort_by__descriptor, walk_sort_by },
		{ &pg_query__range_table_sample__descriptor, walk_sample },
		{ &pg_query__locking_clause__descriptor, walk_locking },
		{ &pg_query__with_clause__descriptor, walk_nothing },
		{ &pg_query__common_table_expr__descriptor, walk_cte },
		{ &pg_query__into_clause__descriptor, walk_into },
		{ &pg_query__select_stmt__descriptor, walk_select },
		{ &pg_query__column_ref__descriptor, walk_column_ref },
		{ &pg_query__insert_stmt__descriptor, walk_insert },
		{ &pg_query__update_stmt__descriptor, walk_update },
		{ &pg_query__delete_stmt__descriptor, walk_delete },
		{ &pg_query__merge_stmt__descriptor, walk_merge },
		{ &pg_query__copy_stmt__descriptor, walk_copy },
		{ &pg_query__truncate_stmt__descriptor, walk_truncate },
		{ &pg_query__refresh_mat_view_stmt__descriptor,
		    walk_refresh } };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].descriptor == d)
			return table[i].handler;
	return walk_fields;
}

static void
walk_message(struct walk *w, const ProtobufCMessage *m)
{
	if (m != NULL && m->descriptor == &pg_query__node__descriptor)
		m = node_message((const PgQuery__Node *)m);
	if (m != NULL)
		walk_handler(m->descriptor)(w, m);
}

/* The target first, then as they stand in the text. */
static int
mention_compare(const void *pa, const void *pb)
{
	const struct mention *a = pa;
	const struct mention *b = pb;

	if (a->relation.target != b->relation.target)
		return a->relation.target ? -1 : 1;
	return (a->location > b->location) - (a->location < b->location);
}

/* The statement's own target was met before any other relation. */
static bool
walk_store_relations(struct walk *w)
{
	struct analyzed_statement *st = w->st;
	size_t own;

	if (st->n_relations == 0)
		return true;
	own = w->mentions[0].relation.target ? 1 : 0;
	qsort(w->mentions + own, st->n_relations - own, sizeof(*w->mentions),
	    mention_compare);
	st->relations = arena_zalloc(
	    w->arena, st->n_relations * sizeof(*st->relations));
	if (st->relations == NULL)
		return false;
	for (size_t i = 0; i < st->n_relations; i++)
		st->relations[i] = w->mentions[i].relation;
	return true;
}

bool
walk_statement(struct arena *a, const PgQuery__Node *stmt,
    const struct call_nodes *calls, struct analyzed_statement *st)
{
	struct walk w = { .arena = a, .st = st, .calls = calls };

	walk_message(&w, &stmt->base);
	return !w.failed && walk_store_relations(&w);
}

bool
walk_params(struct arena *a, const PgQuery__Node *n, const uint16_t **params,
    size_t *n_params)
{
	struct analyzed_statement scratch = { 0 };
	struct walk w = { .arena = a, .st = &scratch };

	walk_message(&w, &n->base);
	*params = w.params;
	*n_params = w.n_params;
	return !w.failed;
}
