#include "fuse/fop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "fuse/ending.h"
#include "fuse/escape.h"
#include "fuse/reader.h"

#define FOP_SAME_CALL_NS UINT64_C(50000000)
#define FOP_SHORT_NS UINT64_C(100000000)

/*
 * Happy path: fop_new -> FOP_SEND -> reply -> fop_reply_*.
 * Failure modes: no memory (answered at once), an error status (answered by
 * fop_status), INTERRUPT: see fop.h.
 */

struct mount *fop_mount(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void fop_free(struct fop *op)
{
	struct mount *m = op->m;

	finode_unref(op->f);
	finode_unref(op->f2);
	mem_free(op->name);
	mem_free(op->name2);
	mem_free(op->text);
	mem_free(op->value);
	mem_free(op->out);
	wbuf_clear(&op->snap);
	rstream_free(op->stream);
	env_timer_cancel(m->env, &op->intr);
	mem_free(op);
	m->fops--;
	device_check(m);
}

/* The request has its answer; only a queued task can keep op a bit longer. */
void fop_end(struct fop *op)
{
	assert(!op->ended);
	op->ended = true;
	op->req = NULL;
	op->call = NULL;
	if (!op->task_queued)
		fop_free(op);
}

/* Waits for what it may as well never hear of? */
static bool fop_is_asking(const struct fop *op)
{
	return op->call != NULL && op->readonly;
}

/* The program goes; what may change something ends without it. */
static void fop_leave(struct fop *op)
{
	if (fop_is_asking(op)) {
		client_cancel(op->call);
		op->call = NULL;
		fop_reply_err(op, -EINTR);
	} else {
		fuse_reply_err(op->req, EINTR);
		op->req = NULL;
	}
}

static void fop_interrupt_task(struct env_task *task)
{
	struct fop *op = CONTAINER_OF(task, struct fop, task);

	op->task_queued = false;
	if (op->ended) {
		fop_free(op);
		return;
	}
	if (fop_is_gone(op))
		return;
	if (fop_is_asking(op) && ending_of(op->pid) == ENDING_YES)
		fop_leave(op);
	else
		env_timer_set(op->m->env, &op->intr, FOP_INTR_NS);
}

static void fop_on_intr_timer(struct env_timer *timer)
{
	struct fop *op = CONTAINER_OF(timer, struct fop, intr);

	if (op->ended || fop_is_gone(op))
		return;
	if (ending_of(op->pid) != ENDING_NO)
		fop_leave(op);
	else
		env_timer_set(op->m->env, &op->intr, FOP_INTR_NS);
}

/* --- time --- */

/* A thread that has just been made to wait for timeout= goes on at once. */
static uint64_t fop_deadline(struct mount *m, pid_t pid, uint64_t now)
{
	for (unsigned i = 0; i < MOUNT_WAITED_MAX; i++) {
		struct mount_waited *w = &m->waited[i];

		if (w->pid != pid || pid == 0)
			continue;
		w->pid = 0;
		if (now - w->at_ns < FOP_SAME_CALL_NS)
			return now + FOP_SHORT_NS;
	}
	return now + m->opt->timeout_s * UINT64_C(1000000000);
}

static void fop_note_waited(const struct fop *op)
{
	struct mount *m = op->m;
	uint64_t now = env_now_ns(m->env);

	if (now < op->deadline)
		return;
	m->waited[m->waited_next++ % MOUNT_WAITED_MAX] =
		(struct mount_waited){ .pid = op->pid, .at_ns = now };
}

/* Called with locks of libfuse held: only take note. */
static void fop_on_interrupt(fuse_req_t req, void *arg)
{
	struct fop *op = arg;

	(void)req;
	if (op->task_queued || op->ended)
		return;
	op->task_queued = true;
	env_post(op->m->env, &op->task);
}

struct fop *fop_new(fuse_req_t req, uint64_t node)
{
	struct mount *m = fop_mount(req);
	struct fop *op = mem_zalloc(sizeof(*op));

	if (op == NULL) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	if (node != 0) {
		op->f = finode_get_node(m, node);
		if (op->f == NULL) {
			mem_free(op);
			fuse_reply_err(req, ENOMEM);
			return NULL;
		}
	}
	op->req = req;
	op->m = m;
	op->uid = fuse_req_ctx(req)->uid;
	op->gid = fuse_req_ctx(req)->gid;
	op->pid = fuse_req_ctx(req)->pid;
	op->kills = op->uid != 0;
	op->begun_ns = env_now_ns(m->env);
	op->deadline = fop_deadline(m, op->pid, op->begun_ns);
	op->task.run = fop_interrupt_task;
	op->intr.cb = fop_on_intr_timer;
	m->fops++;
	fuse_req_interrupt_func(req, fop_on_interrupt, op);
	return op;
}

int fop_set_name(struct fop *op, const char *name, struct fname **ret_name)
{
	int rv = fop_decode_name(name, ret_name);

	if (rv != 0)
		fop_reply_err(op, rv);
	return rv;
}

int fop_decode_name(const char *name, struct fname **ret_name)
{
	struct escape_name n;
	struct fname *copy;
	int rv = escape_decode(name, strlen(name), &n);

	if (rv != 0)
		return rv;
	copy = mem_alloc(sizeof(*copy) + n.len);
	if (copy == NULL)
		return -ENOMEM;
	copy->how = n.how;
	copy->if_hidden = n.if_hidden;
	copy->is_long = n.len > NAME_MAX;
	copy->len = (uint32_t)n.len;
	memcpy(copy->comp, n.comp, n.len);
	*ret_name = copy;
	return 0;
}

/* --- answers --- */

void fop_reply_err(struct fop *op, int err)
{
	if (err != 0)
		fop_note_waited(op);
	if (!fop_is_gone(op))
		fuse_reply_err(op->req, -err);
	fop_end(op);
}

/* How long attributes may be believed that came some time ago. */
static double fop_attr_timeout(const struct finode *f)
{
	const struct mount *m = f->m;
	double left = m->opt->attr_timeout_s;

	if (f->fresh_ns != 0)
		left -= (double)(env_now_ns(m->env) - f->fresh_ns) / 1e9;
	return left > 0 ? left : 0;
}

void fop_reply_attr(struct fop *op)
{
	struct stat st;

	if (fop_is_gone(op)) {
		fop_end(op);
		return;
	}
	finode_stat(op->f, &st);
	op->f->told = op->f->attr.change;
	fuse_reply_attr(op->req, &st, fop_attr_timeout(op->f));
	fop_end(op);
}

void fop_fill_entry(const struct mount *m, struct finode *f,
		    struct fuse_entry_param *ret_entry)
{
	memset(ret_entry, 0, sizeof(*ret_entry));
	ret_entry->ino = finode_node(f);
	ret_entry->generation = f->attr.generation;
	ret_entry->attr_timeout = m->opt->attr_timeout_s;
	ret_entry->entry_timeout = m->opt->entry_timeout_s;
	finode_stat(f, &ret_entry->attr);
	f->told = f->attr.change;
}

void fop_reply_entry(struct fop *op, struct finode *f)
{
	struct fuse_entry_param entry;

	if (fop_is_gone(op)) {
		fop_end(op);
		return;
	}
	fop_fill_entry(op->m, f, &entry);
	finode_looked_up(f);
	/* Not delivered: the kernel will not forget what it never got. */
	if (fuse_reply_entry(op->req, &entry) != 0)
		finode_forget(op->m, entry.ino, 1);
	fop_end(op);
}

void fop_reply_buf(struct fop *op, const void *data, size_t len)
{
	if (!fop_is_gone(op))
		fuse_reply_buf(op->req, data, len);
	fop_end(op);
}

void fop_reply_iov(struct fop *op, const struct iovec *iov, int n)
{
	if (!fop_is_gone(op))
		fuse_reply_iov(op->req, iov, n);
	fop_end(op);
}

void fop_reply_write(struct fop *op, size_t n)
{
	if (!fop_is_gone(op))
		fuse_reply_write(op->req, n);
	fop_end(op);
}

/* --- RPC --- */

void fop_sent(struct fop *op, struct client_call *call)
{
	op->call = call;
	if (call == NULL)
		fop_reply_err(op, -ENOMEM);
	else
		device_sent(op->m, op->readonly ? &op->m->reads
						: &op->m->writes);
}

int fop_status(struct fop *op, const struct rpc_reply *reply)
{
	int rv = rpc_status_errno(reply->status);

	op->call = NULL;
	if (rv == 0)
		return 0;
	/* Only programs that know us could make sense of it. */
	if (rv == -EAGAIN || rv == -EPROTO || rv == -ENOSYS)
		rv = -EIO;
	fop_reply_err(op, rv);
	return rv;
}

bool fop_decoded(struct fop *op, int rv)
{
	if (rv == 0)
		return true;
	log_warn(rv, "malformed reply ino=%llu",
		 op->f == NULL ? 0ull : (unsigned long long)op->f->ino);
	fop_reply_err(op, -EIO);
	return false;
}

/* --- queues --- */

void fop_queue_init(struct fop_queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

void fop_queue_add(struct fop_queue *q, struct fop *op)
{
	op->next = NULL;
	*q->last = op;
	q->last = &op->next;
}

struct fop *fop_queue_take(struct fop_queue *q)
{
	struct fop *op = q->first;

	if (op == NULL)
		return NULL;
	q->first = op->next;
	if (q->first == NULL)
		q->last = &q->first;
	op->next = NULL;
	return op;
}
