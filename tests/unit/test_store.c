/*
 * A whole store on real loops and real files, through an in-process link:
 * shards, chunks, restart, and databases that are gone or damaged. A copy of
 * the directory made while the store runs is what a killed process leaves.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/raft/raft_impl.h"
#include "common/rpc/rpc.h"
#include "storaged/store_impl.h"

#define N_SHARDS 5
#define RAFT_ID 4

struct fixture {
	struct loop_set *loops;
	struct rpc_server *server;
	struct store *store;
	struct rpc_peer_link *link, *storage_link; /* by role */
	pthread_t thread;
	sem_t ready;
	uint64_t seq;
	uint64_t roots[N_SHARDS];
};

static char base[64];
/* of the stores that are opened */
static uint64_t log_segment, bulk_segment, snap_bytes;
static bool read_barrier;

static void shell(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	assert_int_equal(system(cmd), 0);
}

/* Of a directory that is written: again when a file went meanwhile. */
static void copy_live(const char *from, const char *name)
{
	shell("for i in 1 2 3 4 5 6 7 8 9; do rm -rf %s/%s; "
	      "cp -r %s %s/%s 2>/dev/null && exit 0; done; exit 1",
	      base, name, from, base, name);
}

/* --- one process --- */

static void *fixture_main(void *arg)
{
	struct fixture *f = arg;

	loop_set_run(f->loops);
	return NULL;
}

static void on_ready(void *arg)
{
	struct fixture *f = arg;

	sem_post(&f->ready);
}

static void fixture_close(struct fixture *f)
{
	store_close(f->store);
	rpc_server_free(f->server);
	loop_set_free(f->loops);
	sem_destroy(&f->ready);
}

/* 0, or what store_open said; then everything is closed again. */
static int fixture_open(struct fixture *f, const char *dir, unsigned loops,
			struct errbuf *e)
{
	struct store_config c = {
		.dir = dir, .log_segment = log_segment,
		.bulk_segment = bulk_segment, .snap_bytes = snap_bytes,
		.read_barrier = read_barrier,
	};
	int rv;

	memset(f, 0, sizeof *f);
	sem_init(&f->ready, 0, 0);
	assert_int_equal(loop_set_new(loops, 2, &f->loops), 0);
	assert_int_equal(rpc_server_new(f->loops, &f->server), 0);
	c.loops = f->loops;
	c.server = f->server;
	e->text[0] = '\0';
	rv = store_open(&c, &f->store, e);
	if (rv != 0)
		fixture_close(f);
	return rv;
}

