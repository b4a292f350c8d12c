/*
 * All shards as one tree. The first replica that applies an entry moves the
 * model on; what was answered there must be what the model says. So the order
 * in which entries are applied first is a witness of one order of all: if two
 * shards disagreed about a name, no such order would fit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/be.h"
#include "tests/sim/sim_tree.h"

/* --- states --- */

static struct ver *ver_dump(struct ver *v, unsigned *cap, struct nsm_dir *d,
			    const char *path)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct nsm_entry *en = &d->v[i];
		char key[4 * TREE_KEY];
		struct ver_row *r;

		snprintf(key, sizeof key, "%s%s%s", path, en->name,
			 en->dir ? "/" : "");
		if (strlen(key) >= TREE_KEY) {
			v->cut = true;
			continue;
		}
		if (v->n == *cap) {
			*cap = *cap * 2 + 8;
			v = realloc(v, sizeof *v + *cap * sizeof *v->rows);
			if (v == NULL)
				abort();
		}
		r = &v->rows[v->n++];
		memset(r, 0, sizeof *r);
		strcpy(r->key, key);
		r->ino = en->dir != NULL ? en->dir->ino : en->file->ino;
		r->file = en->file != NULL;
		if (r->file) {
			r->nlink = en->file->nlink;
			r->size = en->file->size;
			r->hash = sim_bytes_hash(en->file);
			r->tag = en->file->tag;
		}
		if (en->dir != NULL)
			v = ver_dump(v, cap, en->dir, key);
	}
	return v;
}

static int ver_cmp(const void *a, const void *b)
{
	const struct ver_row *l = a, *r = b;

	int n = strcmp(l->key, r->key);

	return n != 0 ? n : l->file - r->file;
}

const struct ver *tree_now(const struct tree *w)
{
	return w->vers[w->n_vers - 1];
}

const struct ver_row *ver_find(const struct ver *v, const char *key, bool file)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->rows[i].file == file &&
		    strcmp(v->rows[i].key, key) == 0)
			return &v->rows[i];
	return NULL;
}

const struct ver_row *ver_dir(const struct ver *v, uint64_t ino)
{
	for (unsigned i = 0; i < v->n; i++)
		if (!v->rows[i].file && v->rows[i].ino == ino)
			return &v->rows[i];
	return NULL;
}

/* States that no read may see any more go. */
static void tree_prune(struct tree *w)
{
	uint64_t low = tree_floor(w);
	unsigned n = 0;

	for (const struct op *op = w->ops; op != NULL; op = op->next)
		if (!op->done && !op->write && op->lo < low)
			low = op->lo;
	while (n + 1 < w->n_vers && w->vers[n + 1]->tick <= low)
		free(w->vers[n++]);
	w->n_vers -= n;
	memmove(w->vers, w->vers + n, w->n_vers * sizeof *w->vers);
}

/* True when it is a new one. */
static bool tree_version(struct tree *w)
{
	const struct ver *old = tree_now(w);
	unsigned cap = old->n + 8;
	struct ver *v = sim_zalloc(sizeof *v + cap * sizeof *v->rows);

	v = ver_dump(v, &cap, w->dir, "");
	v->tick = w->tick;
	qsort(v->rows, v->n, sizeof *v->rows, ver_cmp);
	if (v->n == old->n && v->cut == old->cut &&
	    memcmp(v->rows, old->rows, v->n * sizeof *v->rows) == 0) {
		free(v);
		return false;
	}
	if (w->n_vers >= 64)
		tree_prune(w);
	w->vers = sim_grow(w->vers, w->n_vers, &w->cap_vers, sizeof *w->vers);
	w->vers[w->n_vers++] = v;
	return true;
}

/* --- what must be seen --- */

/*
 * An entry is applied by a follower first, now and then: until somebody was
 * told of it (or of a later one of its shard), its leader may not have it.
 */
static void tree_change(struct group *g, uint64_t index, uint64_t tick)
{
	g->changes = sim_grow(g->changes, g->n_changes, &g->cap_changes,
			      sizeof *g->changes);
	g->changes[g->n_changes++] = (struct change){ index, tick };
}

void tree_told(struct group *g, uint64_t index)
{
	unsigned n = 0;

	while (n < g->n_changes && g->changes[n].index <= index)
		n++;
	if (n == 0)
		return;
	g->n_changes -= n;
	memmove(g->changes, g->changes + n, g->n_changes * sizeof *g->changes);
}

