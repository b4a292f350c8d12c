/*
 * Mounts that hold files open (fuse/ops_open.c): OPEN by name or with CREATE,
 * told again now and then, CLOSE, sessions that end with whoever dies, or is
 * cut off and comes back with another one.
 *
 *   OPENING -> HELD <-> told again        -> CLOSING -> CLOSED -> over
 *      |         |                                       ^
 *      +---------+-- STALE, given up, the session ended -+-> over
 *
 * An open is firm once its OPEN was answered, until CLOSE or the end of its
 * session is sent. What the shard promises: no inode that is firmly open loses
 * its bytes, unless a new leader's time of grace went by and the leader was not
 * told. That is looked at where a command takes a last name or gives a nameless
 * inode up, with the term of its entry: it was decided by the leader of that
 * term, who knew all opens that it had answered to. In the end nobody holds
 * anything, and no nameless inode is left.
 *
 * Tries of a CLOSE may come late, when the same session has the same inode open
 * again. CLOSED is what a mount remembers of a file for a CREATE whose answer
 * is under way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/be.h"
#include "common/raft/raft_host.h"
#include "storaged/ns_rows.h"
#include "tests/sim/sim_shard_gen.h"

#define HOLDS 2 /* of a client */
#define REST (3 * SIM_S) /* longest way, and longest pause */

enum hold_state { HOLD_OPENING, HOLD_HELD, HOLD_CLOSING, HOLD_CLOSED };

struct hold {
	LIST_ENTRY(hold) link;
	struct world *w;
	struct model *m;
	unsigned client;
	uint64_t session, ino; /* ino 0: CREATE tells it */
	enum hold_state state;
	bool firm;             /* no command may take its bytes */
	bool over;             /* out of the list; freed with its last call */
	unsigned calls;        /* operations that point here */
	uint64_t term;         /* of the leader that was told last */
	uint64_t due;          /* told again; CLOSED: over */
	uint64_t closed;       /* number of its CLOSE */
};

/* --- life --- */

static struct hold *hold_new(struct world *w, unsigned client,
			     struct model *m, uint64_t ino)
{
	struct hold *h = sim_zalloc(sizeof *h);

	*h = (struct hold){ .w = w, .m = m, .client = client, .ino = ino,
			    .session = w->clients[client].session };
	LIST_INSERT_HEAD(&w->holds, h, link);
	return h;
}

static void hold_over(struct hold *h)
{
	if (!h->over)
		LIST_REMOVE(h, link);
	h->over = true;
	h->firm = false;
	if (h->calls == 0)
		free(h);
}

static void hold_call(struct hold *h, struct op *op,
		      void (*told)(struct op *op, const struct told *t))
{
	op->told = told;
	op->told_arg = h;
	h->calls++;
}

/* Which open an answer is for; NULL: for none any more. */
static struct hold *hold_told(struct op *op)
{
	struct hold *h = op->told_arg;

	h->calls--;
	if (!h->over)
		return h;
	hold_over(h);
	return NULL;
}

static struct hold *hold_of(struct world *w, uint64_t session, uint64_t ino)
{
	struct hold *h;

	LIST_FOREACH(h, &w->holds, link)
		if (h->session == session && h->ino == ino &&
		    h->state != HOLD_CLOSED)
			return h;
	return NULL;
}

/* Has a CLOSE been sent since that number? */
static bool hold_closed_since(struct world *w, uint64_t session, uint64_t ino,
			      uint64_t number)
{
	struct hold *h;

	LIST_FOREACH(h, &w->holds, link)
		if (h->session == session && h->ino == ino &&
		    h->closed > number)
			return true;
	return false;
}

static unsigned hold_count(struct world *w, unsigned client)
{
	struct hold *h;
	unsigned n = 0;

	LIST_FOREACH(h, &w->holds, link)
		n += h->client == client && h->state != HOLD_CLOSED;
	return n;
}

/* Some open file of a client in a shard; NULL: none. */
static struct hold *hold_pick(struct gen *g)
{
	uint64_t skip = sim_rand(g->s, HOLDS);
	struct hold *h, *found = NULL;

	LIST_FOREACH(h, &g->w->holds, link)
		if (h->client == g->client && h->m == g->m &&
		    h->state == HOLD_HELD &&
		    (found == NULL || skip-- > 0))
			found = h;
	return found;
}

/* --- OPEN --- */

