/*
 * Multipart uploads: create, part, abort, and the early look. The upload's
 * row is in key order under the bucket's root; each part is an inode without
 * a name and a row that tells what the client said of it.
 */
#include "storaged/ns_mpu.h"

#include <errno.h>
#include <string.h>

int ns_upload_get(struct ns_ctx *x, uint64_t root, struct wire_bytes key,
		  struct wire_u128 id, struct ns_upload *ret)
{
	int rv = ns_object_key_check(key, NS_KEY_BYTES);

	if (rv == 0)
		rv = ns_root_get(x, root, &ret->root);
	if (rv != 0)
		return rv;
	ret->id = id;
	ns_key_upload(&ret->key, x->shard, root, key, id);
	rv = ns_get_upload(x, ns_key_get(&ret->key), &ret->row);
	return rv == -ENOENT ? RPC_STATUS_NO_UPLOAD : rv;
}

/* --- create --- */

int ns_do_mpu_create(struct ns_ctx *x, const struct rpc_mpu_create *m)
{
	struct rpc_mpu_create_rsp rsp = { .home = x->shard };
	struct ns_row_upload row = {
		.created = x->cmd->now, .owner = m->owner,
		.headers = m->headers, .user = m->user, .sums = m->sums,
		.sum_alg = m->sum_alg, .sum_type = m->sum_type,
	};
	struct ns_inode *root;
	struct ns_key k;
	int rv = ns_object_key_check(m->key, NS_KEY_BYTES);

	if (rv == 0)
		rv = ns_root_get(x, m->root, &root);
	if (rv == 0)
		rv = ns_next_ino(x, &row.ino);
	if (rv != 0)
		return rv;
	/* random before unique: nobody guesses another's upload; the gateway
	 * knows by the number what the upload has made */
	rsp.upload = (struct wire_u128){ x->cmd->seed, row.ino };
	ns_key_upload(&k, x->shard, m->root, m->key, rsp.upload);
	rv = ns_put_upload(x, ns_key_get(&k), &row);
	return rv != 0 ? rv : NS_ANSWER(x, mpu_create_rsp, &rsp);
}

int ns_do_mpu_get(struct ns_ctx *x, const struct rpc_mpu_get *m)
{
	struct rpc_mpu_get_rsp rsp = { .home = x->shard };
	struct ns_upload u;
	int rv = ns_upload_get(x, m->root, m->key, m->upload, &u);

	if (rv != 0)
		return rv;
	rsp.sum_alg = u.row.sum_alg;
	rsp.sum_type = u.row.sum_type;
	return NS_ANSWER(x, mpu_get_rsp, &rsp);
}

/* --- parts --- */

bool ns_numbers_has(struct wire_bytes numbers, uint32_t number)
{
	uint32_t bit = number - 1;

	return bit / 8 < numbers.len && numbers.p[bit / 8] >> bit % 8 & 1;
}

unsigned ns_numbers_count(struct wire_bytes numbers)
{
	unsigned n = 0;

	for (size_t i = 0; i < numbers.len; i++)
		n += (unsigned)__builtin_popcount(numbers.p[i]);
	return n;
}

void ns_numbers_del(uint8_t *numbers, uint32_t number)
{
	uint32_t bit = number - 1;

	numbers[bit / 8] &= (uint8_t)~(1u << bit % 8);
}

static int ns_numbers_add(struct ns_ctx *x, struct wire_bytes *numbers,
			  uint32_t number)
{
	uint32_t bit = number - 1;
	size_t len = bit / 8 + 1;
	uint8_t *p;

	if (len < numbers->len)
		len = numbers->len;
	p = ns_alloc(x, len);
	if (p == NULL)
		return -ENOMEM;
	if (numbers->len > 0)
		memcpy(p, numbers->p, numbers->len);
	p[bit / 8] |= (uint8_t)(1u << bit % 8);
	*numbers = wire_bytes(p, len);
	return 0;
}