uint64_t tree_floor(const struct tree *w)
{
	uint64_t floor = w->tick;

	for (unsigned i = 0; i < w->groups; i++)
		if (w->group[i].n_changes > 0 &&
		    w->group[i].changes[0].tick <= floor)
			floor = w->group[i].changes[0].tick - 1;
	return floor;
}

void tree_model_init(struct tree *w)
{
	w->dir = nsm_new();
	w->vers = sim_grow(NULL, 0, &w->cap_vers, sizeof *w->vers);
	w->vers[w->n_vers++] = sim_zalloc(sizeof(struct ver));
}

void tree_model_fini(struct tree *w)
{
	for (unsigned i = 0; i < w->n_files; i++)
		nsm_file_unref(w->files[i]);
	for (unsigned i = 0; i < w->n_vers; i++)
		free(w->vers[i]);
	for (unsigned i = 0; i < w->groups; i++) {
		free(w->group[i].steps);
		free(w->group[i].changes);
		sim_states_fini(&w->group[i].states);
	}
	nsm_free(w->dir);
	free(w->files);
	free(w->vers);
	free(w->segments);
}

/* --- finding --- */

/* Files without a name are gone, unless the leader kept them. */
static struct nsm_file *find_file(struct tree *w, uint64_t ino)
{
	for (unsigned i = 0; i < w->n_files; i++)
		if (w->files[i]->ino == ino)
			return w->files[i];
	return NULL;
}

static void track(struct tree *w, struct nsm_file *f, uint64_t ino)
{
	f->ino = ino;
	f->refs++;
	w->files = sim_grow(w->files, w->n_files, &w->cap_files,
			    sizeof *w->files);
	w->files[w->n_files++] = f;
}

/* --- commands --- */

/* New directories have the numbers behind that of the file. */
static struct nsm_file *put_walk(struct nsm_dir *d, const char *key,
				 uint64_t ino)
{
	const char *slash;

	while ((slash = strchr(key, '/')) != NULL) {
		char comp[NAMES_KEY];

		snprintf(comp, sizeof comp, "%.*s", (int)(slash - key), key);
		d = nsm_dir_of(d, comp);
		if (d->ino == 0)
			d->ino = ++ino;
		key = slash + 1;
	}
	return nsm_file_of(d, key);
}

/* Where a walk of S3 goes on: its directory, and what is left of the key. */
static struct nsm_dir *walk_from(struct tree *w, uint64_t at, uint32_t skip,
				 char *key)
{
	if (at == 0)
		return w->dir;
	memmove(key, key + skip, strlen(key + skip) + 1);
	return names_dir(w->dir, tree_segment_dir(w, at));
}

static uint32_t model_late(struct tree *w, struct wire_bytes extents)
{
	sim_cluster_count(w->c, SIM_N_LATE_COMMITS, 1);
	return tree_may_be_late(w, extents) ? RPC_STATUS_SLICE_GONE : 0;
}

static uint32_t model_put(struct tree *w, const struct ns_cmd *c,
			  const struct ns_answer *a)
{
	struct rpc_put_rsp rsp = { .attr = { .ino = 0 } };
	uint8_t bytes[NSM_BYTES];
	char key[NAMES_KEY];
	struct nsm_dir *d;
	struct rpc_put q;

	(void)rpc_put_decode(&q, c->payload, c->len);
	if (a->status == RPC_STATUS_SLICE_GONE)
		return model_late(w, q.extents);
	d = walk_from(w, q.at, q.skip, names_str(q.key, key));
	if (d == NULL)
		return RPC_STATUS_STALE;
	(void)nsm_put(d, key, bytes,
		      sim_bytes_sent(w->c, q.extents, q.data, bytes));
	(void)rpc_put_rsp_decode(&rsp, a->payload.data, a->payload.len);
	track(w, put_walk(d, key, rsp.attr.ino), rsp.attr.ino);
	find_file(w, rsp.attr.ino)->tag = sim_etag_tag(q.etag);
	return 0;
}

static uint32_t model_delete(struct tree *w, const struct ns_cmd *c)
{
	char key[NAMES_KEY];
	struct rpc_delete q;
	struct nsm_dir *d;

	(void)rpc_delete_decode(&q, c->payload, c->len);
	d = walk_from(w, q.at, q.skip, names_str(q.key, key));
	return d == NULL ? RPC_STATUS_STALE : nsm_delete(d, key);
}