static void fixture_start(struct fixture *f, const char *dir, unsigned loops)
{
	uint16_t shards[N_SHARDS] = { 0, 1, 2, 7, 300 };
	struct errbuf e = { "" };

	if (fixture_open(f, dir, loops, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(rpc_link_new(loop_set_get(f->loops, 0), "unix:none",
				      RPC_ROLE_MANAGER, f->server, &f->link),
			 0);
	assert_int_equal(rpc_link_new(loop_set_get(f->loops, 0), "unix:none",
				      RPC_ROLE_STORAGE, f->server,
				      &f->storage_link), 0);
	if (store_assign(f->store, RAFT_ID, shards, N_SHARDS, &e) != 0 ||
	    store_start(f->store, on_ready, f, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(pthread_create(&f->thread, NULL, fixture_main, f), 0);
	sem_wait(&f->ready);
}

static void fixture_stop(struct fixture *f)
{
	loop_set_stop(f->loops);
	pthread_join(f->thread, NULL);
	rpc_link_free(f->link);
	rpc_link_free(f->storage_link);
	fixture_close(f);
}

/* --- calls from the test's own thread --- */

struct call {
	struct env_task task;
	struct fixture *f;
	struct rpc_send send;
	struct buf payload;
	sem_t done;
	uint32_t status;
	struct buf rsp;
	struct body *body;
};

static void call_done(void *arg, const struct rpc_reply *reply)
{
	struct call *c = arg;

	c->status = reply->status;
	buf_add(&c->rsp, reply->payload, reply->len);
	c->body = reply->body != NULL ? body_ref(reply->body) : NULL;
	sem_post(&c->done);
}

static void call_run(struct env_task *task)
{
	struct call *c = CONTAINER_OF(task, struct call, task);
	struct rpc_peer_link *link =
		(rpc_info(c->send.tag)->roles & RPC_ROLE_MANAGER) != 0
			? c->f->link
			: c->f->storage_link;

	if (rpc_link_send(link, &c->send) == NULL)
		abort();
}

static void call_init(struct call *c)
{
	memset(c, 0, sizeof *c);
	buf_init(&c->payload, 0);
	buf_init(&c->rsp, 0);
}

static void call_sync(struct fixture *f, struct call *c, uint16_t tag,
		      uint16_t group, struct body *body)
{
	c->f = f;
	c->task.run = call_run;
	c->send = (struct rpc_send){
		.tag = tag, .group = group, .payload = &c->payload,
		.body = body, .done = call_done, .arg = c,
	};
	sem_init(&c->done, 0, 0);
	env_post(loop_env(loop_set_get(f->loops, 0)), &c->task);
	sem_wait(&c->done);
	sem_destroy(&c->done);
}

static void call_fini(struct call *c)
{
	buf_fini(&c->payload);
	buf_fini(&c->rsp);
	body_unref(c->body);
}

#define CALL(f, c, name, req, group, body) \
	do { \
		call_init(c); \
		(void)rpc_##name##_encode((req), &(c)->payload); \
		call_sync((f), (c), RPC_TAG_##name, (group), (body)); \
	} while (0)

static const uint16_t shard_ids[N_SHARDS] = { 0, 1, 2, 7, 300 };

static void make_roots(struct fixture *f)
{
	for (unsigned i = 0; i < N_SHARDS; i++) {
		struct rpc_root_create req = { .client = 1, .slot = i,
					       .seq = ++f->seq, .bucket = i + 1,
					       .mode = 0775 };
		struct rpc_root_create_rsp rsp;
		struct call c;

		CALL(f, &c, root_create, &req, shard_ids[i], NULL);
		assert_int_equal(c.status, RPC_STATUS_OK);
		assert_int_equal(rpc_root_create_rsp_decode(&rsp, c.rsp.data,
							    c.rsp.len), 0);
		f->roots[i] = rsp.ino;
		call_fini(&c);
	}
}

static char data[WIRE_CHUNK];

static void put(struct fixture *f, unsigned shard, const char *key, size_t off,
		size_t len)
{
	struct wire_extent e = { .len = len, .kind = WIRE_EXT_INLINE };
	struct wire_vec v;
	struct rpc_put req;
	struct call c;

	wire_vec_init(&v);
	wire_vec_add_extent(&v, &e);
	req = (struct rpc_put){
		.client = 1, .slot = 50 + shard, .seq = ++f->seq,
		.root = f->roots[shard], .key = wire_cstr(key), .size = len,
		.etag = wire_cstr("e"), .extents = wire_vec_bytes(&v),
		.data = wire_bytes(data + off, len),
	};
	CALL(f, &c, put, &req, shard_ids[shard], NULL);
	assert_int_equal(c.status, RPC_STATUS_OK);
	call_fini(&c);
	wire_vec_fini(&v);
}

static void get(struct fixture *f, unsigned shard, const char *key, size_t off,
		size_t len)
{
	struct rpc_object req = { .root = f->roots[shard],
				  .key = wire_cstr(key), .len = 1 << 20 };
	struct call c;

	CALL(f, &c, object, &req, shard_ids[shard], NULL);
	assert_int_equal(c.status, RPC_STATUS_OK);
	assert_non_null(c.body);
	assert_int_equal(c.body->len, len);
	assert_memory_equal(c.body->data, data + off, len);
	call_fini(&c);
}

static uint32_t put_chunk(struct fixture *f, uint64_t slice, uint32_t index,
			  size_t off, size_t len, bool wrong)
{
	XXH128_hash_t h = XXH3_128bits(data + off, len);
	struct rpc_chunk_put req = { .slice = { 5, slice }, .index = index,
				     .hash = { h.high64, h.low64 } };
	struct body *b = body_new(len);
	uint32_t status;
	struct call c;

	memcpy(b->data, data + off, len);
	b->len = (uint32_t)len;
	if (wrong)
		b->data[len / 2] ^= 1;
	CALL(f, &c, chunk_put, &req, (uint16_t)slice, b);
	status = c.status;
	call_fini(&c);
	return status;
}

static uint32_t get_chunk(struct fixture *f, uint64_t slice, uint32_t index,
			  uint32_t from, uint32_t want, size_t off, size_t len)
{
	struct rpc_chunk_get req = { .slice = { 5, slice }, .index = index,
				     .off = from, .len = want };
	uint32_t status;
	struct call c;

	CALL(f, &c, chunk_get, &req, (uint16_t)slice, NULL);
	status = c.status;
	if (status == RPC_STATUS_OK) {
		assert_non_null(c.body);
		assert_int_equal(c.body->len, len);
		assert_memory_equal(c.body->data, data + off, len);
	} else {
		assert_null(c.body);
	}
	call_fini(&c);
	return status;
}

static const size_t chunk_len[] = { 1, 1000, 65536, 300000, 1 << 20,
				    WIRE_CHUNK };
#define N_CHUNKS (sizeof chunk_len / sizeof chunk_len[0])

static void write_all(struct fixture *f)
{
	char key[32];

	make_roots(f);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(key, sizeof key, "d%u/k%u", i % 3, i);
		put(f, i % N_SHARDS, key, i, 10 + i * 200);
	}
	for (unsigned i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_chunk(f, i, i, 0, chunk_len[i], false),
				 RPC_STATUS_OK);
}

static void check_all(struct fixture *f, const uint64_t *roots)
{
	char key[32];

	memcpy(f->roots, roots, sizeof f->roots);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(key, sizeof key, "d%u/k%u", i % 3, i);
		get(f, i % N_SHARDS, key, i, 10 + i * 200);
	}
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(get_chunk(f, i, i, 0, WIRE_CHUNK, 0,
					   chunk_len[i]), RPC_STATUS_OK);
}

/* --- tests --- */

static void check_store(unsigned loops)
{
	struct store_stats stats;
	uint64_t roots[N_SHARDS];
	struct fixture f;
	char dir[128];

	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/store", base);
	fixture_start(&f, dir, loops);
	write_all(&f);
	memcpy(roots, f.roots, sizeof roots);
	check_all(&f, roots);
	/* chunks: again, other bytes, wrong bytes, parts, none */
	assert_int_equal(put_chunk(&f, 3, 3, 0, 300000, false), RPC_STATUS_OK);
	assert_int_equal(put_chunk(&f, 3, 3, 5, 300000, false),
			 RPC_STATUS_BAD_DIGEST);
	assert_int_equal(put_chunk(&f, 9, 1, 0, 1000, true),
			 RPC_STATUS_BAD_DIGEST);
	assert_int_equal(put_chunk(&f, 9, 2, 0, 1 << 20, true),
			 RPC_STATUS_BAD_DIGEST);
	assert_int_equal(get_chunk(&f, 9, 1, 0, 10, 0, 0), RPC_STATUS_NOENT);
	assert_int_equal(get_chunk(&f, 5, 5, 1000, 2000, 1000, 2000),
			 RPC_STATUS_OK);
	assert_int_equal(get_chunk(&f, 5, 5, 3000, 0, 3000,
				   WIRE_CHUNK - 3000), RPC_STATUS_OK);
	assert_int_equal(get_chunk(&f, 1, 1, 900, 500, 900, 100),
			 RPC_STATUS_OK);
	assert_int_equal(get_chunk(&f, 1, 1, 1000, 1, 0, 0),
			 RPC_STATUS_INVAL);
	store_stats(f.store, &stats);
	assert_int_equal(stats.rot, 0);
	/* killed here */
	copy_live(dir, "killed");
	fixture_stop(&f);
	fixture_start(&f, dir, loops == 1 ? 3 : 1);
	assert_int_equal(store_raft_id(f.store), RAFT_ID);
	check_all(&f, roots);
	fixture_stop(&f);

	snprintf(dir, sizeof dir, "%s/killed", base);
	shell("cp -r %s %s/norows && rm -r %s/norows/rows", dir, base, base);
	shell("cp -r %s %s/noindex && rm -r %s/noindex/chunks", dir, base,
	      base);
	fixture_start(&f, dir, loops);
	check_all(&f, roots);
	fixture_stop(&f);
	snprintf(dir, sizeof dir, "%s/norows", base);
	fixture_start(&f, dir, loops);
	check_all(&f, roots);
	fixture_stop(&f);
	snprintf(dir, sizeof dir, "%s/noindex", base);
	fixture_start(&f, dir, loops);
	check_all(&f, roots);
	fixture_stop(&f);
	shell("rm -rf %s", base);
}

static void test_store_1(void **state)
{
	(void)state;
	check_store(1);
}

static void test_store_3(void **state)
{
	(void)state;
	check_store(3);
}

/* Damage that must not be served, and damage that must not matter. */
static void test_store_damaged(void **state)
{
	uint64_t roots[N_SHARDS];
	struct fixture f;
	struct errbuf e;
	char dir[128];

	(void)state;
	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/store", base);
	fixture_start(&f, dir, 1);
	write_all(&f);
	memcpy(roots, f.roots, sizeof roots);
	fixture_stop(&f);
	/* saved: now there are tables */
	shell("rm %s/rows/CURRENT %s/chunks/CURRENT", dir, dir);
	fixture_start(&f, dir, 1);
	check_all(&f, roots);
	fixture_stop(&f);
	shell("test -d %s/rows.damaged", dir);
	shell("mv %s/super %s/super.away", dir, dir);
	assert_true(fixture_open(&f, dir, 1, &e) != 0);
	assert_non_null(strstr(e.text, "super"));
	shell("mv %s/super.away %s/super", dir, dir);
	/* a foreign raft id */
	assert_int_equal(fixture_open(&f, dir, 1, &e), 0);
	assert_int_equal(store_assign(f.store, RAFT_ID + 1, shard_ids,
				      N_SHARDS, &e), -EINVAL);
	fixture_close(&f);
	fixture_start(&f, dir, 1);
	check_all(&f, roots);
	fixture_stop(&f);
	shell("rm -rf %s", base);
}

/* --- rows in doubt --- */

static void wait_snapshots(struct fixture *f, uint64_t n)
{
	struct timespec pause = { 0, 1000000 };
	struct store_stats st;

	store_checkpoint(f->store);
	for (;;) {
		store_stats(f->store, &st);
		if (st.snapshots >= n)
			return;
		(void)nanosleep(&pause, NULL);
	}
}

/* Other bytes under some keys, and some keys gone. */
static void change_some(struct fixture *f)
{
	char key[32];

	for (unsigned i = 0; i < 60; i += 7) {
		snprintf(key, sizeof key, "d%u/k%u", i % 3, i);
		put(f, i % N_SHARDS, key, 7000 + i, 10 + i * 200);
	}
	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "new/%u", i);
		put(f, i % N_SHARDS, key, i, 900);
	}
}

static void check_changed(struct fixture *f, const uint64_t *roots)
{
	char key[32];

	memcpy(f->roots, roots, sizeof f->roots);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(key, sizeof key, "d%u/k%u", i % 3, i);
		get(f, i % N_SHARDS, key, i % 7 == 0 ? 7000 + i : i,
		    10 + i * 200);
	}
	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "new/%u", i);
		get(f, i % N_SHARDS, key, i, 900);
	}
}