int ns_part_drop(struct ns_ctx *x, const struct ns_upload *u, uint32_t number)
{
	struct ns_row_part row;
	struct ns_inode *ip;
	struct ns_key k;
	int rv;

	ns_key_part(&k, x->shard, u->id, number);
	rv = ns_get_part(x, ns_key_get(&k), &row);
	if (rv != 0)
		return rv == -ENOENT ? -EIO : rv;
	rv = ns_inode_load(x, row.ino, &ip);
	if (rv != 0)
		return rv > 0 ? -EIO : rv;
	rv = rows_del(x->t, ns_key_get(&k));
	return rv != 0 ? rv : ns_inode_let_go(x, ip);
}

static int ns_part_make(struct ns_ctx *x, const struct ns_upload *u,
			const struct rpc_mpu_part *m)
{
	struct ns_row_part row = {
		.size = m->size, .mtime = x->cmd->now, .etag = m->etag,
		.sums = m->sums,
	};
	struct ns_inode *ip;
	struct ns_key k;
	uint64_t end;
	int rv;

	rv = ns_inode_new(x, 0, S_IFREG | 0600, u->root->r.project, &ip);
	if (rv != 0)
		return rv;
	ip->r.flags = NS_INODE_PART;
	ip->r.size = m->size;
	rv = ns_file_put(x, ip, m->extents, m->data, 0, m->size, &end);
	if (rv != 0)
		return rv;
	row.ino = ip->ino;
	row.bytes = ip->r.bytes;
	ns_key_part(&k, x->shard, u->id, m->part);
	return ns_put_part(x, ns_key_get(&k), &row);
}

int ns_do_mpu_part(struct ns_ctx *x, const struct rpc_mpu_part *m)
{
	struct ns_upload u;
	uint8_t md5[16];
	int rv;

	if (m->part == 0 || m->part > NS_PARTS_MAX ||
	    !ns_hex_digest(m->etag, md5) || m->sums.len > 4096)
		return RPC_STATUS_INVAL;
	if (m->size > NS_SIZE_MAX / NS_PARTS_MAX)
		return RPC_STATUS_FBIG;
	rv = ns_upload_get(x, m->root, m->key, m->upload, &u);
	if (rv != 0)
		return rv;
	if (ns_numbers_has(u.row.numbers, m->part)) {
		rv = ns_part_drop(x, &u, m->part); /* uploaded again */
	} else {
		rv = ns_numbers_add(x, &u.row.numbers, m->part);
		if (rv == 0)
			rv = ns_put_upload(x, ns_key_get(&u.key), &u.row);
	}
	if (rv == 0)
		rv = ns_part_make(x, &u, m);
	return rv != 0 ? rv : ns_answer_empty(x);
}

/* --- abort --- */

static int ns_abort_parts(struct ns_ctx *x, const struct ns_upload *u)
{
	struct ns_key k;
	int all = 0;

	if (ns_numbers_count(u->row.numbers) > NS_ABORT_PARTS) {
		ns_key_queue128(&k, x->shard, NS_Q_UPLOAD, u->id);
		return ns_queue_put(x, ns_key_get(&k), u->row.numbers);
	}
	for (uint32_t n = 1; n <= 8 * u->row.numbers.len; n++) {
		int rv = 0;

		if (ns_numbers_has(u->row.numbers, n))
			rv = ns_part_drop(x, u, n);
		if (rv == -EAGAIN)
			all = rv;
		else if (rv != 0)
			return rv;
	}
	return all;
}

int ns_upload_drop(struct ns_ctx *x, const struct ns_upload *u)
{
	int rv = ns_abort_parts(x, u);

	return rv != 0 ? rv : rows_del(x->t, ns_key_get(&u->key));
}

int ns_do_mpu_abort(struct ns_ctx *x, const struct rpc_mpu_abort *m)
{
	struct ns_upload u;
	int rv = ns_upload_get(x, m->root, m->key, m->upload, &u);

	if (rv == 0)
		rv = ns_upload_drop(x, &u);
	return rv != 0 ? rv : ns_answer_empty(x);
}
