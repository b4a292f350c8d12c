#ifndef TESTS_UNIT_RAFT_PEERS_H
#define TESTS_UNIT_RAFT_PEERS_H
/*
 * One raft host (store 1) with a group of the voters 1, 2 and 3 (or more),
 * whose peers are the test: what the host sends is kept, what peers say is
 * delivered.
 */
#include "common/raft/raft_impl.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define PEERS_SENT 64
#define PEERS_ELECTION_MS 1000
#define PEERS_HEARTBEAT_MS 100

struct peers {
	struct crashfs *fs;
	struct minienv *mini;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct raft_group *group;
	uint16_t group_id;               /* that peers speak of */
	uint64_t number[8];              /* frames from peers */
	uint64_t to[PEERS_SENT];
	struct raft_message sent[PEERS_SENT];
	struct raft_extra extra[PEERS_SENT]; /* entries point nowhere */
	unsigned n_sent, n_applied;
	unsigned n_frames, n_messages;   /* sent in all */
	bool leader;                     /* what role() said last */
	bool park;                       /* apply() of `group` says -EAGAIN */
	/* A command that is applied; may be NULL. */
	void (*on_apply)(struct peers *f, struct raft_group *g,
			 const struct raft_cmd *cmd);
	const uint64_t *room;            /* bytes; NULL: plenty */
	uint64_t lags_from;              /* what lags() said last, 0: nothing */
	unsigned n_lags, n_installs;
	/* for peers_start() */
	struct raft_base rows;           /* durable */
	unsigned n_voters;               /* 1 .. 5; 0: 3 */
	bool read_barrier;
	size_t cache_bytes;
};

/* cmocka setup and teardown; *state is a struct peers. */
int peers_setup(void **state);
int peers_teardown(void **state);
/* For tests that want another process than that of peers_setup(). */
int peers_start(struct peers *f);
void peers_stop(struct peers *f);
/* As peers_stop(), with a power cut. */
void peers_cut(struct peers *f);
/* One more group of the same voters, which runs. */
struct raft_group *peers_open_group(struct peers *f, uint16_t group);

void peers_quarantine_over(struct peers *f);
/* Delivers one message; all of them run what follows from it. */
int peers_bytes(struct peers *f, uint64_t from, uint8_t type,
		const struct buf *msg);
int peers_say(struct peers *f, uint64_t from, const struct raft_message *m,
	      uint64_t stamp);
int peers_say_extra(struct peers *f, uint64_t from,
		    const struct raft_message *m, const struct raft_extra *x);
int peers_append(struct peers *f, uint64_t from, struct raft_wire_append w,
		 const struct raft_wire_entry *e, unsigned n);
/* From 2 or 3, with a last entry (index, 1). */
struct raft_message peers_vote(uint64_t term, uint64_t from, bool pre,
			       uint64_t index);
struct raft_message peers_result(uint64_t term, uint64_t last_index);
/* Store 1 wins an election with the votes of 2, 3, ..., and commits its first
 * entry with them. Returns the term. */
uint64_t peers_lead(struct peers *f);
/* The newest message of that type to a peer, NULL: none. */
const struct raft_message *peers_last(const struct peers *f, uint64_t to,
				      uint8_t type, struct raft_extra *ret);

#endif
