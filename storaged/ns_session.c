/*
 * The end of a session, in a shard. SESSION_END leaves a queue row that says
 * so; the worker then takes the answer slots of that session away. The row
 * stays for a month: whoever was cut off and still speaks for the session is
 * refused, so that a mutation whose slot is gone cannot be applied twice, and
 * an open that nobody would close is not taken.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

enum {
	NS_SESSIONS_MAX = 256, /* of one message */
	NS_SESSION_SLOTS = 64, /* taken away by one command */
	NS_SESSION_DAYS = 30,
};

/* value of the row when the slots are gone */
static const struct wire_bytes ns_session_clean = { (const uint8_t *)"\1", 1 };

int ns_session_check(struct ns_ctx *x, uint64_t session)
{
	struct ns_row_queue row;
	struct ns_key k;
	int rv;

	if (session == 0)
		return 0;
	ns_key_queue(&k, x->shard, NS_Q_SESSION, session);
	rv = ns_get_queue(x, ns_key_get(&k), &row);
	if (rv == 0)
		return RPC_STATUS_SESSION;
	return rv == -ENOENT ? 0 : rv;
}

int ns_do_session_end(struct ns_ctx *x, const struct rpc_session_end *m)
{
	struct wire_reader r = { .p = m->sessions.p, .left = m->sessions.len };
	int all = 0;

	if (m->sessions.len % 8 != 0 ||
	    m->sessions.len > 8 * (size_t)NS_SESSIONS_MAX)
		return RPC_STATUS_INVAL;
	while (r.left > 0) {
		struct ns_key k;
		uint64_t id;
		int rv;

		wire_get_u64(&r, &id);
		rv = ns_session_check(x, id);
		if (rv == 0 && id != 0) {
			ns_key_queue(&k, x->shard, NS_Q_SESSION, id);
			rv = ns_queue_put(x, ns_key_get(&k),
					  wire_bytes(NULL, 0));
		}
		if (rv == -EAGAIN)
			all = rv; /* go on: note all of them */
		else if (rv != 0 && rv != RPC_STATUS_SESSION)
			return rv;
	}
	return all != 0 ? all : ns_answer_empty(x);
}

static int ns_session_slots(struct ns_ctx *x, uint64_t session, bool *ret_more)
{
	struct wire_bytes key, value;
	struct ns_key from, to;

	ns_key_id(&from, x->shard, NS_T_SLOT, session);
	to = from;
	ns_key_end(&to);
	*ret_more = false;
	for (unsigned i = 0; i < NS_SESSION_SLOTS; i++) {
		int rv = rows_first(x->t, ns_key_get(&from), ns_key_get(&to),
				    &key, &value);

		if (rv != 0)
			return rv == -ENOENT ? 0 : rv;
		from.len = 0;
		ns_key_bytes(&from, key);
		rv = rows_del(x->t, ns_key_get(&from));
		if (rv != 0)
			return rv;
	}
	*ret_more = true;
	return 0;
}

int ns_work_session(struct ns_ctx *x, uint64_t session,
		    struct ns_row_queue *q, bool *ret_left)
{
	const int64_t old = NS_SESSION_DAYS * INT64_C(86400000000000);
	struct ns_key k;
	bool more;
	int rv;

	ns_key_queue(&k, x->shard, NS_Q_SESSION, session);
	if (q->what.len > 0) {
		*ret_left = false;
		return x->cmd->now - q->since > old
			       ? rows_del(x->t, ns_key_get(&k))
			       : 0;
	}
	rv = ns_session_slots(x, session, &more);
	if (rv != 0 || more)
		return rv;
	*ret_left = false;
	q->what = ns_session_clean;
	return ns_put_queue(x, ns_key_get(&k), q);
}