static void hold_firm(struct hold *h, uint64_t term)
{
	struct sim *s = sim_cluster_sim(h->w->c);

	sim_trace(s, "open client=%u group=%u ino=%llx term=%llu", h->client,
		  h->m->group, (unsigned long long)h->ino,
		  (unsigned long long)term);
	h->state = HOLD_HELD;
	h->firm = true;
	h->term = term;
	h->due = sim_now(s) + h->w->grace / 3;
	sim_cluster_count(h->w->c, SIM_N_OPENS, 1);
}

static void hold_opened(struct op *op, const struct told *t)
{
	struct hold *h = hold_told(op);
	struct rpc_open q;

	if (h == NULL)
		return;
	(void)rpc_open_decode(&q, op->payload.data, op->payload.len);
	if (q.session != h->session)
		return; /* it was cut off meanwhile */
	if (real_session_is_over(h->w, h->session)) {
		/* nor does it know that yet; HELD ones are told again */
		if (h->state == HOLD_OPENING)
			hold_over(h);
		return;
	}
	if (t->status == RPC_STATUS_OK && h->state <= HOLD_HELD)
		hold_firm(h, t->term);
	else if (h->state == HOLD_OPENING ||
		 (t->status == RPC_STATUS_STALE && q.held))
		hold_over(h); /* the model has agreed that it is gone */
}


/* Where the name of r stands; 0: nobody knows that directory's number. */
static uint64_t row_dir(const struct model *m, const struct ver_row *r,
			const char **ret_name)
{
	const char *slash = strrchr(r->key, '/');
	const struct ver_row *dir;

	*ret_name = slash == NULL ? r->key : slash + 1;
	if (slash == NULL)
		return m->root;
	dir = ver_key(model_now(m), r->key, (size_t)(slash - r->key) + 1);
	return dir != NULL ? dir->ino : 0;
}

/* By the name of r; NULL: told again. */
static void hold_send_open(struct gen *g, struct hold *h,
			   const struct ver_row *r)
{
	struct rpc_open q = { .ino = h->ino, .session = h->session,
			      .number = ++g->w->number,
			      .how = RPC_NAME_FILE, .held = r == NULL };
	const char *name;

	if (r != NULL) {
		q.parent = row_dir(g->m, r, &name);
		q.name = wire_cstr(name);
		q.want = (uint32_t)sim_rand(g->s, 3) * 500;
	}
	hold_call(h, SEND(g, open, &q), hold_opened);
}

static void hold_created(struct op *op, const struct told *t)
{
	struct hold *h = hold_told(op);
	struct rpc_mknod_rsp rsp;
	struct rpc_mknod q;

	if (h == NULL)
		return;
	(void)rpc_mknod_decode(&q, op->payload.data, op->payload.len);
	if (q.session != h->session || t->status != RPC_STATUS_OK ||
	    real_session_is_over(h->w, h->session) ||
	    rpc_mknod_rsp_decode(&rsp, t->payload.p, t->payload.len) != 0) {
		hold_over(h);
		return;
	}
	if (hold_of(h->w, h->session, rsp.attr.ino) != NULL) {
		hold_over(h); /* it has been opened by its name meanwhile */
		return;
	}
	h->ino = rsp.attr.ino;
	hold_firm(h, t->term);
	if (op->effect_term == t->term && op->tries == 1 &&
	    !hold_closed_since(h->w, h->session, h->ino, q.number))
		return;
	/*
	 * Answered from the slot: by a leader who has still to be told, or
	 * after a CLOSE of what the same session opened by name meanwhile.
	 */
	h->firm = false;
	h->due = 0;
}

static void gen_create(struct gen *g)
{
	struct rpc_mknod q = { .dir = gen_dir(g), .uid = 1, .gid = 1,
			       .mode = S_IFREG | 0644,
			       .flags = RPC_MKNOD_EXCL | RPC_MKNOD_OPEN,
			       .name = wire_cstr(gen_name(g)) };
	struct hold *h = hold_new(g->w, g->client, g->m, 0);

	q.session = h->session;
	q.number = ++g->w->number;
	hold_call(h, SEND(g, mknod, &q), hold_created);
}

