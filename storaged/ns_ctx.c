/*
 * The context of one command: memory, typed row access, and what is collected
 * for one write at the end (inodes, usage, slice references, the counter).
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

struct ns_block {
	struct ns_block *next;
	uint64_t data[];
};

enum { NS_BLOCK_LEN = 16 << 10 };

void ns_ctx_init(struct ns_ctx *x, struct rows_txn *t, uint16_t shard,
		 const struct ns_cmd *cmd, struct ns_answer *a)
{
	memset(x, 0, offsetof(struct ns_ctx, first));
	x->t = t;
	x->shard = shard;
	x->cmd = cmd;
	x->a = a;
	if (cmd != NULL) {
		x->locks = cmd->locks;
		x->txn = cmd->txn;
	}
	buf_init(&x->scratch, 0);
}

void ns_ctx_fini(struct ns_ctx *x)
{
	ns_far_fini(x);
	while (x->blocks != NULL) {
		struct ns_block *b = x->blocks;

		x->blocks = b->next;
		mem_free(b);
	}
	mem_free(x->k);
	buf_fini(&x->scratch);
}

/*
 * Small pieces come from the context itself, then from blocks; a large piece
 * gets a block of its own and leaves the current one in use.
 */
void *ns_alloc(struct ns_ctx *x, size_t len)
{
	size_t room = x->blocks == NULL ? sizeof(x->first) : NS_BLOCK_LEN;
	uint8_t *base = x->blocks == NULL ? (uint8_t *)x->first
					  : (uint8_t *)x->blocks->data;
	struct ns_block *b;
	void *p;

	len = (len + 7) & ~(size_t)7;
	if (x->used + len <= room) {
		p = base + x->used;
		x->used += len;
		return memset(p, 0, len);
	}
	b = mem_zalloc(sizeof(*b) + (len > NS_BLOCK_LEN ? len : NS_BLOCK_LEN));
	if (b == NULL)
		return NULL;
	b->next = x->blocks;
	x->blocks = b;
	x->used = len;
	return b->data;
}

struct wire_bytes ns_copy(struct ns_ctx *x, struct wire_bytes b)
{
	void *p = ns_alloc(x, b.len + 1);

	if (p != NULL && b.len > 0)
		memcpy(p, b.p, b.len);
	return wire_bytes(p, p == NULL ? 0 : b.len);
}

void ns_want(struct ns_ctx *x, struct wire_bytes key)
{
	struct wire_bytes value;

	(void)rows_get(x->t, key, &value); /* the need is noted in the txn */
}

