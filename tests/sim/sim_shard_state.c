/*
 * The log as the witness of one order: every replica must run the same command
 * with the same answer at an index; the first one to do so moves the model on.
 * The model's states are kept for a while: a read must match one of those
 * between what was known when it began and what was applied when it ended, and
 * no later read or write may be ordered before that one.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/be.h"
#include "common/raft/raft_impl.h"
#include "tests/sim/sim_shard.h"

void model_init(struct model *m, struct world *w, uint16_t group)
{
	struct ver *v = sim_zalloc(sizeof *v);

	m->w = w;
	m->group = group;
	m->dir = nsm_new();
	m->vers = sim_grow(NULL, 0, &m->cap_vers, sizeof *m->vers);
	m->vers[m->n_vers++] = v;
}

/* --- what was done, to be done again --- */

static void past_fini(struct past *p)
{
	free((void *)(uintptr_t)p->cmd.payload);
	ns_answer_fini(&p->answer);
}

static void past_add(struct model *m, const struct ns_cmd *c,
		     const struct ns_answer *a, const struct slot_mark *mark)
{
	struct past *p;
	uint8_t *bytes = malloc(c->len + 1);

	if (bytes == NULL)
		abort();
	memcpy(bytes, c->payload, c->len);
	m->past = sim_grow(m->past, m->n_past, &m->cap_past, sizeof *m->past);
	p = &m->past[m->n_past++];
	*p = (struct past){ .index = sim_entry->index, .mark = *mark,
			    .cmd = *c };
	p->cmd.payload = bytes;
	ns_answer_init(&p->answer);
	p->answer.status = a->status;
	buf_add(&p->answer.payload, a->payload.data, a->payload.len);
}

static void model_forget(struct model *m)
{
	for (unsigned i = 0; i < m->n_files; i++) {
		nsm_file_unref(m->files[i].file);
		free(m->files[i].slices);
	}
	m->n_files = 0;
	slice_forget(m);
	upload_forget(m);
	nsm_free(m->dir);
}

void model_fini(struct model *m)
{
	for (unsigned i = 0; i < m->n_vers; i++)
		free(m->vers[i]);
	for (unsigned i = 0; i < m->n_past; i++)
		past_fini(&m->past[i]);
	model_forget(m);
	free(m->past);
	free(m->files);
	free(m->slices);
	free(m->uploads);
	free(m->queued);
	free(m->vers);
	free(m->steps);
	sim_states_fini(&m->states);
}

const struct ver *model_now(const struct model *m)
{
	return m->vers[m->n_vers - 1];
}

const struct ver *model_told(const struct model *m)
{
	unsigned n = m->n_vers;

	while (n > 1 && m->vers[n - 1]->index > m->floor)
		n--;
	return m->vers[n - 1];
}

/* --- states --- */

static struct ver *ver_grow(struct ver *v, unsigned *cap)
{
	if (v->n_up == *cap) {
		*cap *= 2;
		v = realloc(v, sizeof *v + *cap * sizeof *v->rows);
		if (v == NULL)
			abort();
	}
	memset(&v->rows[v->n_up++], 0, sizeof *v->rows);
	return v;
}

static void ver_file(struct ver_row *r, const struct nsm_file *f)
{
	r->ino = f->ino;
	r->tag = f->tag;
	r->size = f->size;
	r->nlink = f->nlink;
	r->composite = f->composite;
	r->hash = sim_bytes_hash(f);
}

static struct ver *ver_dump(struct ver *v, unsigned *cap, struct nsm_dir *d,
			    const char *path)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct nsm_entry *en = &d->v[i];
		struct ver_row *r;
		char key[SHARD_KEY];

		if ((size_t)snprintf(key, sizeof key, "%s%s%s", path, en->name,
				     en->dir ? "/" : "") >= sizeof key)
			abort();
		v = ver_grow(v, cap);
		v->n = v->n_all = v->n_up;
		r = &v->rows[v->n - 1];
		strcpy(r->key, key);
		if (en->dir != NULL) {
			r->ino = en->dir->ino;
			v = ver_dump(v, cap, en->dir, key);
			continue;
		}
		ver_file(r, en->file);
	}
	return v;
}

