#ifndef TESTS_UNIT_CLIENTFIX_H
#define TESTS_UNIT_CLIENTFIX_H
/*
 * Clients on real loops and a scripted server, over a unix socket or in
 * process, that is manager and store at once: for tests of common/client.
 * Callbacks record, asserts come after fixture_run() has returned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/client/client_impl.h"

#define INO ino_make(3, 100)
#define CHUNKS_MAX 16
#define SEEN_MAX 4096

extern char fixture_addr[96]; /* where the server listens */

struct seen {
	uint64_t client, seq;
	uint32_t slot;
};

struct fixture;
typedef void (*fixture_fn)(struct fixture *f);

struct fixture {
	unsigned n_loops;
	bool local;
	uint32_t timeout_ms;
	fixture_fn start;
	fixture_fn stop; /* or NULL: what must go before the set */
	struct loop_set *loops;
	struct rpc_server *server;
	struct client_set *set;
	struct env_timer timer;
	/* the fake: state of loop 0 */
	uint64_t version, session;
	uint32_t expired; /* answers to renew with SESSION */
	unsigned open_fail; /* of the next opens */
	uint32_t late;      /* status of a try that is older than the session */
	unsigned opens, renews, gets;
	struct rpc_req *polls[8];
	unsigned n_polls;
	uint32_t script[16]; /* statuses of the next mutations; 0 = OK */
	unsigned at, n_script;
	bool park;
	struct rpc_req *parked[8];
	unsigned n_parked;
	struct seen seen[SEEN_MAX];
	unsigned n_seen;
	struct {
		struct wire_u128 slice;
		uint32_t index;
		struct body *body;
	} chunks[CHUNKS_MAX];
	unsigned n_chunks, bad_hashes, put_fail, given_up;
	/* what READ answers */
	struct wire_extent ext[2][8]; /* first and later looks */
	unsigned n_ext[2], reads;
	uint64_t size, cover;
	struct body *inl;
	uint32_t read_status;
	/* results */
	uint32_t status[SEEN_MAX];
	bool again[SEEN_MAX];
	unsigned done, want, bad;
	atomic_uint loops_left;
	uint8_t *data; /* read so far */
	uint64_t got;
	struct client_slice *slice;
	struct client_read *read;
	uint64_t fed;
	unsigned pauses, step;
	uint8_t (*check)(uint64_t pos);
};

/* free() it at the end. */
struct fixture *fixture_new(void);
/* Calls start when loop 0 has a session; until fixture_finish(). */
void fixture_run(struct fixture *f, fixture_fn start);
void fixture_finish(struct fixture *f);
/* A server in place of one that is gone. 0 or -errno. */
int fixture_serve(struct fixture *f);
/* What the manager answers, appended to out. 0 or -errno. */
int fixture_cluster(struct fixture *f, struct buf *out);
/* The next version of it, told to who waits. */
void fixture_bump(struct fixture *f);
/* Of loop 0. */
struct env *env0(struct fixture *f);
struct client *client0(struct fixture *f);
/* cmocka_run_group_tests() with a directory for fixture_addr. */
#define fixture_main(tests) \
	(fixture_begin() == 0 \
		 ? fixture_end(cmocka_run_group_tests(tests, NULL, NULL)) \
		 : 1)
int fixture_begin(void);
int fixture_end(int rv);

/* --- calls --- */

/* CLOSE, of all mutations the shortest. */
void send_close(struct client *c, uint32_t ms, rpc_done_fn done, void *arg);
/* An outcome that ends the run; arg is the fixture. */
void last_done(void *arg, const struct rpc_reply *r);
/* For fixture_run(): f->want CLOSEs, each when the one before is done. */
void closes_start(struct fixture *f);

#endif