void open_gen(struct gen *g)
{
	const struct ver_row *r = gen_row(g, false);
	struct hold *h = NULL;

	if (g->w->clients[g->client].session == 0)
		return;
	/*
	 * Inodes are opened by those whom an answer told their number. What
	 * only a follower has applied nobody knows: the leader takes no new
	 * inode for open while its command is under way.
	 */
	if (r != NULL && ver_ino(model_told(g->m), r->ino) == NULL)
		r = NULL;
	if (r != NULL)
		h = hold_of(g->w, g->w->clients[g->client].session, r->ino);
	if (h != NULL && h->state == HOLD_HELD) {
		hold_send_open(g, h, r); /* once more: another process */
		return;
	}
	if (h != NULL || hold_count(g->w, g->client) >= HOLDS)
		return;
	if (r == NULL || sim_chance(g->s, 250))
		gen_create(g);
	else
		hold_send_open(g, hold_new(g->w, g->client, g->m, r->ino), r);
}

/* --- what is done with it --- */

void open_gen_io(struct gen *g)
{
	struct hold *h = hold_pick(g);
	const struct ver_row *r;

	if (h == NULL) {
		open_gen(g);
		return;
	}
	r = ver_ino(model_now(g->m), h->ino);
	if (r != NULL && r->nlink == 0)
		sim_cluster_count(g->w->c, SIM_N_NAMELESS, 1);
	if (r == NULL || sim_chance(g->s, 500))
		(void)gen_read_ino(g, h->ino);
	else
		gen_write_row(g, r);
}

/* The name of an open file goes, or leads elsewhere. */
void open_gen_unlink(struct gen *g)
{
	struct hold *h = hold_pick(g);
	const struct ver_row *r = NULL;
	struct rpc_rename move = { .dir = gen_dir(g), .flags = 0 };
	struct rpc_unlink q = { .dir = 0 };
	const char *name;

	if (h != NULL)
		r = ver_ino(model_now(g->m), h->ino);
	if (r != NULL && r->nlink > 0)
		q.dir = row_dir(g->m, r, &name);
	if (q.dir == 0) {
		open_gen_io(g);
		return;
	}
	q.name = wire_cstr(name);
	if (sim_chance(g->s, 700)) {
		SEND(g, unlink, &q);
		return;
	}
	move.name = wire_cstr(gen_name(g));
	move.dir2 = q.dir;
	move.name2 = q.name;
	SEND(g, rename, &move);
}

/* --- CLOSE --- */

/* Another process opens what was just closed: tries of that may be under way. */
static void hold_reopen(struct hold *h)
{
	const struct ver_row *r = ver_ino(model_told(h->m), h->ino);
	struct gen g = gen_new(h->w, h->client, h->m);

	if (r != NULL && r->nlink > 0 && !sim_cluster_healing(h->w->c) &&
	    h->session == h->w->clients[h->client].session &&
	    hold_of(h->w, h->session, h->ino) == NULL)
		hold_send_open(&g, hold_new(h->w, h->client, h->m, h->ino), r);
}

static void hold_closed(struct op *op, const struct told *t)
{
	struct hold *h = hold_told(op);

	(void)t; /* not taken back: it ends with the session */
	if (h == NULL)
		return;
	h->state = HOLD_CLOSED;
	h->due = sim_now(sim_cluster_sim(h->w->c)) + REST;
	if (op->tries > 1)
		hold_reopen(h);
}

static void hold_close(struct gen *g, struct hold *h)
{
	struct rpc_close q = { .ino = h->ino, .session = h->session,
			       .number = ++h->w->number };

	h->closed = q.number;
	h->state = HOLD_CLOSING;
	h->firm = false;
	hold_call(h, SEND(g, close, &q), hold_closed);
}

void open_gen_close(struct gen *g)
{
	struct hold *h = hold_pick(g);

	if (h != NULL && h->calls == 0)
		hold_close(g, h);
	else
		open_gen(g);
}

/* --- sessions --- */

uint64_t open_session_new(struct world *w)
{
	w->sessions = sim_grow(w->sessions, w->n_sessions, &w->cap_sessions,
			       sizeof *w->sessions);
	memset(&w->sessions[w->n_sessions], 0, sizeof *w->sessions);
	return SESSION_FIRST + w->n_sessions++;
}

void open_tell_end(struct world *w, unsigned client, struct model *m,
		   uint64_t session)
{
	struct gen g = gen_new(w, client, m);
	struct rpc_session_end q;
	uint8_t id[8];

	be64enc(id, session);
	q = (struct rpc_session_end){ .sessions = wire_bytes(id, sizeof id) };
	SEND(&g, session_end, &q)->deadline = UINT64_MAX;
}

void open_session_ends(struct world *w, uint64_t session)
{
	struct hold *h;

	LIST_FOREACH(h, &w->holds, link)
		if (h->session == session)
			h->firm = false;
	sim_cluster_count(w->c, SIM_N_SESSIONS, 1);
}

