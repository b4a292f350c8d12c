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
	status = nsm_create(d, names_str(q.name, name), q.mode, q.uid, q.gid);
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

uint32_t names_rename(struct nsm_dir *root, const struct ns_cmd *c)
{
	char name[NAMES_KEY], name2[NAMES_KEY];
	struct nsm_dir *d, *d2;
	struct rpc_rename q;

	(void)rpc_rename_decode(&q, c->payload, c->len);
	d = names_dir(root, q.dir);
	d2 = names_dir(root, q.dir2);
	if (d == NULL || d2 == NULL)
		return RPC_STATUS_NOENT;
	names_str(q.name, name);
	names_str(q.name2, name2);
	if ((q.flags & RPC_RENAME_EXCHANGE) != 0)
		return nsm_exchange(d, name, d2, name2);
	return nsm_rename(d, name, d2, name2,
			  (q.flags & RPC_RENAME_NOREPLACE) != 0);
}