/*
 * Starts in a process of its own, which must stop with that sentence. One that
 * is served after all may stand still: the thread of the row database that this
 * process has is not in a fork.
 */
static void check_refused(const char *dir, const char *sentence)
{
	char text[4096];
	size_t n = 0;
	ssize_t got;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct errbuf e = { "" };
		struct fixture f;

		(void)dup2(fds[1], 2);
		(void)alarm(60);
		if (fixture_open(&f, dir, 1, &e) != 0)
			fatal("%s", e.text);
		if (store_assign(f.store, RAFT_ID, shard_ids, N_SHARDS, &e) !=
			    0 ||
		    store_start(f.store, on_ready, &f, &e) != 0)
			fatal("%s", e.text);
		loop_set_run(f.loops);
		_exit(0);
	}
	close(fds[1]);
	while ((got = read(fds[0], text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* its leaks, told by the sanitizer, may change how it ends */
	if (status == 0 || strstr(text, sentence) == NULL)
		fail_msg("%s: %s", dir, text);
}

/*
 * A copy of what a killed store left, with a change made by a command. The
 * store that starts then may be killed before it has saved anything.
 */
static void check_made_again(const char *name, const uint64_t *roots,
			     const char *command)
{
	struct fixture f;
	char dir[128], killed[64];

	snprintf(dir, sizeof dir, "%s/%s", base, name);
	snprintf(killed, sizeof killed, "%s.killed", name);
	shell("cp -r %s/killed %s", base, dir);
	shell("cd %s && %s", dir, command);
	fixture_start(&f, dir, 1);
	check_changed(&f, roots);
	copy_live(dir, killed);
	fixture_stop(&f);
	/* and once more, from what that one saved */
	fixture_start(&f, dir, 3);
	check_changed(&f, roots);
	fixture_stop(&f);
	(void)strcat(dir, ".killed");
	fixture_start(&f, dir, 2);
	check_changed(&f, roots);
	fixture_stop(&f);
}

static void check_not_served(const char *name, const char *command,
			     const char *sentence)
{
	char dir[128];

	snprintf(dir, sizeof dir, "%s/%s", base, name);
	shell("cp -r %s/killed %s", base, dir);
	shell("cd %s && %s", dir, command);
	check_refused(dir, sentence);
}

static void test_rows_in_doubt(void **state)
{
	uint64_t roots[N_SHARDS];
	struct store_stats st;
	struct fixture f;
	char dir[128], part[160];

	(void)state;
	log_segment = 32u << 10;
	snap_bytes = 64u << 10;
	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/store", base);
	fixture_start(&f, dir, 2);
	write_all(&f);
	memcpy(roots, f.roots, sizeof roots);
	snprintf(part, sizeof part, "%s/log", dir);
	copy_live(part, "old_log");
	wait_snapshots(&f, N_SHARDS);
	snprintf(part, sizeof part, "%s/rows", dir);
	copy_live(part, "old_rows");
	change_some(&f);
	store_checkpoint(f.store);
	put(&f, 0, "new/0", 0, 900);
	store_stats(f.store, &st);
	wait_snapshots(&f, st.snapshots + 1);
	put(&f, 1, "new/1", 1, 900);
	copy_live(dir, "killed");
	fixture_stop(&f);

	check_made_again("gone", roots, "rm -r rows");
	check_made_again("damaged", roots, "rm rows/CURRENT");
	check_made_again("old", roots, "rm -r rows && cp -r ../old_rows rows");
	check_made_again("no_snapshots", roots, "rm -r rows snap/*");
	check_made_again("bad_snapshot", roots,
			 "rm -r rows && for f in snap/*; do "
			 "printf x | dd of=$f bs=1 seek=300 conv=notrunc "
			 "status=none; done");
	check_not_served("no_log", "rm -r log snap", "/log is gone: what was");
	check_not_served("no_log_rows", "rm -r log rows",
			 "the log of group 0 is gone");
	check_not_served("no_log_at_all", "rm -r log rows snap",
			 "/log is gone: what was");
	check_not_served("log_of_then", "rm -r log && cp -r ../old_log log",
			 "its rows are newer than its log");
	check_not_served("foreign",
			 "b=$(od -An -tu1 -j20 -N1 super) && "
			 "printf \"\\\\$(printf %o $((b ^ 1)))\" | "
			 "dd of=super bs=1 seek=20 conv=notrunc status=none",
			 "super");
	log_segment = 0;
	snap_bytes = 0;
	shell("rm -rf %s", base);
}

static void on_late(void *arg, const struct rpc_reply *reply)
{
	(void)reply;
	__atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELAXED);
}

struct burst {
	struct env_task task;
	struct fixture *f;
	unsigned done;
	uint64_t slice;
};

/* Sends many requests of all kinds, then stops the loops in the same turn. */
static void burst_run(struct env_task *task)
{
	struct burst *b = CONTAINER_OF(task, struct burst, task);
	struct fixture *f = b->f;

	for (unsigned i = 0; i < 60; i++) {
		XXH128_hash_t h = XXH3_128bits(data, 100000);
		struct rpc_root_create root = { .bucket = 100 + i };
		struct rpc_getattr attr = { .ino = f->roots[0] };
		struct rpc_chunk_put put = {
			.slice = { 6, b->slice }, .index = i,
			.hash = { h.high64, h.low64 },
		};
		struct rpc_send send = { .done = on_late, .arg = &b->done };
		struct buf p;

		buf_init(&p, 0);
		send.group = shard_ids[i % N_SHARDS];
		send.payload = &p;
		if (i % 3 == 0) {
			send.tag = RPC_TAG_root_create;
			(void)rpc_root_create_encode(&root, &p);
		} else if (i % 3 == 1) {
			send.tag = RPC_TAG_getattr;
			(void)rpc_getattr_encode(&attr, &p);
		} else {
			send.tag = RPC_TAG_chunk_put;
			(void)rpc_chunk_put_encode(&put, &p);
			send.body = body_new(100000);
			memcpy(send.body->data, data, 100000);
			send.body->len = 100000;
		}
		if (rpc_link_send(f->link, &send) == NULL)
			abort();
	}
	if (b->slice % 2 == 0)
		loop_set_stop(f->loops);
}

/* The way out in the middle of work: nothing hangs, leaks or is used late. */
static void test_stop_busy(void **state)
{
	struct fixture f;
	char dir[128];

	(void)state;
	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/store", base);
	for (unsigned i = 0; i < 12; i++) {
		struct burst b = { .f = &f, .slice = i };

		fixture_start(&f, dir, 1 + i % 3);
		make_roots(&f);
		b.task.run = burst_run;
		env_post(loop_env(loop_set_get(f.loops, 0)), &b.task);
		if (i % 2 == 1)
			usleep(300 * i); /* somewhere in the middle */
		fixture_stop(&f);
	}
	shell("rm -rf %s", base);
}

/* --- compaction --- */

#define CLEAN_WORKERS 3u
#define CLEAN_SLICES 40u /* each worker's own */
#define CLEAN_CHUNKS 4u  /* of a slice */

/* What a worker's chunks hold: bytes from `off` on, `len` of them; 0: gone. */
struct clean_slice {
	size_t off, len;
};

struct clean_worker {
	struct fixture *f;
	unsigned nth;
	unsigned rand;
	uint64_t next; /* slice */
	struct clean_slice slices[CLEAN_SLICES];
	uint64_t ids[CLEAN_SLICES];
	unsigned steps, limit; /* atomic; it rests at the limit */
	bool *stop;
	pthread_t thread;
};

static unsigned clean_rand(struct clean_worker *w, unsigned below)
{
	w->rand = w->rand * 1103515245 + 12345;
	return (w->rand >> 12) % below;
}

/* On any thread, where an assertion cannot jump out of the test. */
static void clean_expect_ok(uint32_t status)
{
	if (status == RPC_STATUS_OK)
		return;
	fprintf(stderr, "status %s\n", rpc_status_text(status));
	abort();
}

static void clean_put(struct clean_worker *w, unsigned i)
{
	struct clean_slice *s = &w->slices[i];

	w->ids[i] = (uint64_t)w->nth << 32 | ++w->next;
	s->off = clean_rand(w, 100000);
	s->len = 1 + clean_rand(w, clean_rand(w, 2) ? 3000 : 300000);
	for (unsigned c = 0; c < CLEAN_CHUNKS; c++)
		clean_expect_ok(put_chunk(w->f, w->ids[i], c, s->off + c,
					  s->len, false));
}

static void clean_get(struct clean_worker *w, unsigned i, unsigned chunk)
{
	const struct clean_slice *s = &w->slices[i];

	clean_expect_ok(get_chunk(w->f, w->ids[i], chunk, 0, 0, s->off + chunk,
				  s->len));
}

static void clean_drop(struct clean_worker *w, unsigned i)
{
	struct wire_u128 id = { 5, w->ids[i] };
	struct rpc_chunk_drop req;
	struct wire_vec v;
	struct wire_writer to;
	struct call c;

	wire_vec_init(&v);
	to = wire_vec_add(&v);
	wire_put_u128(&to, &id);
	req.slices = wire_vec_bytes(&v);
	CALL(w->f, &c, chunk_drop, &req, (uint16_t)w->ids[i], NULL);
	clean_expect_ok(c.status);
	call_fini(&c);
	wire_vec_fini(&v);
	w->slices[i].len = 0;
}

static void clean_step(struct clean_worker *w)
{
	unsigned i = clean_rand(w, CLEAN_SLICES), what = clean_rand(w, 10);

	if (w->slices[i].len == 0)
		clean_put(w, i);
	else if (what < 3)
		clean_drop(w, i);
	else
		clean_get(w, i, what % CLEAN_CHUNKS);
}

static void short_pause(void)
{
	const struct timespec pause = { 0, 1000000 };

	(void)nanosleep(&pause, NULL);
}

static void *clean_work(void *arg)
{
	struct clean_worker *w = arg;

	while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
		if (w->steps >= __atomic_load_n(&w->limit, __ATOMIC_RELAXED)) {
			short_pause();
			continue;
		}
		clean_step(w);
		__atomic_add_fetch(&w->steps, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void compact_ask(struct fixture *f, uint8_t action,
			struct rpc_store_compact_rsp *rsp)
{
	struct rpc_store_compact req = { .action = action };
	struct call c;

	CALL(f, &c, store_compact, &req, 0, NULL);
	assert_int_equal(c.status, RPC_STATUS_OK);
	assert_int_equal(rpc_store_compact_rsp_decode(rsp, c.rsp.data,
						      c.rsp.len), 0);
	rsp->heads = wire_bytes(NULL, 0); /* borrowed */
	call_fini(&c);
}

static void compact_whole(struct fixture *f)
{
	struct rpc_store_compact_rsp rsp;

	compact_ask(f, RPC_COMPACT_START, &rsp);
	do {
		short_pause();
		compact_ask(f, RPC_COMPACT_LOOK, &rsp);
	} while (rsp.state != 0);
	assert_int_equal(rsp.status, RPC_STATUS_OK);
	assert_int_equal(rsp.kept, 0);
	assert_int_equal(rsp.out, rsp.targets);
}

/* Lets each of them do so many steps more. */
static void clean_let(struct clean_worker *workers, unsigned steps)
{
	for (unsigned n = 0; n < CLEAN_WORKERS; n++)
		__atomic_add_fetch(&workers[n].limit, steps, __ATOMIC_RELAXED);
}

/* Until each of them is within so many steps of its limit. */
static void clean_wait(struct clean_worker *workers, unsigned left)
{
	for (unsigned n = 0; n < CLEAN_WORKERS; n++)
		while (__atomic_load_n(&workers[n].steps, __ATOMIC_RELAXED) +
			       left < workers[n].limit)
			short_pause();
}

static void clean_check(struct fixture *f, struct clean_worker *workers)
{
	for (unsigned n = 0; n < CLEAN_WORKERS; n++) {
		struct clean_worker *w = &workers[n];

		w->f = f;
		for (unsigned i = 0; i < CLEAN_SLICES; i++)
			for (unsigned c = 0; c < CLEAN_CHUNKS; c++)
				if (w->slices[i].len > 0)
					clean_get(w, i, c);
	}
}

/* Threads that put, get and drop; the store is compacted, and stopped in it. */
static void test_compact(void **state)
{
	static struct clean_worker workers[CLEAN_WORKERS];
	struct rpc_store_compact_rsp rsp;
	uint64_t freed = 0;
	struct fixture f;
	char dir[128];
	bool stop;

	(void)state;
	bulk_segment = 1u << 20;
	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/store", base);
	for (unsigned n = 0; n < CLEAN_WORKERS; n++)
		workers[n] = (struct clean_worker){ .nth = n, .rand = n,
						    .stop = &stop };
	for (unsigned turn = 0; turn < 4; turn++) {
		stop = false;
		fixture_start(&f, dir, 1 + turn % 3);
		clean_check(&f, workers);
		for (unsigned n = 0; n < CLEAN_WORKERS; n++)
			pthread_create(&workers[n].thread, NULL, clean_work,
				       &workers[n]);
		for (unsigned i = 0; i < 2; i++) {
			clean_let(workers, 30);
			clean_wait(workers, 15);
			compact_whole(&f); /* beside the other half */
		}
		clean_wait(workers, 0);
		__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
		for (unsigned n = 0; n < CLEAN_WORKERS; n++)
			pthread_join(workers[n].thread, NULL);
		clean_check(&f, workers);
		compact_ask(&f, RPC_COMPACT_START, &rsp);
		freed += rsp.freed;
		usleep(700 * turn);
		fixture_stop(&f); /* in the middle of it */
		if (turn == 2) /* the index is made again */
			shell("rm -r %s/chunks", dir);
	}
	assert_true(freed > 4u << 20);
	bulk_segment = 0;
	shell("rm -rf %s", base);
}

/* A bit of a chunk flips on the disk. */
static void test_chunk_rot(void **state)
{
	struct store_stats stats;
	struct fixture f;
	char dir[128];

	(void)state;
	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/store", base);
	fixture_start(&f, dir, 1);
	assert_int_equal(put_chunk(&f, 1, 0, 0, 200000, false), RPC_STATUS_OK);
	shell("printf '\\377\\376' | dd of=%s/bulk/0000000000000001.seg bs=1 "
	      "seek=100000 conv=notrunc status=none", dir);
	assert_int_equal(get_chunk(&f, 1, 0, 0, 200000, 0, 0), RPC_STATUS_IO);
	assert_int_equal(get_chunk(&f, 1, 0, 5, 10, 0, 0), RPC_STATUS_IO);
	store_stats(f.store, &stats);
	assert_int_equal(stats.rot, 2);
	fixture_stop(&f);
	shell("rm -rf %s", base);
}

/* --- a full disk --- */

struct fill {
	struct env_task task;
	struct store *s;
	sem_t done;
};

static void fill_run(struct env_task *task)
{
	struct fill *fill = CONTAINER_OF(task, struct fill, task);

	space_stop(&fill->s->space); /* the real disk has room */
	fill->s->space.full = true;
	sem_post(&fill->done);
}

static uint32_t status_of_root(struct fixture *f, uint16_t group)
{
	struct rpc_root_create req = { .client = 1, .slot = 90,
				       .seq = ++f->seq, .bucket = 99,
				       .mode = 0775 };
	uint32_t status;
	struct call c;

	CALL(f, &c, root_create, &req, group, NULL);
	status = c.status;
	call_fini(&c);
	return status;
}

/* Who leads refuses what adds bytes; who does not says who, or that it is
 * not here. */
static void test_full(void **state)
{
	struct fill fill = { .task.run = fill_run };
	struct fixture f;
	char dir[128];

	(void)state;
	shell("rm -rf %s && mkdir -p %s", base, base);
	snprintf(dir, sizeof dir, "%s/full", base);
	fixture_start(&f, dir, 2);
	make_roots(&f);
	put(&f, 0, "k", 0, 100);
	fill.s = f.store;
	sem_init(&fill.done, 0, 0);
	env_post(loop_env(loop_set_get(f.loops, 0)), &fill.task);
	sem_wait(&fill.done);
	sem_destroy(&fill.done);
	assert_int_equal(status_of_root(&f, shard_ids[1]), RPC_STATUS_NOSPC);
	assert_int_equal(put_chunk(&f, 1, 0, 0, 1000, false),
			 RPC_STATUS_NOSPC);
	get(&f, 0, "k", 0, 100);
	assert_int_equal(status_of_root(&f, 9), RPC_STATUS_WRONG_STORE);
	f.store->space.full = false;
	assert_int_equal(status_of_root(&f, shard_ids[1]), RPC_STATUS_OK);
	fixture_stop(&f);
	shell("rm -rf %s", base);
}

/* What the Raft host of each loop is told by the store. */
static void test_raft_hosts_are_told(void **state)
{
	struct fixture f;
	char dir[128];

	(void)state;
	shell("rm -rf %s && mkdir -p %s", base, base);
	for (int on = 0; on < 2; on++) {
		snprintf(dir, sizeof dir, "%s/told%d", base, on);
		read_barrier = on != 0;
		fixture_start(&f, dir, 2);
		for (unsigned i = 0; i < 2; i++) {
			const struct raft_host_config *c = &shard_set_host(
				f.store->loops[i].set)->config;
			uint64_t total, avail;

			assert_int_equal(c->read_barrier, on != 0);
			store_space(f.store, &total, &avail);
			assert_in_range(c->room(c->arg), 1, avail + total / 50);
		}
		fixture_stop(&f);
	}
	read_barrier = false;
	shell("rm -rf %s", base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_1),
		cmocka_unit_test(test_store_3),
		cmocka_unit_test(test_store_damaged),
		cmocka_unit_test(test_rows_in_doubt),
		cmocka_unit_test(test_stop_busy),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_raft_hosts_are_told),
		cmocka_unit_test(test_compact),
		cmocka_unit_test(test_chunk_rot),
	};

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (char)(i * 31 + (i >> 9));
	snprintf(base, sizeof base, "test_store_%d.tmp", (int)getpid());
	cmocka_set_test_filter(getenv("TEST_FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