/* What its managers tell the shards of a session, until they know it. */
static void session_end(struct world *w, unsigned client)
{
	for (unsigned i = 0; i < w->groups; i++)
		if (w->models[i].root != 0)
			open_tell_end(w, client, &w->models[i],
				      w->clients[client].session);
	sim_cluster_count(w->c, SIM_N_SESSIONS, 1);
}

/*
 * A client died, and what it had open with it; or it was cut off, and tells its
 * opens again in another session.
 */
static void session_next(struct world *w, unsigned client, uint64_t session)
{
	bool dies = session == 0 || sim_chance(sim_cluster_sim(w->c), 500);
	struct hold *h, *next;

	w->clients[client].session = session;
	for (h = LIST_FIRST(&w->holds); h != NULL; h = next) {
		next = LIST_NEXT(h, link);
		if (h->client != client)
			continue;
		if (dies || h->state != HOLD_HELD) {
			hold_over(h);
			continue;
		}
		h->session = session;
		h->firm = false;
		h->due = 0;
	}
}

static void session_lost(struct world *w, unsigned client)
{
	session_end(w, client);
	session_next(w, client, open_session_new(w));
}

/* Those who are as they are got others by themselves. */
static void session_look(struct world *w)
{
	for (unsigned i = w->adversaries; i < SHARD_CLIENTS; i++) {
		uint64_t session = real_session(w, i);

		if (session != w->clients[i].session)
			session_next(w, i, session);
	}
}

/* --- time --- */

void open_step(struct world *w)
{
	struct sim *s = sim_cluster_sim(w->c);
	struct hold *h, *next;

	session_look(w);
	for (h = LIST_FIRST(&w->holds); h != NULL; h = next) {
		struct gen g;

		next = LIST_NEXT(h, link);
		if (sim_now(s) < h->due || h->calls > 0)
			continue;
		if (h->state == HOLD_CLOSED) {
			hold_over(h);
		} else if (h->state == HOLD_HELD) {
			g = gen_new(w, h->client, h->m);
			hold_send_open(&g, h, NULL);
		}
	}
	if (sim_chance(s, 3))
		session_lost(w, (unsigned)sim_rand(s, w->adversaries));
}

void open_init(struct world *w)
{
	LIST_INIT(&w->holds);
	for (unsigned i = 0; i < w->adversaries; i++)
		w->clients[i].session = open_session_new(w);
}

void open_end(struct world *w)
{
	struct hold *h, *next;

	for (h = LIST_FIRST(&w->holds); h != NULL; h = next) {
		struct gen g = gen_new(w, h->client, h->m);

		next = LIST_NEXT(h, link);
		h->firm = false;
		if (h->state == HOLD_HELD &&
		    sim_chance(sim_cluster_sim(w->c), 500))
			hold_close(&g, h);
	}
	for (unsigned i = 0; i < w->adversaries; i++)
		session_end(w, i);
	sim_sessions_end(w->real);
}

void open_fini(struct world *w)
{
	struct hold *h;

	for (struct op *op = w->ops; op != NULL; op = op->next)
		if (!op->done && (op->told == hold_opened ||
				  op->told == hold_created ||
				  op->told == hold_closed))
			(void)hold_told(op);
	while ((h = LIST_FIRST(&w->holds)) != NULL) {
		h->calls = 0;
		hold_over(h);
	}
	free(w->sessions);
}

/* --- the shard's side --- */

void open_led(struct model *m, uint64_t term)
{
	m->led_at[term] = sim_now(sim_cluster_sim(m->w->c));
}

void open_kept(struct model *m, uint64_t ino)
{
	struct hold *h;

	sim_trace(sim_cluster_sim(m->w->c), "kept group=%u ino=%llx", m->group,
		  (unsigned long long)ino);
	LIST_FOREACH(h, &m->w->holds, link)
		if (h->m == m && h->ino == ino && h->firm)
			sim_cluster_count(m->w->c, SIM_N_KEPT, 1);
}

