/*
 * Inodes without a name that nobody has open, and that no CLOSE will come for:
 * kept by a cautious decision, or their holder did not come back after a new
 * leader began. The sweep looks at the open rows of a shard and closes what is
 * not in the open table.
 */
#include "storaged/shard_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_rows.h"

#define SWEEP_MAX 256u /* inodes in one go */
#define SWEEP_KEY 11   /* shard u16, type u8, ino u64 */

struct shard_sweep {
	struct shard_group *g;
	struct env_work work;
	unsigned round;          /* of the group's leaderships */
	uint64_t inos[SWEEP_MAX];
	unsigned n;
	bool more;
	int rv;
};

static void sweep_tick(struct env_timer *timer);

static void sweep_key(uint16_t group, uint8_t type, uint8_t *out)
{
	out[0] = (uint8_t)(group >> 8);
	out[1] = (uint8_t)group;
	out[2] = type;
}

static int sweep_scan(struct shard_sweep *s)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	uint8_t from[3], to[3];
	int rv;

	sweep_key(s->g->id, NS_T_OPEN, from);
	sweep_key(s->g->id, NS_T_OPEN + 1, to);
	rv = rows_iter_new(s->g->set->config.back, wire_bytes(from, 3),
			   wire_bytes(to, 3), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		struct wire_reader r = { .p = key.p + 3, .left = key.len - 3 };

		if (s->n == SWEEP_MAX) {
			s->more = true;
			break;
		}
		wire_get_u64(&r, &s->inos[s->n]);
		if (r.err == 0 && key.len == SWEEP_KEY)
			s->n++;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

static void sweep_run(struct env_work *work)
{
	struct shard_sweep *s = CONTAINER_OF(work, struct shard_sweep, work);

	s->rv = sweep_scan(s);
}

static void sweep_closed(void *arg, uint32_t status, struct buf *payload,
			 struct body *body)
{
	(void)arg;
	(void)status; /* what stays is found by the next sweep */
	(void)payload;
	body_unref(body);
}

static void sweep_close(struct shard_group *g, uint64_t ino)
{
	struct rpc_close req = { .ino = ino };
	struct buf b;

	if (opens_count(&g->opens, ino) > 0)
		return;
	buf_init(&b, 0);
	if (rpc_close_encode(&req, &b) == 0)
		(void)shard_call(g->set, g->id, RPC_TAG_close, &b,
				 sweep_closed, g);
	buf_fini(&b);
}

static void sweep_arm(struct shard_group *g, uint64_t delay_ns)
{
	g->sweep_armed = true;
	g->sweep.cb = sweep_tick;
	env_timer_set(g->set->env, &g->sweep, delay_ns);
}

/* Looks once more when it was asked for while this one was under way. */
static void sweep_again(struct shard_group *g)
{
	uint64_t now = env_now_ns(g->set->env);

	if (g->sweep_due != 0 && !g->sweep_armed && g->leader)
		sweep_arm(g, g->sweep_due > now ? g->sweep_due - now : 0);
}

static void sweep_done(struct env_work *work)
{
	struct shard_sweep *s = CONTAINER_OF(work, struct shard_sweep, work);
	struct shard_group *g = s->g;

	g->sweeping = NULL;
	if (s->rv != 0)
		log_warn(s->rv, "shard=%u: open rows cannot be read", g->id);
	/* the opens of another leadership have still to be told */
	if (g->leader && s->round == g->open_round) {
		for (unsigned i = 0; i < s->n; i++)
			sweep_close(g, s->inos[i]);
		if (s->more)
			shard_sweep_later(g, SHARD_SWEEP_NS);
	}
	sweep_again(g);
	mem_free(s);
}

static void sweep_synced(void *arg, int status)
{
	struct shard_sweep *s = arg;

	if (status != 0)
		fatal_abort("shard=%u: rows cannot be written: %s", s->g->id,
			    strerror(-status));
	env_work(s->g->set->env, &s->work);
}

static void sweep_tick(struct env_timer *timer)
{
	struct shard_group *g = CONTAINER_OF(timer, struct shard_group, sweep);
	struct shard_sweep *s;

	g->sweep_armed = false;
	if (!g->leader)
		return;
	if (g->sweep_due <= env_now_ns(g->set->env))
		g->sweep_due = 0;
	s = mem_zalloc(sizeof *s);
	if (s != NULL) {
		s->g = g;
		s->round = g->open_round;
		s->work.run = sweep_run;
		s->work.done = sweep_done;
		if (rows_sync(g->set->rows, sweep_synced, s) == 0) {
			g->sweeping = s;
			return;
		}
		mem_free(s);
	}
	shard_sweep_later(g, SHARD_SWEEP_NS);
}

void shard_sweep_later(struct shard_group *g, uint64_t delay_ns)
{
	uint64_t due = env_now_ns(g->set->env) + delay_ns;

	if (due > g->sweep_due)
		g->sweep_due = due;
	if (!g->sweep_armed && g->sweeping == NULL) /* else its end arms it */
		sweep_arm(g, delay_ns);
}

void shard_sweep_stop(struct shard_group *g)
{
	env_timer_cancel(g->set->env, &g->sweep);
	g->sweep_armed = false;
	g->sweep_due = 0;
}

void shard_sweep_free(struct shard_group *g)
{
	shard_sweep_stop(g);
	mem_free(g->sweeping);
	g->sweeping = NULL;
}
