/*
 * Sessions: who is alive, and the end of those that are not.
 *
 *   ALIVE -- not renewed for two leases --> ENDING -- record --> ENDED
 *   ENDED -- every shard was told --> GONE (no row, no entry)
 *
 * When a session was renewed is known to the leading manager alone: one that
 * begins to lead gives every session two leases more. So nothing expires while
 * the managers are away. The record of the end comes before any shard hears of
 * it, and a session whose record is there is never renewed again: its client
 * gets another one.
 *
 * Failure modes: a shard does not answer: the session stays ENDED, and all
 * shards are told again with a later tick, or by the next leader; to be told
 * twice changes nothing.
 */
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

#define SESSIONS_MAX 256u /* in one record, or message to the shards */
#define SESSIONS_TICKS 8u /* in two leases */

enum session_state { SESSION_ALIVE, SESSION_ENDING, SESSION_ENDED };

struct mgr_session {
	uint64_t id;
	enum session_state state;
	uint64_t renewed_ns; /* env clock */
	char *kind, *host;   /* owned */
	int64_t opened;      /* ns since 1970 */
};

/* By id. */
struct session_table {
	struct mgr_session *v;
	size_t n, cap;
	uint64_t highest;      /* id ever seen */
};

struct mgr_sessions {
	struct manager *m;
	struct session_table table;
	bool known;            /* the rows were read */
	struct env_timer timer;
	struct env_work work;  /* reads them */
	bool reading;
	struct session_table found; /* of the worker, while it reads */
	int rv;
	/* the record of an end that is under way */
	uint64_t ending[SESSIONS_MAX];
	unsigned n_ending;
	/* ended ones that the shards are being told of */
	uint64_t telling[SESSIONS_MAX];
	unsigned n_telling;
	unsigned waiting;      /* shards that have not answered */
	bool failed;
};

/* --- the table --- */

static size_t table_place(const struct session_table *t, uint64_t id)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (t->v[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct mgr_session *table_find(const struct session_table *t,
				      uint64_t id)
{
	size_t i = table_place(t, id);

	return i < t->n && t->v[i].id == id ? &t->v[i] : NULL;
}

/* 0 or -ENOMEM; one that is there stays as it is. */
static int table_add(struct session_table *t, uint64_t id,
		     const struct mgr_row_session *row)
{
	size_t i = table_place(t, id);
	struct mgr_session e = {
		.id = id,
		.state = row->ended != 0 ? SESSION_ENDED : SESSION_ALIVE,
		.opened = row->opened,
	};

	if (id > t->highest)
		t->highest = id;
	if (i < t->n && t->v[i].id == id)
		return 0;
	if (t->n == t->cap) {
		size_t cap = 2 * t->cap + 16;
		struct mgr_session *v = mem_realloc(t->v, cap * sizeof *v);

		if (v == NULL)
			return -ENOMEM;
		t->v = v;
		t->cap = cap;
	}
	e.kind = mem_dup(row->kind.p, row->kind.len);
	e.host = mem_dup(row->host.p, row->host.len);
	if (e.kind == NULL || e.host == NULL) {
		mem_free(e.kind);
		mem_free(e.host);
		return -ENOMEM;
	}
	memmove(&t->v[i + 1], &t->v[i], (t->n - i) * sizeof *t->v);
	t->v[i] = e;
	t->n++;
	return 0;
}

static void table_remove(struct session_table *t, uint64_t id)
{
	size_t i = table_place(t, id);

	if (i == t->n || t->v[i].id != id)
		return;
	mem_free(t->v[i].kind);
	mem_free(t->v[i].host);
	t->n--;
	memmove(&t->v[i], &t->v[i + 1], (t->n - i) * sizeof *t->v);
}

static void table_fini(struct session_table *t)
{
	while (t->n > 0)
		table_remove(t, t->v[t->n - 1].id);
	mem_free(t->v);
	*t = (struct session_table){ .highest = t->highest };
}

/* ids as they travel, in b. */
static struct wire_bytes sessions_list(const uint64_t *ids, unsigned n,
				       struct buf *b)
{
	struct wire_writer w = { b };

	for (unsigned i = 0; i < n; i++)
		wire_put_u64(&w, &ids[i]);
	return wire_bytes(b->data, b->len);
}

/* Those in that state, and (ALIVE) not renewed since `until`. */
static unsigned sessions_pick(const struct mgr_sessions *s,
			      enum session_state state, uint64_t until,
			      uint64_t *ids)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->table.n && n < SESSIONS_MAX; i++) {
		const struct mgr_session *e = &s->table.v[i];

		if (e->state == state &&
		    (state != SESSION_ALIVE || e->renewed_ns < until))
			ids[n++] = e->id;
	}
	return n;
}

/* --- telling the shards --- */