void open_gone(struct model *m, uint64_t ino)
{
	const struct raft_cmd *e = sim_entry;
	uint64_t now = sim_now(sim_cluster_sim(m->w->c));
	/* clocks differ a bit */
	uint64_t until = m->led_at[e->term] + m->w->grace / 100 * 98;
	struct hold *h;

	LIST_FOREACH(h, &m->w->holds, link) {
		if (h->m != m || h->ino != ino || !h->firm)
			continue;
		if (h->term >= e->term || m->led_at[e->term] == 0)
			sim_fail(m->w->c, "group %u index %llu: inode %llx is "
				 "gone, client %u has it open", m->group,
				 (unsigned long long)e->index,
				 (unsigned long long)ino, h->client);
		if (now < until)
			sim_fail(m->w->c, "group %u index %llu: inode %llx is "
				 "gone, client %u had %llu ms left to say that "
				 "it is open", m->group,
				 (unsigned long long)e->index,
				 (unsigned long long)ino, h->client,
				 (unsigned long long)((until - now) / SIM_MS));
		sim_cluster_count(m->w->c, SIM_N_OPENS_LOST, 1);
		h->firm = false;
	}
}

void open_session_ended(struct model *m, const struct ns_cmd *c)
{
	struct rpc_session_end q;
	uint64_t id;

	if (c->tag != RPC_TAG_session_end ||
	    rpc_session_end_decode(&q, c->payload, c->len) != 0)
		return;
	id = be64dec(q.sessions.p) - SESSION_FIRST;
	m->w->sessions[id].ended[m->group - 1] = m->at;
}

bool open_session_over(const struct model *m, uint64_t session)
{
	uint64_t ended = m->w->sessions[session - SESSION_FIRST]
				 .ended[m->group - 1];

	return ended != 0 && ended < m->at;
}

/* The state v may be that of any index up to the last. */
bool open_see(const struct model *m, const struct ver *v,
	      const struct rpc_open *q, const struct op *op, uint32_t status,
	      const struct wire_attr *attr)
{
	uint64_t ended = m->w->sessions[q->session - SESSION_FIRST]
				 .ended[m->group - 1];
	const struct ver_row *r = ver_ino(v, q->ino), *dir, *named;
	char key[2 * SHARD_KEY];

	if (status == RPC_STATUS_SESSION)
		return ended != 0;
	if (ended != 0 && ended <= op->lo)
		return false;
	if (r != NULL && q->parent != 0 && !q->held) {
		dir = q->parent == m->root ? NULL : ver_ino(v, q->parent);
		if (dir == NULL && q->parent != m->root)
			return status == RPC_STATUS_STALE;
		snprintf(key, sizeof key, "%s%.*s", dir ? dir->key : "",
			 (int)q->name.len, (const char *)q->name.p);
		named = ver_key(v, key, strlen(key));
		if (named == NULL || named->ino != q->ino)
			r = NULL;
	}
	if (r == NULL)
		return status == RPC_STATUS_STALE;
	return status == RPC_STATUS_OK && attr->ino == r->ino &&
	       attr->size == r->size && attr->nlink == r->nlink;
}

bool open_over(const struct world *w)
{
	for (unsigned i = 0; i < w->groups; i++)
		for (unsigned j = 0; j < w->models[i].n_files; j++)
			if (w->models[i].files[j].orphan)
				return false;
	return true;
}

void open_dump(const struct world *w)
{
	for (unsigned i = 0; i < w->groups; i++)
		for (unsigned j = 0; j < w->models[i].n_files; j++)
			if (w->models[i].files[j].orphan)
				printf("# group=%u inode=%llx is kept\n", i + 1,
				       (unsigned long long)w->models[i]
					       .files[j].file->ino);
}

/* --- what is left --- */

/* A row that somebody would have to do something with. */
static bool row_is_left(const struct world *w, struct wire_bytes key)
{
	if (key.p[2] == NS_T_QUEUE) /* the first two stay for long */
		return key.p[3] != NS_Q_SESSION && key.p[3] != NS_Q_DEAD &&
		       (key.p[3] != NS_Q_SLICE || w->drains);
	return key.p[2] == NS_T_OPEN || key.p[2] == NS_T_UPLOAD ||
	       key.p[2] == NS_T_PART;
}

bool open_left(struct proc *p, uint16_t group)
{
	const uint8_t from[2] = { (uint8_t)(group >> 8), (uint8_t)group };
	const uint8_t to[2] = { (uint8_t)((group + 1) >> 8),
				(uint8_t)(group + 1) };
	struct wire_bytes key, row;
	struct rows_iter *it;
	bool left = false;

	if (rows_iter_new(p->store.back, wire_bytes(from, 2), wire_bytes(to, 2),
			  &it) != 0)
		abort();
	while (!left && rows_iter_next(it, &key, &row) == 0)
		left = key.len > 3 && row_is_left(p->w, key);
	rows_iter_free(it);
	return left;
}
