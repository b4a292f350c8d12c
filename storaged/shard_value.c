/*
 * Collects the bytes of an answer: parts that rows hold and parts that lie in
 * the log. The loop reads what the page cache has; at the first byte that is
 * not there a worker goes on.
 *
 * Every value from the log is read whole and compared with its hash, whatever
 * part is wanted: bytes that rotted are never handed out.
 *
 * A value whose segment is gone was moved by the cleaner (log_clean.c) after
 * the rows were read: they are read again, and say where it is now.
 */
#include "storaged/shard_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"

#define VALUE_TRIES 16

static bool value_hash_ok(const struct ns_value *v, const uint8_t *p)
{
	XXH128_hash_t h = XXH3_128bits(p, v->len);

	return h.high64 == v->hash.hi && h.low64 == v->hash.lo;
}

int shard_value_read(struct shard_set *set, const struct ns_value *v,
		     uint8_t *out, int flags)
{
	bool whole = v->from == 0 && v->want == v->len;
	uint8_t *p = out;
	int rv;

	if (v->mem != NULL) {
		memcpy(out, v->mem + v->from, v->want);
		return 0;
	}
	if (!whole)
		p = mem_alloc(v->len);
	if (p == NULL)
		return -ENOMEM;
	rv = seg_read(set->log, v->gen, v->off, p, v->len, flags);
	if (rv == 0 && !value_hash_ok(v, p))
		rv = -EBADMSG;
	if (!whole) {
		if (rv == 0)
			memcpy(out, p + v->from, v->want);
		mem_free(p);
	}
	return rv;
}

/* Goes on at op->value_at. 0 or as shard_value_read(). */
static int values_read(struct shard_op *op, int flags)
{
	while (op->value_at < op->answer.n_values) {
		const struct ns_value *v = &op->answer.values[op->value_at];
		int rv;

		if (v->want > 0) {
			rv = shard_value_read(op->set, v, op->body->data +
							     op->body->len,
					      flags);
			if (rv != 0)
				return rv;
		}
		op->body->len += v->want;
		op->value_at++;
	}
	return 0;
}

/* True when the rows are to be read again. */
static bool values_moved(struct shard_op *op, int rv)
{
	if (rv != -ENOENT || op->value_tries++ == VALUE_TRIES)
		return false;
	body_unref(op->body);
	op->body = NULL;
	op->value_at = 0;
	op->state = OP_OPEN_WAIT; /* whether it may read is asked again, too */
	return true;
}

static void values_end(struct shard_op *op, int rv)
{
	const struct ns_value *v;

	op->status = rpc_status_from_errno(rv);
	if (rv == 0 || rv == -ENOMEM)
		return;
	v = &op->answer.values[op->value_at];
	op->status = RPC_STATUS_IO;
	op->set->stats.rot++;
	log_warn(rv, "shard=%u: value cannot be read segment=%llx "
		     "offset=%llu length=%u", op->g->id,
		 (unsigned long long)v->gen, (unsigned long long)v->off,
		 v->len);
	if (op->set->config.rot != NULL)
		op->set->config.rot(op->set->config.arg, op->g->id, v->gen,
				    v->off);
}

static void values_run(struct env_work *work)
{
	struct shard_op *op = CONTAINER_OF(work, struct shard_op, work);

	op->value_rv = values_read(op, 0);
}

static void values_done(struct env_work *work)
{
	struct shard_op *op = CONTAINER_OF(work, struct shard_op, work);

	if (values_moved(op, op->value_rv)) {
		shard_read_step(op);
		return;
	}
	values_end(op, op->value_rv);
	shard_read_end(op, op->status);
}

/* 0, or -EMSGSIZE: the namespace asked for more than an answer may carry. */
static int values_size(const struct ns_answer *a, size_t *ret_size)
{
	size_t size = 0;

	for (unsigned i = 0; i < a->n_values; i++) {
		const struct ns_value *v = &a->values[i];

		if (v->from > v->len || v->want > v->len - v->from ||
		    v->want > BODY_MAX - size)
			return -EMSGSIZE;
		size += v->want;
	}
	*ret_size = size;
	return 0;
}

enum shard_values shard_values_start(struct shard_op *op)
{
	size_t size;
	int rv = values_size(&op->answer, &size);

	op->status = RPC_STATUS_OK;
	if (rv != 0) {
		log_warnx("shard=%u message=%u: values do not fit an answer",
			  op->g->id, op->tag);
		op->status = RPC_STATUS_IO;
		return SHARD_VALUES_DONE;
	}
	if (size == 0)
		return SHARD_VALUES_DONE;
	op->body = body_new(size);
	if (op->body == NULL) {
		op->status = RPC_STATUS_NOMEM;
		return SHARD_VALUES_DONE;
	}
	rv = values_read(op, VFS_NOWAIT);
	if (values_moved(op, rv))
		return SHARD_VALUES_AGAIN;
	if (rv != -EAGAIN) {
		values_end(op, rv);
		return SHARD_VALUES_DONE;
	}
	/* the txn keeps borrowed bytes in place until the op is finished */
	op->work.run = values_run;
	op->work.done = values_done;
	env_work(op->set->env, &op->work);
	return SHARD_VALUES_WAIT;
}