/* kept: with no name left it may be there, held by a cautious decision. */
static uint32_t model_link(struct tree *w, const struct ns_cmd *c,
			   const struct ns_answer *a)
{
	char name[NAMES_KEY];
	struct nsm_file *f;
	struct rpc_link q;
	struct nsm_dir *d;

	(void)rpc_link_decode(&q, c->payload, c->len);
	d = names_dir(w->dir, q.dir);
	if (d == NULL)
		return RPC_STATUS_NOENT;
	f = find_file(w, q.ino);
	if (f == NULL || (f->nlink == 0 && a->status == RPC_STATUS_STALE))
		return RPC_STATUS_STALE;
	return nsm_link(f, d, names_str(q.name, name));
}

static uint32_t model_mknod(struct tree *w, const struct ns_cmd *c,
			    const struct ns_answer *a)
{
	struct nsm_file *f;
	uint32_t status = names_mknod(w->dir, c, a, &f);

	if (f != NULL)
		track(w, f, f->ino);
	return status;
}

/* Without a name it may be there or not: held by a cautious decision. */
static uint32_t model_write(struct tree *w, const struct ns_cmd *c,
			    const struct ns_answer *a)
{
	struct rpc_write_rsp rsp = { .pos = 0 };
	struct nsm_file *f;
	struct rpc_write q;
	uint64_t pos;

	(void)rpc_write_decode(&q, c->payload, c->len);
	if (a->status == RPC_STATUS_SLICE_GONE)
		return model_late(w, q.extents);
	f = find_file(w, q.ino);
	if (f == NULL || (f->nlink == 0 && a->status == RPC_STATUS_STALE))
		return RPC_STATUS_STALE;
	sim_bytes_write(w->c, f, &q, &pos);
	(void)rpc_write_rsp_decode(&rsp, a->payload.data, a->payload.len);
	if (a->status == 0 && (rsp.pos != pos || rsp.attr.size != f->size))
		sim_fail(w->c, "WRITE answers size %llu pos %llu, the model "
			 "%llu %llu", (unsigned long long)rsp.attr.size,
			 (unsigned long long)rsp.pos,
			 (unsigned long long)f->size, (unsigned long long)pos);
	return 0;
}

static uint32_t model_setattr(struct tree *w, const struct ns_cmd *c,
			      const struct ns_answer *a)
{
	struct nsm_dir *d;
	struct nsm_file *f;
	struct rpc_setattr q;

	(void)rpc_setattr_decode(&q, c->payload, c->len);
	d = names_dir(w->dir, q.ino);
	if (d != NULL) {
		d->implicit = false;
		return 0;
	}
	f = find_file(w, q.ino);
	if (f == NULL) /* a directory may be there, too */
		return a->status == 0 && (q.valid & RPC_SET_SIZE) == 0
			       ? 0
			       : RPC_STATUS_STALE;
	if (f->nlink == 0 && a->status == RPC_STATUS_STALE)
		return RPC_STATUS_STALE;
	sim_bytes_setattr(f, &q);
	return 0;
}

static uint32_t model_run(struct tree *w, const struct ns_cmd *c,
			  const struct ns_answer *a)
{
	switch (c->tag) {
	case RPC_TAG_root_create:
		return names_root(w->dir, &w->root, a);
	case RPC_TAG_put:
		return model_put(w, c, a);
	case RPC_TAG_delete:
		return model_delete(w, c);
	case RPC_TAG_mknod:
		return model_mknod(w, c, a);
	case RPC_TAG_unlink:
		return names_unlink(w->dir, c);
	case RPC_TAG_rename:
		return names_rename(w->dir, c);
	case RPC_TAG_link:
		return model_link(w, c, a);
	case RPC_TAG_write:
		return model_write(w, c, a);
	case RPC_TAG_setattr:
		return model_setattr(w, c, a);
	default: /* transactions, splits, CLOSE of the sweep: no names change */
		return a->status;
	}
}

/* --- entries --- */

/* Whose operation an entry is; NULL: the host's own. */
static struct op *op_of(struct tree *w, const struct ns_cmd *c)
{
	struct wire_reader r = { .p = c->payload, .left = c->len };
	uint64_t client, seq;
	uint32_t slot;

	wire_get_u64(&r, &client);
	wire_get_u32(&r, &slot);
	wire_get_u64(&r, &seq);
	seq &= ~RPC_SEQ_AGAIN;
	if (tree_is_session(client))
		return tree_client_op(w, client, slot, seq);
	if (client == 0 || client > TREE_CLIENTS)
		return NULL;
	for (const struct mail *m = w->mails; m != NULL; m = m->next)
		if (m->op != NULL && m->write && m->slot == slot &&
		    m->seq == seq && m->from->client == client)
			return m->op;
	sim_fail(w->c, "an operation that nobody sent");
}