static int ver_cmp(const void *a, const void *b)
{
	const struct ver_row *l = a, *r = b;

	return strcmp(l->key, r->key);
}

static int ver_ino_cmp(const void *a, const void *b)
{
	const struct ver_row *l = a, *r = b;

	return l->ino < r->ino ? -1 : l->ino > r->ino;
}

/* Files that are kept without a name. */
static struct ver *ver_nameless(struct ver *v, unsigned *cap,
				const struct model *m)
{
	for (unsigned i = 0; i < m->n_files; i++) {
		if (!m->files[i].orphan)
			continue;
		v = ver_grow(v, cap);
		v->n_all = v->n_up;
		ver_file(&v->rows[v->n_all - 1], m->files[i].file);
	}
	qsort(v->rows + v->n, v->n_all - v->n, sizeof *v->rows, ver_ino_cmp);
	return v;
}

static int ver_upload_cmp(const void *a, const void *b)
{
	const struct ver_row *l = a, *r = b;
	int rv = strcmp(l->key, r->key);

	if (rv == 0 && l->tag != r->tag) /* the first half of its id */
		rv = l->tag < r->tag ? -1 : 1;
	return rv != 0 ? rv : ver_ino_cmp(a, b);
}

static struct ver *ver_uploads(struct ver *v, unsigned *cap,
			       const struct model *m)
{
	for (unsigned i = 0; i < m->n_uploads; i++) {
		v = ver_grow(v, cap);
		upload_row(m, i, &v->rows[v->n_up - 1]);
	}
	qsort(v->rows + v->n_all, v->n_up - v->n_all, sizeof *v->rows,
	      ver_upload_cmp);
	return v;
}

/* States that no read may see any more go. */
static void model_prune(struct model *m)
{
	uint64_t low = m->floor;
	unsigned n = 0;

	for (const struct op *op = m->w->ops; op != NULL; op = op->next)
		if (!op->done && !op->write && op->m == m && op->lo < low)
			low = op->lo;
	while (n + 1 < m->n_vers && m->vers[n + 1]->index <= low)
		free(m->vers[n++]);
	m->n_vers -= n;
	memmove(m->vers, m->vers + n, m->n_vers * sizeof *m->vers);
}

static void model_version(struct model *m, uint64_t index)
{
	const struct ver *old = model_now(m);
	unsigned cap = old->n_up + 8;
	struct ver *v = sim_zalloc(sizeof *v + cap * sizeof *v->rows);

	v = ver_dump(v, &cap, m->dir, "");
	v->index = index;
	qsort(v->rows, v->n, sizeof *v->rows, ver_cmp);
	v = ver_nameless(v, &cap, m);
	v = ver_uploads(v, &cap, m);
	if (v->n == old->n && v->n_all == old->n_all && v->n_up == old->n_up &&
	    memcmp(v->rows, old->rows, v->n_up * sizeof *v->rows) == 0) {
		free(v);
		return;
	}
	if (m->n_vers >= 64)
		model_prune(m);
	m->vers = sim_grow(m->vers, m->n_vers, &m->cap_vers, sizeof *m->vers);
	m->vers[m->n_vers++] = v;
}

/* --- what a power cut took --- */

void model_firm(struct model *m, uint64_t index)
{
	if (index > m->firm)
		m->firm = index;
}

static void model_unapply(struct model *m, const struct past *p)
{
	unsigned g = m->group - 1u;
	struct slot *s;

	if (p->mark.slot == UINT_MAX)
		return;
	s = &m->w->slots[p->mark.slot];
	s->applied[g] = p->mark.seq;
	s->answer[g] = p->mark.answer;
}

/* What those who wait for an answer have seen. */
static void model_unsee(struct model *m, uint64_t index)
{
	for (struct op *op = m->w->ops; op != NULL; op = op->next) {
		if (op->m != m)
			continue;
		if (op->lo > index)
			op->lo = index;
		if (op->effect > index)
			op->effect = 0;
	}
	if (m->floor > index)
		m->floor = index;
	if (m->acked > index)
		m->acked = index;
}