static void tell_on_gone(void *arg, uint32_t status, struct wire_bytes payload)
{
	struct mgr_sessions *s = arg;

	(void)payload;
	for (unsigned i = 0; i < s->n_telling && status == RPC_STATUS_OK; i++)
		table_remove(&s->table, s->telling[i]);
	s->n_telling = 0;
}

static void tell_answered(struct mgr_sessions *s)
{
	struct mgr_session_gone cmd;
	struct buf b;

	if (--s->waiting > 0)
		return;
	if (s->failed) { /* again with a later tick */
		s->n_telling = 0;
		return;
	}
	buf_init(&b, 0);
	cmd.sessions = sessions_list(s->telling, s->n_telling, &b);
	MGR_SUBMIT(s->m, session_gone, &cmd, tell_on_gone, s);
	buf_fini(&b);
}

static void tell_on_reply(void *arg, const struct rpc_reply *reply)
{
	struct mgr_sessions *s = arg;

	if (reply->status != RPC_STATUS_OK)
		s->failed = true;
	tell_answered(s);
}

/* Every shard there is. */
static void sessions_tell(struct mgr_sessions *s)
{
	struct client *c = client_of(s->m->clients, s->m->loop);
	const struct cluster *cluster = client_cluster(c);
	struct rpc_session_end req = { .client = 0 };
	struct buf b;

	if (s->n_telling > 0 || cluster == NULL || cluster->n_shards == 0)
		return;
	s->n_telling = sessions_pick(s, SESSION_ENDED, 0, s->telling);
	if (s->n_telling == 0)
		return;
	buf_init(&b, 0);
	req.sessions = sessions_list(s->telling, s->n_telling, &b);
	s->failed = b.err != 0;
	s->waiting = 1;
	for (unsigned i = 0; i < cluster->n_shards && !s->failed; i++) {
		if (CLIENT_SEND(c, session_end, cluster->shards[i].shard, &req,
				tell_on_reply, s) == NULL)
			s->failed = true;
		else
			s->waiting++;
	}
	buf_fini(&b);
	tell_answered(s);
}

/* --- the end --- */

static void sessions_on_ended(void *arg, uint32_t status,
			      struct wire_bytes payload)
{
	struct mgr_sessions *s = arg;

	(void)payload;
	for (unsigned i = 0; i < s->n_ending; i++) {
		struct mgr_session *e = table_find(&s->table,
						   s->ending[i]);

		if (e == NULL)
			continue;
		e->state = status == RPC_STATUS_OK ? SESSION_ENDED
						   : SESSION_ALIVE;
		if (status == RPC_STATUS_OK)
			log_info("session expired id=%llu kind=%s host=%s",
				 (unsigned long long)e->id, e->kind, e->host);
	}
	s->n_ending = 0;
	sessions_tell(s);
}

static uint64_t sessions_patience_ns(const struct mgr_sessions *s)
{
	return 2 * (uint64_t)s->m->lease_ms * 1000000;
}

static void sessions_expire(struct mgr_sessions *s)
{
	uint64_t now = env_now_ns(s->m->env), patience = sessions_patience_ns(s);
	struct mgr_session_end cmd;
	struct buf b;

	if (s->n_ending > 0 || now < patience)
		return;
	s->n_ending = sessions_pick(s, SESSION_ALIVE, now - patience,
				    s->ending);
	if (s->n_ending == 0)
		return;
	for (unsigned i = 0; i < s->n_ending; i++)
		table_find(&s->table, s->ending[i])->state = SESSION_ENDING;
	buf_init(&b, 0);
	cmd.sessions = sessions_list(s->ending, s->n_ending, &b);
	MGR_SUBMIT(s->m, session_end, &cmd, sessions_on_ended, s);
	buf_fini(&b);
}

/* --- what the rows say --- */

static void sessions_row(struct mgr_sessions *s, struct wire_bytes key,
			 struct wire_bytes value)
{
	struct wire_reader r = { .p = key.p + 3, .left = key.len - 3 };
	struct mgr_row_session row;
	uint64_t id;

	wire_get_u64(&r, &id);
	if (r.err != 0 || mgr_row_session_decode(&row, value.p, value.len) != 0)
		s->rv = -EIO;
	else
		s->rv = table_add(&s->found, id, &row);
}

static void sessions_read_run(struct env_work *work)
{
	struct mgr_sessions *s = CONTAINER_OF(work, struct mgr_sessions, work);
	uint8_t from[MGR_KEY_MAX], to[MGR_KEY_MAX];
	struct wire_bytes key, value;
	struct rows_iter *it;

	s->rv = rows_iter_new(s->m->back, mgr_key(from, 'N', NULL, 0),
			      mgr_key(to, 'N' + 1, NULL, 0), &it);
	if (s->rv != 0)
		return;
	while (s->rv == 0) {
		s->rv = rows_iter_next(it, &key, &value);
		if (s->rv == 0)
			sessions_row(s, key, value);
	}
	rows_iter_free(it);
	if (s->rv == -ENOENT)
		s->rv = 0;
}

