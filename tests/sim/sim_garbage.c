#include "tests/sim/sim_garbage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/raft/raft_frame.h"
#include "common/raft/raft_impl.h"

#define GARBAGE_MAX 300
#define GARBAGE_GROUP 60000u

/* --- has anything changed? --- */

static void garbage_see_group(void *arg, struct raft_group *g)
{
	const uint64_t v[] = {
		g->id, g->term, g->vote, g->lead_term, g->log.first,
		rlog_last(&g->log), g->commit, g->applied, g->lease_until,
		raft_group_leader(g), (uint64_t)raft_state(&g->r),
		raft_current_term(&g->r), raft_voted_for(&g->r),
		g->r.last_stored,
	};
	uint64_t *sum = arg;

	*sum = XXH3_64bits_withSeed(v, sizeof v, *sum);
}

/* All that a message could change. */
static uint64_t garbage_see(struct raft_host *h)
{
	uint64_t sum = 0;

	raft_host_each(h, garbage_see_group, &sum);
	for (const struct raft_peer *p = h->peers; p != NULL; p = p->next) {
		const uint64_t v[] = { p->id, p->in_session, p->in_number,
				       p->out_session, p->out_number };

		sum = XXH3_64bits_withSeed(v, sizeof v, sum);
	}
	return sum;
}

/* --- what is sent --- */

static void garbage_random(struct sim *s, struct buf *b)
{
	for (uint64_t n = sim_rand(s, GARBAGE_MAX); n > 0; n--) {
		uint8_t byte = (uint8_t)sim_rand(s, 256);

		buf_add(b, &byte, 1);
	}
}

/* Those between may have been lost: then an earlier one is the next. */
static bool garbage_fits(const struct raft_host *h, uint64_t from,
			 const struct raft_wire_frame *f)
{
	const struct raft_peer *p = h->peers;

	while (p != NULL && p->id != from)
		p = p->next;
	return p != NULL && f->session == p->in_session &&
	       f->number == p->in_number + 1;
}

/* A frame as it was sent, but not the next one. */
static void garbage_turn(struct sim *s, const struct raft_host *h,
			 uint64_t from, const uint8_t *frame, size_t len,
			 struct buf *b)
{
	struct raft_wire_frame f;

	if (raft_frame_decode(&f, frame, len) != 0)
		abort();
	if (sim_chance(s, 300)) {
		f.session += 1 + sim_rand(s, 1000);
		f.number += f.number == 1;
	} else if (f.number > 2 && sim_chance(s, 500)) {
		f.number = sim_range(s, 2, f.number - 1);
	} else {
		/* the one that follows, it may be: this one came twice */
		f.number += sim_range(s, 2, 6);
	}
	if (f.session == 0)
		f.session = 1;
	f.number += garbage_fits(h, from, &f);
	(void)raft_wire_frame_encode(&f, b);
}

/* What it must be refused with; 0: it turned out to be a frame. */
static int garbage_make(struct sim *s, const struct raft_host *h,
			uint64_t from, const uint8_t *frame, size_t len,
			struct buf *b)
{
	struct raft_wire_frame f;
	uint64_t how = sim_rand(s, 5);

	if (how == 4) {
		garbage_turn(s, h, from, frame, len, b);
		return -ESTALE;
	}
	if (how == 0) {
		buf_add(b, frame, (size_t)sim_rand(s, len));
	} else if (how == 1) {
		buf_add(b, frame, len);
		b->data[sim_rand(s, len)] ^= (uint8_t)(1u << sim_rand(s, 8));
	} else if (how == 2) { /* begins well */
		buf_add(b, frame, (size_t)sim_rand(s, len < 64 ? len : 64));
		garbage_random(s, b);
	} else {
		garbage_random(s, b);
	}
	return raft_frame_decode(&f, b->data, b->len) != 0 ? -EPROTO : 0;
}

void sim_garbage(struct sim_proc *p, uint64_t from, const uint8_t *frame,
		 size_t len)
{
	uint64_t before = garbage_see(p->host);
	struct buf b;
	int want, rv;

	buf_init(&b, 0);
	want = garbage_make(sim_cluster_sim(p->c), p->host, from, frame, len,
			    &b);
	if (b.err != 0)
		abort();
	if (want != 0) {
		sim_cluster_count(p->c, SIM_N_GARBAGE, 1);
		rv = raft_host_receive(p->host, from, b.data, b.len);
		if (rv != want)
			sim_fail(p->c, "node %u answers %d to garbage, not %d",
				 p->node, rv, want);
		if (garbage_see(p->host) != before)
			sim_fail(p->c, "node %u: garbage changed something",
				 p->node);
	}
	buf_fini(&b);
}

void sim_garbage_group(const uint8_t *frame, size_t len, struct buf *out)
{
	struct raft_wire_frame f;
	struct raft_item item;
	struct wire_reader r;
	struct wire_vec v;
	uint32_t n;

	if (raft_frame_decode(&f, frame, len) != 0)
		abort();
	wire_vec_init(&v);
	for (r = wire_vec_reader(f.messages, &n); n > 0; n--) {
		raft_item_get(&r, &item);
		raft_item_put(&v, &item);
	}
	item.group = GARBAGE_GROUP;
	raft_item_put(&v, &item);
	f.messages = wire_vec_bytes(&v);
	if (raft_wire_frame_encode(&f, out) != 0)
		abort();
	wire_vec_fini(&v);
}