static void model_uncheck(struct model *m, uint64_t index)
{
	for (uint64_t i = index + 1; i <= m->last; i++)
		m->steps[i] = (struct step){ 0 };
	sim_states_cut(&m->states, index);
}

void model_cut(struct model *m, struct proc *p, uint64_t index)
{
	while (m->n_past > 0 && m->past[m->n_past - 1].index > index) {
		model_unapply(m, &m->past[--m->n_past]);
		past_fini(&m->past[m->n_past]);
	}
	model_unsee(m, index);
	model_uncheck(m, index);
	m->last = index;
	while (m->last > 0 && (m->last >= m->cap || m->steps[m->last].cmd == 0))
		m->last--;
	m->passed = index;
	model_forget(m);
	m->dir = nsm_new();
	m->dir->ino = m->root;
	m->again = true;
	for (unsigned i = 0; i < m->n_past; i++) {
		m->at = m->past[i].index;
		(void)model_command(m, p, &m->past[i].cmd,
				    &m->past[i].answer);
	}
	m->again = false;
	while (m->n_vers > 1 && model_now(m)->index > index)
		free(m->vers[--m->n_vers]);
	if (model_now(m)->index > index) {
		m->vers[0]->n = m->vers[0]->n_all = m->vers[0]->n_up = 0;
		m->vers[0]->index = 0; /* of all that was until now */
		model_version(m, 0);
	}
}

/* --- one command --- */

/* No inode number comes again, not even that of a file which was lost. */
static void model_number(struct model *m, const struct ns_cmd *c,
			 const struct ns_answer *a)
{
	struct rpc_mknod_rsp rsp;

	if (c->tag != RPC_TAG_mknod || a->status != RPC_STATUS_OK ||
	    rpc_mknod_rsp_decode(&rsp, a->payload.data, a->payload.len) != 0)
		return;
	if (rsp.created && rsp.attr.ino <= m->highest)
		sim_fail(m->w->c, "group %u: inode %llx again", m->group,
			 (unsigned long long)rsp.attr.ino);
	if (rsp.attr.ino > m->highest)
		m->highest = rsp.attr.ino;
}

/* Of whom a command is; slot UINT_MAX: the host's own. */
struct whose {
	struct op *op; /* NULL: of nobody who has that number now */
	uint64_t seq;
	unsigned slot; /* its place */
};

static struct whose model_whose(struct model *m, const struct ns_cmd *c)
{
	struct wire_reader r = { .p = c->payload, .left = c->len };
	struct whose o = { .slot = UINT_MAX };
	struct world *w = m->w;
	uint64_t client;
	uint32_t slot;

	wire_get_u64(&r, &client);
	wire_get_u32(&r, &slot);
	wire_get_u64(&r, &o.seq);
	o.seq &= ~RPC_SEQ_AGAIN;
	if (client == 0)
		return o;
	if (client >= SESSION_FIRST) {
		o.op = real_op(w, client, slot, o.seq);
		o.slot = real_slot(w, client, slot);
		return o;
	}
	if (slot >= w->n_slots || w->slots[slot].client != client)
		sim_fail(w->c, "nobody has slot %u", slot);
	o.slot = slot;
	if (o.seq == w->slots[slot].seq)
		o.op = w->slots[slot].op;
	return o;
}

/* Refused, as the session of who sent it has ended: has it? */
static bool model_refused(struct model *m, const struct ns_cmd *c,
			  const struct ns_answer *a)
{
	return a->status == RPC_STATUS_SESSION &&
	       real_session_is_over(m->w, be64dec(c->payload));
}

/* True when the command is the first with its number; *ret_mark: before it. */
static bool model_slot(struct model *m, const struct ns_cmd *c,
		       const struct ns_answer *a, uint64_t answer,
		       struct op **ret_op, struct slot_mark *ret_mark)
{
	struct whose o = model_whose(m, c);
	unsigned g = m->group - 1u;
	struct slot *s;