/* Beside those that were opened meanwhile; all have their time from now on. */
static int sessions_merge(struct mgr_sessions *s)
{
	for (size_t i = 0; i < s->found.n; i++) {
		const struct mgr_session *e = &s->found.v[i];
		struct mgr_row_session row = {
			.kind = wire_cstr(e->kind),
			.host = wire_cstr(e->host),
			.opened = e->opened,
			.ended = e->state == SESSION_ENDED,
		};
		int rv = table_add(&s->table, e->id, &row);

		if (rv != 0)
			return rv;
		table_find(&s->table, e->id)->renewed_ns =
			env_now_ns(s->m->env);
	}
	return 0;
}

static void sessions_read_done(struct env_work *work)
{
	struct mgr_sessions *s = CONTAINER_OF(work, struct mgr_sessions, work);

	s->reading = false;
	if (s->rv == -EIO)
		fatal_abort("manager: rows cannot be read");
	if (s->rv == 0)
		s->rv = sessions_merge(s);
	table_fini(&s->found);
	s->known = s->rv == 0; /* else the next tick reads again */
}

static void sessions_synced(void *arg, int status)
{
	struct mgr_sessions *s = arg;

	if (status != 0)
		fatal_abort("manager: rows cannot be written");
	env_work(s->m->env, &s->work);
}

static void sessions_read(struct mgr_sessions *s)
{
	if (!s->reading)
		s->reading = rows_sync(s->m->rows, sessions_synced, s) == 0;
}

/* --- life --- */

static void sessions_tick(struct env_timer *timer)
{
	struct mgr_sessions *s = CONTAINER_OF(timer, struct mgr_sessions,
					      timer);

	env_timer_set(s->m->env, timer,
		      sessions_patience_ns(s) / SESSIONS_TICKS);
	if (!s->known) {
		sessions_read(s);
		return;
	}
	sessions_expire(s);
	sessions_tell(s);
}

int mgr_sessions_new(struct manager *m)
{
	struct mgr_sessions *s = mem_zalloc(sizeof *s);

	if (s == NULL)
		return -ENOMEM;
	s->m = m;
	s->timer.cb = sessions_tick;
	s->work.run = sessions_read_run;
	s->work.done = sessions_read_done;
	m->sessions = s;
	return 0;
}

void mgr_sessions_lead(struct manager *m)
{
	env_timer_set(m->env, &m->sessions->timer, 0);
}

void mgr_sessions_free(struct manager *m)
{
	struct mgr_sessions *s = m->sessions;

	if (s == NULL)
		return;
	env_timer_cancel(m->env, &s->timer);
	table_fini(&s->table);
	table_fini(&s->found);
	mem_free(s);
	m->sessions = NULL;
}

/* --- questions --- */

bool mgr_sessions_known(const struct manager *m)
{
	return m->sessions->known;
}

int mgr_sessions_opened(struct manager *m, uint64_t id, struct wire_bytes kind,
			struct wire_bytes host)
{
	struct mgr_row_session row = { .kind = kind, .host = host,
				       .opened = env_wall_ns(m->env) };

	int rv = table_add(&m->sessions->table, id, &row);

	if (rv == 0)
		(void)mgr_sessions_renew(m, id);
	return rv;
}

bool mgr_sessions_renew(struct manager *m, uint64_t id)
{
	struct mgr_session *e = table_find(&m->sessions->table, id);

	if (e == NULL || e->state != SESSION_ALIVE)
		return false;
	e->renewed_ns = env_now_ns(m->env);
	return true;
}

bool mgr_sessions_over(const struct manager *m, uint64_t id)
{
	const struct mgr_session *e = table_find(&m->sessions->table, id);

	/* one that nobody has heard of may be younger than what we know */
	return e == NULL ? id <= m->sessions->table.highest
			 : e->state == SESSION_ENDED;
}

void mgr_sessions_each(const struct manager *m,
		       void (*each)(void *arg,
				    const struct mgr_session_info *info),
		       void *arg)
{
	const struct session_table *t = &m->sessions->table;

	for (size_t i = 0; i < t->n; i++) {
		const struct mgr_session *e = &t->v[i];

		each(arg, &(struct mgr_session_info){
				  .id = e->id,
				  .kind = e->kind,
				  .host = e->host,
				  .opened = e->opened,
				  .expired = e->state == SESSION_ENDED,
				  .silent_ns = env_now_ns(m->env) -
					       e->renewed_ns,
			  });
	}
}
