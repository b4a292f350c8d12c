#ifndef COMMON_CLIENT_CLIENT_IMPL_H
#define COMMON_CLIENT_CLIENT_IMPL_H
/*
 * Inside of common/client. One struct client per loop; struct client_set holds
 * what loop 0 does for all: the session, the snapshot, its distribution.
 */
#include "common/base/loop.h"
#include "common/client/client.h"

#define CLIENT_TIMEOUT_MS 30000u
#define CLIENT_SLOTS 1024u
#define CLIENT_LIST_INIT(l) ((l)->prev = (l)->next = (l))

struct client_list {
	struct client_list *prev, *next;
};

static inline bool client_list_empty(const struct client_list *l)
{
	return l->next == l;
}

static inline void client_list_add(struct client_list *head,
				   struct client_list *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

static inline void client_list_del(struct client_list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	CLIENT_LIST_INIT(item);
}

/* Moves all of `from` behind the empty head `to`. */
static inline void client_list_move(struct client_list *to,
				    struct client_list *from)
{
	CLIENT_LIST_INIT(to);
	if (client_list_empty(from))
		return;
	*to = *from;
	to->next->prev = to;
	to->prev->next = to;
	CLIENT_LIST_INIT(from);
}

/*
 * A rule of call.c that is not kept. Only where configure was told
 * --enable-mutations: other builds have nothing of it.
 */
enum client_mutation {
	CLIENT_MUTATE_NONE,
	CLIENT_MUTATE_REUSE,   /* slots of calls that were given up, too */
	CLIENT_MUTATE_SEQ,     /* the next call of a slot has no new number */
	CLIENT_MUTATE_HOP,     /* nor has the next place of a call */
	CLIENT_MUTATE_SLOT,    /* each try has a slot of its own */
	CLIENT_MUTATE_AGAIN,   /* tries do not say that they are later ones */
	CLIENT_MUTATE_KEEP,    /* slots are not given back */
	CLIENT_MUTATE_SESSION, /* also who tried before goes on in the next */
	CLIENT_MUTATE_NAMED,   /* and who can never be taken there */
	CLIENT_MUTATE_STAY,    /* nobody goes on */
};
#ifdef ENABLE_MUTATIONS
extern enum client_mutation client_mutation;
#define CLIENT_MUTATES(what) (client_mutation == CLIENT_MUTATE_##what)
#else
#define CLIENT_MUTATES(what) false
#endif
/* For tests: from now on, until the next one. False: this build has none. */
static inline bool client_mutate(enum client_mutation what)
{
#ifdef ENABLE_MUTATIONS
	client_mutation = what;
	return true;
#else
	return what == CLIENT_MUTATE_NONE;
#endif
}

struct client_link {
	char *addr;
	unsigned lane; /* of the server's loops */
	struct rpc_peer_link *link;
};

/* Answer slots of mutations, see call.c. */
struct client_slots {
	unsigned max;       /* CLIENT_SLOTS; a test may want fewer */
	uint32_t next;      /* number never used so far */
	unsigned in_use;
	unsigned n_free;
	struct {
		uint32_t slot;
		uint64_t seq; /* of its next call */
	} free[CLIENT_SLOTS];
	struct client_list waiting; /* calls that need one */
};

/* Who waits for memory, see memory.c; embedded in its owner. */
struct client_starved {
	struct client_list list; /* empty: not waiting */
	void (*retry)(struct client_starved *w);
	bool granted; /* the next client_mem_room() says yes */
};

struct client_mem {
	struct client_list reads;  /* all client_read */
	struct client_list slices; /* client_slice that are not finished */
	struct client_list starved;
	struct env_timer timer;    /* while somebody starves */
	bool armed;
};

struct client {
	struct client_set *set;
	struct loop *loop; /* borrowed */
	struct env *env;
	unsigned index;
	struct cluster *cluster; /* a reference; NULL before the first */
	uint64_t session;        /* 0 before it is open */
	uint64_t session_sec;    /* cluster time when it was opened ... */
	uint64_t session_at;     /* ... and our clock then, ns */
	uint64_t open_number;    /* of the last open or close */
	struct client_link *links;
	unsigned n_links;
	struct client_list calls; /* client_call, all */
	struct client_slots slots;
	struct client_mem mem;
};

/* A snapshot or session on its way to a loop and back. */
struct client_news {
	struct env_task task;
	struct client *c;
	struct cluster *cluster; /* a reference, or NULL */
	uint64_t session, session_sec, session_at;
};

/* A message to loop 0 without more in it. */
struct client_nudge {
	struct env_task task;
	struct client_set *set; /* a reference */
};

/* A wish for a newer snapshot, on its way to loop 0 and back. */
struct client_wish {
	struct env_task task;
	struct client_list list; /* loop 0 */
	struct client *c;
	uint64_t version;
	uint64_t deadline; /* ns, of loop 0 */
	int status;
	void (*done)(void *arg, int status);
	void *arg;
};

struct client_set {
	uint32_t refs; /* atomic: owner, messages under way */
	struct loop_set *loops; /* borrowed */
	unsigned n;
	char *manager, *kind, *local;
	bool all_local;
	uint32_t role, timeout_ms;
	size_t mem_max; /* of all large bodies of the process */
	/* While others starve, a test may shorten both: */
	uint64_t stall_ns; /* a reader that did not move so long gives back */
	uint64_t slow_ns;  /* a writer may be slow so long */
	size_t mem_asked; /* atomic: bytes of those on their way */
	struct rpc_server *server;
	uint32_t cut_off;       /* atomic */
	uint32_t slice_counter; /* atomic */
	uint32_t closing;       /* atomic */

	/* loop 0 only */
	void (*ready)(void *arg, int status);
	void *ready_arg;
	bool started, was_ready;
	unsigned news_out; /* client_news under way */
	uint64_t open_client; /* random: identity of session_open */
	uint32_t lease_ms;
	unsigned open_tries, poll_tries, fetch_tries;
	uint64_t poll_at; /* when the poll was sent, ns */
	struct rpc_call *open_call, *poll_call, *renew_call, *fetch_call;
	struct env_timer open_timer, poll_timer, renew_timer, fetch_timer;
	struct client_list wishes;  /* not yet asked for */
	struct client_list fetching; /* fetch_call answers these */

	struct client clients[];
};

void client_set_unref(struct client_set *set);
static inline bool client_set_closing(struct client_set *set)
{
	return __atomic_load_n(&set->closing, __ATOMIC_ACQUIRE) != 0;
}
/*
 * The link of this loop to the loop at addr that serves the shard (any, while
 * that is not known), made when new; NULL when out of memory.
 */
struct rpc_peer_link *client_link_to(struct client *c, struct wire_bytes addr,
				     uint16_t shard);
/* 5 .. 200 ms, doubling with each try, random upper half; ns. */
uint64_t client_backoff_ns(struct client *c, unsigned tries);
/* A shard says that the session has ended: renews it now, or gets another. */
void client_session_lost(struct client *c);
/* memory.c */
void client_mem_limits(struct client_set *set);
void client_mem_init(struct client *c);
void client_mem_fini(struct client *c);
/*
 * May a chunk of len bytes be begun? If not, w waits: w->retry(w) when there is
 * room. It leaves by taking itself out of its list.
 */
bool client_mem_room(struct client *c, struct client_starved *w, size_t len);
/* len bytes are asked for, and do not count as a body yet; they came, or not. */
void client_mem_ask(struct client *c, size_t len);
void client_mem_got(struct client *c, size_t len);
/* read.c: takes back what stalled readers hold. */
void client_reads_reclaim(struct client *c);
/* slice.c: gives up writers that bring next to nothing. */
void client_slices_reclaim(struct client *c);
/* call.c: a newer snapshot or session came: waiting calls look again. */
void client_calls_wake(struct client *c);
/* call.c: all calls end without done(). */
void client_calls_drop(struct client *c);
/* Where a chunk goes, when not by shard. */
struct client_chunk {
	struct wire_u128 slice;
	uint32_t index;
	unsigned nth; /* owner */
};
/* client_send() of a kind C message: routed by chunk. */
struct client_call *client_send_chunk(struct client *c,
				      struct client_send *send,
				      const struct client_chunk *chunk);

#endif
