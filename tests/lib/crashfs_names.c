#include "tests/lib/crashfs_impl.h"

#include <stdlib.h>
#include <string.h>

/* --- names --- */

struct entry *cfs_names_find(struct names *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i].path, path) == 0)
			return &t->v[i];
	return NULL;
}

void cfs_names_remove(struct names *t, struct entry *e)
{
	free(e->path);
	cfs_node_unref(e->node);
	*e = t->v[--t->n];
}

void cfs_names_put(struct names *t, const char *path, struct node *node)
{
	struct entry *e = cfs_names_find(t, path);

	node->refs++;
	if (e != NULL) {
		cfs_node_unref(e->node);
		e->node = node;
		return;
	}
	t->v = cfs_grow(t->v, t->n, &t->cap, sizeof(*t->v));
	t->v[t->n].path = cfs_strdup(path);
	t->v[t->n++].node = node;
}

void cfs_names_free(struct names *t)
{
	while (t->n > 0)
		cfs_names_remove(t, &t->v[t->n - 1]);
	free(t->v);
	t->v = NULL;
	t->cap = 0;
}

size_t cfs_path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? 0 : (size_t)(slash - path);
}

bool cfs_path_in(const char *path, const char *dir)
{
	size_t n = cfs_path_dir(path), len = strlen(dir);

	while (len > 0 && dir[len - 1] == '/')
		len--;
	if (strcmp(dir, ".") == 0)
		len = 0;
	return n == len && strncmp(path, dir, n) == 0;
}

bool cfs_parent_exists(struct names *t, const char *path)
{
	size_t n = cfs_path_dir(path);

	if (n == 0)
		return true;
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].node->dir && strlen(t->v[i].path) == n &&
		    strncmp(t->v[i].path, path, n) == 0)
			return true;
	return false;
}

/* --- directory operations --- */

void cfs_op_apply(struct names *t, const struct op *op)
{
	struct entry *e = cfs_names_find(t, op->path);

	if (op->kind == OP_CREATE) {
		cfs_names_put(t, op->path, op->node);
		return;
	}
	if (e == NULL || e->node != op->node)
		return; /* its create did not survive */
	if (op->kind == OP_RENAME)
		cfs_names_put(t, op->to, op->node);
	e = cfs_names_find(t, op->path);
	cfs_names_remove(t, e);
}

void cfs_op_free(struct op *op)
{
	free(op->path);
	free(op->to);
	cfs_node_unref(op->node);
}

void cfs_op_note(struct crashfs *fs, enum op_kind kind, const char *path,
		 const char *to, struct node *node)
{
	struct op *op;

	fs->ops = cfs_grow(fs->ops, fs->n_ops, &fs->cap_ops, sizeof(*fs->ops));
	op = &fs->ops[fs->n_ops++];
	op->kind = kind;
	op->path = cfs_strdup(path);
	op->to = to == NULL ? NULL : cfs_strdup(to);
	op->node = node;
	node->refs++;
	cfs_op_apply(&fs->cur, op);
}