#define NS_ROW_ACCESS_IMPL(name, FIELDS) \
	int ns_get_##name(struct ns_ctx *x, struct wire_bytes key, \
			  struct ns_row_##name *ret) \
	{ \
		struct wire_bytes value; \
		int rv = rows_get(x->t, key, &value); \
		return rv != 0 ? rv : ns_row_##name##_load(ret, value); \
	} \
	int ns_put_##name(struct ns_ctx *x, struct wire_bytes key, \
			  struct ns_row_##name *row) \
	{ \
		row->v = NS_ROW_VERSION; \
		buf_reset(&x->scratch); \
		if (ns_row_##name##_encode(row, &x->scratch) != 0) \
			return -ENOMEM; \
		return rows_put(x->t, key, wire_bytes(x->scratch.data, \
						      x->scratch.len)); \
	}
NS_ROWS(NS_ROW_ACCESS_IMPL)

/*
 * --- numbers that are given out once ---
 *
 * A command of a shard with durability memory may be lost after its answer, and
 * with it the numbers in that. Whoever got them may still have them; so after
 * such a loss, which is in another term, they begin further on.
 */

#define NS_INO_SKIP (1u << 20) /* more than are made between two syncs */
#define NS_VERSION_TERM 32     /* versions of one term: 2^32 */

uint64_t ns_next_version(const struct ns_ctx *x, uint64_t v)
{
	uint64_t first = x->cmd->term << NS_VERSION_TERM;

	return v < first ? first : v + 1;
}

int ns_next_ino(struct ns_ctx *x, uint64_t *ret_ino)
{
	struct ns_key k;

	if (!x->have_next) {
		struct ns_row_next row;
		int rv;

		ns_key_start(&k, x->shard, NS_T_NEXT);
		rv = ns_get_next(x, ns_key_get(&k), &row);
		if (rv == -ENOENT)
			row = (struct ns_row_next){ .next = NS_FIRST_INO };
		else if (rv != 0)
			return rv;
		x->have_next = true;
		x->next = x->first_next = row.next;
		/* for each: those of terms between are not known here */
		if (rv == 0 && x->cmd->term > row.term)
			x->next += (x->cmd->term - row.term) * NS_INO_SKIP;
	}
	if (x->next >> INO_COUNTER_BITS != 0)
		return RPC_STATUS_NOSPC;
	*ret_ino = ino_make(x->shard, x->next++);
	return 0;
}

static int ns_next_flush(struct ns_ctx *x)
{
	struct ns_row_next row = { .next = x->next, .term = x->cmd->term };
	struct ns_key k;

	if (!x->have_next || x->next == x->first_next)
		return 0;
	ns_key_start(&k, x->shard, NS_T_NEXT);
	return ns_put_next(x, ns_key_get(&k), &row);
}

/* --- usage per project --- */

void ns_usage_add(struct ns_ctx *x, uint64_t project, int64_t bytes,
		  int64_t files, int64_t dirs)
{
	struct ns_usage *u = x->usage;
	struct ns_usage *end = x->usage + x->n_usage;

	while (u < end && u->project != project)
		u++;
	if (u == end) {
		/* names never cross projects: one, two while one is removed */
		if (x->n_usage == sizeof(x->usage) / sizeof(x->usage[0]))
			return;
		*u = (struct ns_usage){ .project = project };
		x->n_usage++;
	}
	u->bytes += bytes;
	u->files += files;
	u->dirs += dirs;
}

static int ns_usage_flush(struct ns_ctx *x, const struct ns_usage *u)
{
	struct ns_row_usage row;
	struct ns_key k;
	int rv;

	if (u->bytes == 0 && u->files == 0 && u->dirs == 0)
		return 0;
	ns_key_id(&k, x->shard, NS_T_USAGE, u->project);
	rv = ns_get_usage(x, ns_key_get(&k), &row);
	if (rv == -ENOENT) /* the root is in another shard */
		row = (struct ns_row_usage){ .root = 0 };
	else if (rv != 0)
		return rv;
	row.bytes += (uint64_t)u->bytes;
	row.files += (uint64_t)u->files;
	row.dirs += (uint64_t)u->dirs;
	if (row.root == 0 && row.bytes == 0 && row.files == 0 && row.dirs == 0)
		return rows_del(x->t, ns_key_get(&k));
	return ns_put_usage(x, ns_key_get(&k), &row);
}

/* --- writing it all --- */

static int ns_inode_flush(struct ns_ctx *x, struct ns_inode *ip)
{
	char etag[NS_ETAG_MAX];
	struct ns_row_dent d;
	struct ns_key k;
	int rv;

	if (ip->far)
		return 0; /* its own shard does the steps */
	ns_key_id(&k, x->shard, NS_T_INODE, ip->ino);
	if (ip->gone)
		return ip->fresh ? 0 : rows_del(x->t, ns_key_get(&k));
	if (!ip->dirty)
		return 0;
	rv = ns_regions_flush(x, ip);
	if (rv != 0)
		return rv;
	rv = ns_put_inode(x, ns_key_get(&k), &ip->r);
	if (rv != 0 || !ip->dent_dirty || ip->r.nlink == 0 ||
	    ip->r.flags & (NS_INODE_ROOT | NS_INODE_SEGMENT) ||
	    ns_is_far(x, ip->r.parent))
		return rv;
	ns_dent_of(ip->ino, &ip->r, &d, etag);
	ns_key_dent(&k, x->shard, ip->r.parent, ip->r.name);
	return ns_put_dent(x, ns_key_get(&k), &d);
}

/* Goes on after -EAGAIN, so that all that is missing is noted at once. */
static void ns_flush_note(int *rv, int one)
{
	if (one != 0 && (*rv == 0 || *rv == -EAGAIN))
		*rv = one;
}

int ns_ctx_flush(struct ns_ctx *x)
{
	int rv = 0;

	/* inodes last: the regions of a dropped one add slice references
	 * only while the operation runs */
	ns_flush_note(&rv, ns_krefs_flush(x));
	for (unsigned i = 0; i < x->n_usage; i++)
		ns_flush_note(&rv, ns_usage_flush(x, &x->usage[i]));
	ns_flush_note(&rv, ns_next_flush(x));
	for (struct ns_inode *ip = x->inodes; ip != NULL; ip = ip->next)
		ns_flush_note(&rv, ns_inode_flush(x, ip));
	ns_flush_note(&rv, ns_far_save(x));
	return rv;
}

/* --- answers --- */

int ns_answer_attr(struct ns_ctx *x, const struct ns_inode *ip)
{
	struct rpc_attr_rsp rsp;

	ns_attr_of(ip->ino, &ip->r, &rsp.attr);
	return NS_ANSWER(x, attr_rsp, &rsp);
}

int ns_answer_empty(struct ns_ctx *x)
{
	struct rpc_empty_rsp rsp = { 0 };

	return NS_ANSWER(x, empty_rsp, &rsp);
}

int ns_answer_value(struct ns_answer *a, const struct ns_value *v)
{
	struct ns_value *p = a->values;

	if ((a->n_values & (a->n_values - 1)) == 0) { /* a power of two: grow */
		unsigned cap = a->n_values == 0 ? 1 : 2 * a->n_values;

		p = mem_realloc(a->values, cap * sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		a->values = p;
	}
	p[a->n_values++] = *v;
	return 0;
}