/* The bytes of an entry are those that its client sent. */
static void tree_same_bytes(struct op *op, const struct ns_cmd *c)
{
	const struct wire_bytes r[2] = {
		wire_bytes(op->request.data, op->request.len),
		wire_bytes(c->payload, c->len),
	};
	struct wire_bytes extents[2], data[2];

	for (int i = 0; i < 2; i++) {
		struct rpc_put put = { .root = 0 };
		struct rpc_write write = { .ino = 0 };

		if (c->tag == RPC_TAG_put)
			(void)rpc_put_decode(&put, r[i].p, r[i].len);
		else if (c->tag == RPC_TAG_write)
			(void)rpc_write_decode(&write, r[i].p, r[i].len);
		else
			return;
		extents[i] = c->tag == RPC_TAG_put ? put.extents : write.extents;
		data[i] = c->tag == RPC_TAG_put ? put.data : write.data;
	}
	if (!wire_bytes_eq(extents[0], extents[1]) ||
	    !wire_bytes_eq(data[0], data[1]))
		sim_fail(op->w->c, "%s has other bytes than were sent",
			 rpc_info(c->tag)->name);
}

static void tree_effect(struct proc *p, uint64_t index,
			const struct ns_cmd *c, const struct ns_answer *a)
{
	struct tree *w = p->w;
	struct op *op = op_of(w, c);
	uint32_t status;

	w->tick++;
	status = model_run(w, c, a);
	if (status != a->status)
		sim_fail(w->c, "shard %u: %s answers %s, the model %s",
			 c->shard, rpc_info(c->tag)->name,
			 rpc_status_name(a->status), rpc_status_name(status));
	tree_split_effect(w, c, a);
	if (tree_version(w))
		tree_change(&w->group[c->shard - 1], index, w->tick);
	if (op == NULL)
		return;
	if (++op->effects > 1)
		sim_fail(w->c, "%s was done twice", rpc_info(op->tag)->name);
	if (!op->done) /* who gave up forgot them */
		tree_same_bytes(op, c);
	op->status = status;
	op->group = &w->group[c->shard - 1];
	op->index = index;
}

/* Refused, as the session of its client has ended: has it? */
static void tree_refused(struct tree *w, const struct ns_cmd *c)
{
	uint64_t session = be64dec(c->payload);

	if (!tree_is_session(session) ||
	    !sim_session_is_over(w->real, session))
		sim_fail(w->c, "session %llu lasts, %s says that it is over",
			 (unsigned long long)session, rpc_info(c->tag)->name);
}

static void tree_first(struct proc *p, const struct raft_cmd *cmd,
		       const struct ns_cmd *c, const struct ns_answer *a)
{
	sim_trace(sim_cluster_sim(p->at.c), "apply node=%u shard=%u index=%llu "
		  "%s status=%s%s", p->at.node, c->shard,
		  (unsigned long long)cmd->index, rpc_info(c->tag)->name,
		  rpc_status_name(a->status), a->repeated ? " again" : "");
	switch (a->status) {
	case RPC_STATUS_LOCKED:
	case RPC_STATUS_FAR:
	case RPC_STATUS_ELSEWHERE:
		return;
	case RPC_STATUS_BADMSG: /* a number that is over */
		return;
	case RPC_STATUS_SESSION:
		tree_refused(p->w, c);
		return;
	default:
		if (!a->repeated)
			tree_effect(p, cmd->index, c, a);
	}
}

void tree_applied(struct proc *p, const struct raft_cmd *cmd,
		  const struct ns_cmd *c, const struct ns_answer *a)
{
	struct group *g = &p->w->group[c->shard - 1];
	struct step *s, now = {
		.cmd = XXH3_64bits_withSeed(cmd->data, cmd->len, cmd->term) | 1,
		.answer = XXH3_64bits_withSeed(a->payload.data, a->payload.len,
					       a->status),
	};

	g->steps = sim_reach(g->steps, cmd->index, &g->cap, sizeof *s);
	p->applied[c->shard - 1] = cmd->index;
	s = &g->steps[cmd->index];
	if (s->cmd == 0) {
		*s = now;
		g->last = cmd->index;
		tree_first(p, cmd, c, a);
	} else if (s->cmd != now.cmd || s->answer != now.answer) {
		sim_fail(p->at.c, "node %u shard %u: another %s at %llu (%s: "
			 "%s)", p->at.node, c->shard,
			 s->cmd != now.cmd ? "command" : "answer",
			 (unsigned long long)cmd->index,
			 rpc_info(c->tag)->name, rpc_status_name(a->status));
	}
}
