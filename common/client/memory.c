/*
 * Memory for bodies under way: who gets it when it is short.
 *
 * Readers and writers hold chunks of 4 MiB each; thousands of slow ones would
 * hold all memory there is. So a chunk is only fetched, or begun, while all
 * large bodies of the process are below a limit. Who finds no room waits here,
 * in the order of coming. While somebody waits, a tick takes back what stalled
 * readers hold (they fetch it again when they go on), gives up writers that
 * bring next to nothing, and lets those in front try again.
 *
 * Above half of the limit memory is short: readers then get small pieces, of
 * which nothing but the bytes on their way out is kept.
 *
 * Loop only; the limit and the sum of bodies are the process's.
 */
#include "common/client/client_impl.h"

#include "common/base/daemon.h"

#define MEM_TICK_NS 50000000u
#define MEM_MAX ((size_t)1 << 30)
#define MEM_MIN ((size_t)64 << 20)
#define MEM_SHARE 8 /* of the memory that the process may use */
#define MEM_STALL_NS 1000000000u
#define MEM_SLOW_NS 10000000000u

static void mem_wait(struct client *c, struct client_starved *w)
{
	if (!client_list_empty(&w->list))
		return;
	client_list_add(&c->mem.starved, &w->list);
	if (c->mem.armed)
		return;
	c->mem.armed = true;
	env_timer_set(c->env, &c->mem.timer, MEM_TICK_NS);
}

void client_mem_limits(struct client_set *set)
{
	uint64_t n = daemon_memory() / MEM_SHARE;

	set->mem_max = n > MEM_MAX ? MEM_MAX :
		       n < MEM_MIN ? MEM_MIN : (size_t)n;
	set->stall_ns = MEM_STALL_NS;
	set->slow_ns = MEM_SLOW_NS;
}

size_t client_mem_max(const struct client *c)
{
	return c->set->mem_max;
}

/* What is there, and what is on its way. */
static size_t mem_used(const struct client *c)
{
	return body_in_use() +
	       __atomic_load_n(&c->set->mem_asked, __ATOMIC_RELAXED);
}

bool client_mem_room(struct client *c, struct client_starved *w, size_t len)
{
	bool granted = w->granted;

	w->granted = false;
	if (granted || (client_list_empty(&c->mem.starved) &&
			mem_used(c) + len <= c->set->mem_max))
		return true;
	mem_wait(c, w);
	return false;
}

void client_mem_ask(struct client *c, size_t len)
{
	__atomic_fetch_add(&c->set->mem_asked, len, __ATOMIC_RELAXED);
}

void client_mem_got(struct client *c, size_t len)
{
	__atomic_fetch_sub(&c->set->mem_asked, len, __ATOMIC_RELAXED);
}

bool client_is_short(struct client *c)
{
	return mem_used(c) > c->set->mem_max / 2;
}

/* As many of those in front as there is room for get a chunk each. */
static void mem_feed(struct client *c)
{
	size_t used = mem_used(c);

	while (!client_list_empty(&c->mem.starved) &&
	       used + WIRE_CHUNK <= c->set->mem_max) {
		struct client_starved *w = CONTAINER_OF(
			c->mem.starved.next, struct client_starved, list);

		client_list_del(&w->list);
		w->granted = true;
		used += WIRE_CHUNK;
		w->retry(w);
	}
}

static void mem_tick(struct env_timer *timer)
{
	struct client *c = CONTAINER_OF(timer, struct client, mem.timer);

	c->mem.armed = false;
	if (client_list_empty(&c->mem.starved))
		return;
	client_reads_reclaim(c);
	client_slices_reclaim(c);
	mem_feed(c);
	if (!client_list_empty(&c->mem.starved) && !c->mem.armed) {
		c->mem.armed = true;
		env_timer_set(c->env, timer, MEM_TICK_NS);
	}
}

void client_mem_init(struct client *c)
{
	CLIENT_LIST_INIT(&c->mem.reads);
	CLIENT_LIST_INIT(&c->mem.slices);
	CLIENT_LIST_INIT(&c->mem.starved);
	c->mem.timer.cb = mem_tick;
}

void client_mem_fini(struct client *c)
{
	env_timer_cancel(c->env, &c->mem.timer);
}
