#include "tests/sim/sim_names.h"

#include <stdio.h>
#include <sys/stat.h>

char *names_str(struct wire_bytes b, char out[NAMES_KEY])
{
	snprintf(out, NAMES_KEY, "%.*s", (int)b.len, (const char *)b.p);
	return out;
}

struct nsm_dir *names_dir(struct nsm_dir *d, uint64_t ino)
{
	if (d->ino == ino)
		return d;
	for (size_t i = 0; i < d->n; i++) {
		struct nsm_dir *found = NULL;

		if (d->v[i].dir != NULL)
			found = names_dir(d->v[i].dir, ino);
		if (found != NULL)
			return found;
	}
	return NULL;
}

uint32_t names_root(struct nsm_dir *dir, uint64_t *root,
		    const struct ns_answer *a)
{
	struct rpc_root_create_rsp rsp = { 0 };

	(void)rpc_root_create_rsp_decode(&rsp, a->payload.data,
					 a->payload.len);
	if (*root == 0)
		*root = dir->ino = rsp.ino;
	return rsp.ino == *root && rsp.ino != 0 ? 0 : RPC_STATUS_IO;
}

uint32_t names_mknod(struct nsm_dir *root, const struct ns_cmd *c,
		     const struct ns_answer *a, struct nsm_file **ret_file)
{
	struct rpc_mknod_rsp rsp = { .attr = { .ino = 0 } };
	char name[NAMES_KEY];
	struct rpc_mknod q;
	struct nsm_dir *d;
	uint32_t status;

	*ret_file = NULL;
	(void)rpc_mknod_decode(&q, c->payload, c->len);
	d = names_dir(root, q.dir);
	if (d == NULL)
		return RPC_STATUS_NOENT;
	status = nsm_create(d, names_str(q.name, name), S_ISDIR(q.mode),
			    false);
	if (status != 0)
		return status;
	(void)rpc_mknod_rsp_decode(&rsp, a->payload.data, a->payload.len);
	if (S_ISDIR(q.mode)) {
		nsm_dir_of(d, name)->ino = rsp.attr.ino;
	} else {
		*ret_file = nsm_file_of(d, name);
		(*ret_file)->ino = rsp.attr.ino;
	}
	return 0;
}

uint32_t names_unlink(struct nsm_dir *root, const struct ns_cmd *c)
{
	char name[NAMES_KEY];
	struct rpc_unlink q;
	struct nsm_dir *d;

	(void)rpc_unlink_decode(&q, c->payload, c->len);
	d = names_dir(root, q.dir);
	if (d == NULL)
		return RPC_STATUS_NOENT;
	return q.rmdir ? nsm_rmdir(d, names_str(q.name, name))
		       : nsm_unlink(d, names_str(q.name, name), false);
}

/* With NOREPLACE: what stands in the way, after what comes before that. */
static uint32_t in_the_way(struct nsm_dir *d, const char *name,
			   struct nsm_dir *d2, const char *name2)
{
	struct nsm_dir *c = nsm_dir_of(d, name);

	if (c == NULL && nsm_file_of(d, name) == NULL)
		return RPC_STATUS_NOENT;
	for (struct nsm_dir *p = d2; c != NULL && d != d2 && p != NULL;
	     p = p->up)
		if (p == c)
			return RPC_STATUS_INVAL;
	return nsm_file_of(d2, name2) != NULL || nsm_dir_of(d2, name2) != NULL
		       ? RPC_STATUS_EXIST
		       : 0;
}

uint32_t names_rename(struct nsm_dir *root, const struct ns_cmd *c)
{
	char name[NAMES_KEY], name2[NAMES_KEY];
	struct nsm_dir *d, *d2;
	struct rpc_rename q;
	uint32_t status = 0;

	(void)rpc_rename_decode(&q, c->payload, c->len);
	d = names_dir(root, q.dir);
	d2 = names_dir(root, q.dir2);
	if (d == NULL || d2 == NULL)
		return RPC_STATUS_NOENT;
	names_str(q.name, name);
	names_str(q.name2, name2);
	if ((q.flags & RPC_RENAME_EXCHANGE) != 0)
		return nsm_exchange(d, name, d2, name2);
	if ((q.flags & RPC_RENAME_NOREPLACE) != 0)
		status = in_the_way(d, name, d2, name2);
	return status != 0 ? status : nsm_rename(d, name, d2, name2);
}
