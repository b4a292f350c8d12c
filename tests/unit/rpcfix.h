#ifndef TESTS_UNIT_RPCFIX_H
#define TESTS_UNIT_RPCFIX_H
/*
 * A server on real loops, over a unix socket or in process, and one link to it
 * from each loop: for tests of common/rpc. Callbacks record, asserts come after
 * fixture_run() has returned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/rpc/rpc_impl.h"

#define LOOPS_MAX 4
#define PARK_MAX 64

extern char fixture_addr[96]; /* where the server listens */

struct fixture;

/* What one loop does in a test. */
struct side {
	struct fixture *f;
	unsigned index;
	struct env_task start;
	struct env_timer timer;
	struct rpc_peer_link *link;
	struct rpc_call *calls[PARK_MAX];
	unsigned n, sent, done, bad;
	uint32_t status[PARK_MAX];
	unsigned count[PARK_MAX]; /* outcomes per call */
	int step;
};

struct fixture {
	unsigned n_loops;
	bool local;
	uint32_t role;
	bool is_manager; /* no store */
	struct loop_set *loops;
	struct rpc_server *server;
	struct side sides[LOOPS_MAX];
	atomic_uint sides_left;
	unsigned wanted; /* calls per side */
	struct rpc_req *parked[PARK_MAX];
	unsigned n_parked;
	void (*start)(struct side *s);
};

/* Starts all sides; until each of them has called side_finish(). */
void fixture_run(struct fixture *f, unsigned n_loops, bool local,
		 void (*start)(struct side *s));
/* A server in place of one that is gone. 0 or -errno. */
int fixture_serve(struct fixture *f);
void side_finish(struct side *s);
struct env *side_env(struct side *s);
/* cmocka_run_group_tests() with a directory for fixture_addr. */
#define fixture_main(tests) \
	(fixture_begin() == 0 \
		 ? fixture_end(cmocka_run_group_tests(tests, NULL, NULL)) \
		 : 1)
int fixture_begin(void);
int fixture_end(int rv);

/* --- sending --- */

#define SEND(s_, tag_name, ms, body_, done_, arg_, ...) \
	side_send((s_), RPC_TAG_##tag_name, (ms), (body_), (done_), (arg_), \
		  side_enc_##tag_name, &(struct rpc_##tag_name){ __VA_ARGS__ })
#define ENC(name) \
	static inline int side_enc_##name(const void *m, struct buf *out) \
	{ \
		return rpc_##name##_encode(m, out); \
	}
ENC(getattr)
ENC(chunk_put)
ENC(chunk_get)
ENC(session_renew)
ENC(cluster_get)

struct rpc_call *side_send(struct side *s, uint16_t tag, uint32_t ms,
			   struct body *body, rpc_done_fn done, void *arg,
			   int (*enc)(const void *, struct buf *),
			   const void *m);

#endif