	*ret_op = o.op;
	*ret_mark = (struct slot_mark){ .slot = UINT_MAX };
	if (o.slot == UINT_MAX)
		return true;
	s = &m->w->slots[o.slot];
	if (model_refused(m, c, a)) {
		if (s->refused[g] < o.seq)
			s->refused[g] = o.seq;
		return false;
	}
	/* what was refused by its command is in the slot as well */
	if (o.seq < s->refused[g] && a->status == RPC_STATUS_BADMSG)
		return false;
	if (o.seq < s->applied[g]) {
		if (a->status != RPC_STATUS_BADMSG)
			sim_fail(m->w->c, "an old number is taken");
		return false;
	}
	if (o.seq == s->applied[g]) {
		m->w->n_dups++;
		if (answer != s->answer[g])
			sim_fail(m->w->c, "group %u index %llu: %s again, "
				 "another answer (%s)", m->group,
				 (unsigned long long)sim_entry->index,
				 rpc_info(c->tag)->name,
				 rpc_status_name(a->status));
		return false;
	}
	if (o.op == NULL || o.op->m != m)
		sim_fail(m->w->c, "an operation that nobody sent");
	*ret_mark = (struct slot_mark){ o.slot, s->applied[g], s->answer[g] };
	s->applied[g] = o.seq;
	s->answer[g] = answer;
	return true;
}

static void model_new(struct model *m, struct proc *p, const struct ns_cmd *c,
		      const struct ns_answer *a, uint64_t answer)
{
	struct slot_mark mark;
	struct op *op;
	uint32_t status;

	sim_trace(sim_cluster_sim(m->w->c), "apply node=%u group=%u index=%llu "
		  "%s status=%s", p->at.node, m->group,
		  (unsigned long long)sim_entry->index, rpc_info(c->tag)->name,
		  rpc_status_name(a->status));
	if (!model_slot(m, c, a, answer, &op, &mark))
		return;
	past_add(m, c, a, &mark);
	model_number(m, c, a);
	m->at = sim_entry->index;
	status = model_command(m, p, c, a);
	open_session_ended(m, c);
	model_version(m, sim_entry->index);
	if (op != NULL)
		client_effect(op, sim_entry->index, status, answer);
}

void model_applied(struct model *m, struct proc *p, const struct ns_cmd *c,
		   const struct ns_answer *a)
{
	const struct raft_cmd *cmd = sim_entry;
	struct step now = {
		.term = cmd->term,
		.cmd = XXH3_64bits(cmd->data, cmd->len) | 1,
		.answer = XXH3_64bits_withSeed(a->payload.data, a->payload.len,
					       a->status),
	};
	struct step *s;

	if (cmd->index <= p->applied[m->group - 1])
		sim_fail(m->w->c, "node %u applies %llu again", p->at.node,
			 (unsigned long long)cmd->index);
	p->applied[m->group - 1] = cmd->index;
	/* only where there are no others it may be loose */
	if (!proc_group(p, m->group - 1u)->one_voter)
		model_firm(m, cmd->index);
	m->steps = sim_reach(m->steps, cmd->index, &m->cap, sizeof *s);
	s = &m->steps[cmd->index];
	if (s->cmd == 0) {
		if (cmd->index <= m->last)
			sim_fail(m->w->c, "index %llu appeared late",
				 (unsigned long long)cmd->index);
		*s = now;
		m->last = cmd->index;
		if (m->last > m->passed)
			m->passed = m->last;
		model_new(m, p, c, a, now.answer);
	} else if (s->cmd != now.cmd || s->term != now.term) {
		sim_fail(m->w->c, "node %u group %u: another command at %llu",
			 p->at.node, m->group, (unsigned long long)cmd->index);
	} else if (s->answer != now.answer) {
		sim_fail(m->w->c, "node %u group %u: another answer at %llu "
			 "to %s: %s", p->at.node, m->group,
			 (unsigned long long)cmd->index,
			 rpc_info(c->tag)->name, rpc_status_name(a->status));
	}
}
