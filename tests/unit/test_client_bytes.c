/* Bytes through the client: slices, reads, little memory, vanished chunks. */
#include "tests/unit/clientfix.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define FILE_MAX (32u << 20)

/* --- slices and reads --- */

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 7 + i / 4099);
}

static void slice_feed(struct fixture *f)
{
	uint8_t bytes[70001];
	size_t n, taken;

	while (f->fed < f->size) {
		n = sizeof(bytes);
		if (n > f->size - f->fed)
			n = f->size - f->fed;
		for (size_t i = 0; i < n; i++)
			bytes[i] = pattern(f->fed + i);
		taken = client_slice_add(f->slice, bytes, n);
		f->fed += taken;
		if (taken == n)
			continue;
		if (client_slice_error(f->slice) != RPC_STATUS_OK)
			break;
		f->pauses++;
		return; /* on_drain goes on */
	}
	client_slice_finish(f->slice);
}

static void slice_on_drain(void *arg)
{
	slice_feed(arg);
}

static void slice_on_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[0] = status;
	f->done++;
	if (f->want == 0)
		fixture_finish(f);
	else
		f->start(f);
}

static const struct client_slice_cbs slice_cbs = { slice_on_drain,
						   slice_on_done };

static void slice_start(struct fixture *f)
{
	f->slice = client_slice_new(client0(f), 3, &slice_cbs, f);
	slice_feed(f);
}

static void test_slice(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 100000, 4u << 20,
					  (4u << 20) + 1, 26000000 };

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		struct fixture *f = fixture_new();
		uint64_t left = sizes[i / 2];

		f->local = i % 2;
		f->size = left;
		fixture_run(f, slice_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->bad_hashes, 0);
		assert_int_equal(f->done, 1);
		if (i / 2 == 5)
			assert_true(f->pauses > 0);
		free(f);
	}
}

/* More than was said would come; and memory made to measure. */
static void expect_start(struct fixture *f)
{
	uint8_t bytes[3000] = { 0 };
	size_t room;

	f->slice = client_slice_new(client0(f), 3, &slice_cbs, f);
	client_slice_expect(f->slice, 70000);
	assert_non_null(client_slice_reserve(f->slice, &room));
	assert_int_equal(room, 70000);
	assert_true(client_slice_body(f->slice)->cap < 4u << 20);
	while (client_slice_add(f->slice, bytes, sizeof(bytes)) ==
	       sizeof(bytes))
		;
	f->fed = client_slice_len(f->slice);
	f->pauses = client_slice_error(f->slice);
	client_slice_finish(f->slice);
}

static void test_slice_expect(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	fixture_run(f, expect_start);
	assert_int_equal(f->fed, 70000);
	assert_int_equal(f->pauses, RPC_STATUS_INVAL);
	assert_int_equal(f->status[0], RPC_STATUS_INVAL);
	free(f);
}

static void test_slice_error(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->size = 26000000;
	f->put_fail = 2;
	fixture_run(f, slice_start);
	assert_int_equal(f->status[0], RPC_STATUS_NOSPC);
	assert_int_equal(f->done, 1);
	free(f);
}

static void early_start(struct fixture *f)
{
	f->slice = client_slice_new(client0(f), 3, &slice_cbs, f);
	f->size = 4u << 20;
	if (f->step != 1)
		slice_feed(f);
	if (f->step == 2)
		client_slice_named(f->slice);
	client_slice_free(f->slice);
	f->slice = NULL;
	send_close(client0(f), 0, last_done, f);
}

/* Its shard hears of it, unless nothing was sent or it has a name. */
static void test_slice_freed_early(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		struct fixture *f = fixture_new();

		f->step = kind;
		fixture_run(f, early_start);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->done, 1);
		assert_int_equal(f->given_up, kind == 0);
		free(f);
	}
}

static void read_on_timer(struct env_timer *timer)
{
	struct fixture *f = CONTAINER_OF(timer, struct fixture, timer);

	client_read_resume(f->read);
}

static void read_on_data(void *arg, struct body *body, uint32_t from,
			 uint32_t len)
{
	struct fixture *f = arg;

	if (f->timer.impl != NULL)
		f->bad++; /* paused */
	if (f->got + len > FILE_MAX) {
		f->bad++;
		return;
	}
	memcpy(f->data + f->got, body->data + from, len);
	f->got += len;
	if (f->pauses++ % 3 == 2) {
		client_read_pause(f->read);
		f->timer.cb = read_on_timer;
		env_timer_set(env0(f), &f->timer, 2000000);
	}
}

static void read_on_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[1] = status;
	f->done++;
	for (uint64_t i = 0; f->check != NULL && i < f->got; i++)
		if (f->data[i] != f->check(i + 1000))
			f->bad++;
	client_read_free(f->read);
	f->read = NULL;
	fixture_finish(f);
}

static const struct client_read_cbs read_cbs = { read_on_data, read_on_done };

static void read_begin(struct fixture *f, uint64_t off, uint64_t len)
{
	struct client_read_spec spec = { .ino = INO, .off = off, .len = len };

	f->pauses = 0;
	f->data = calloc(1, FILE_MAX);
	f->read = client_read_start(client0(f), &spec, &read_cbs, f);
}

/*
 * 10 MiB slice at 1 MiB (from slice offset 3 MiB - 5, 6 MiB long), a hole
 * around it, 1000 inline bytes at 9 MiB, zeros, end at 9.5 MiB.
 */
static void read_after_write(struct fixture *f)
{
	struct wire_u128 id = client_slice_id(f->slice);

	f->ext[0][0] = (struct wire_extent){
		.pos = 1 << 20, .len = 6 << 20, .kind = WIRE_EXT_CHUNKS,
		.slice = id, .slice_off = (3 << 20) - 5 };
	f->ext[0][1] = (struct wire_extent){
		.pos = 9 << 20, .len = 1000, .kind = WIRE_EXT_INLINE,
		.slice_off = 24 };
	f->n_ext[0] = 2;
	f->inl = body_new(1024);
	for (unsigned i = 0; i < 1024; i++)
		f->inl->data[i] = (uint8_t)(i ^ 0x5a);
	f->inl->len = 1024;
	f->size = (9 << 20) + (1 << 19);
	read_begin(f, 1000, FILE_MAX);
}

static void read_write_first(struct fixture *f)
{
	if (f->done == 0) {
		f->size = 10 << 20;
		f->want = 1;
		slice_start(f);
	} else {
		read_after_write(f);
	}
}

static uint8_t expected(uint64_t pos)
{
	if (pos >= 1 << 20 && pos < 7 << 20)
		return pattern(pos - (1 << 20) + (3 << 20) - 5);
	if (pos >= 9 << 20 && pos < (9 << 20) + 1000)
		return (uint8_t)((pos - (9 << 20) + 24) ^ 0x5a);
	return 0;
}

static void test_read(void **state)
{
	/* windows of READ: all at once, and many small ones */
	static const uint64_t covers[] = { WIRE_REGION, 700001 };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct fixture *f = fixture_new();

		f->local = i % 2;
		f->cover = covers[i / 2];
		f->check = expected;
		fixture_run(f, read_write_first);
		assert_int_equal(f->status[0], RPC_STATUS_OK);
		assert_int_equal(f->status[1], RPC_STATUS_OK);
		assert_int_equal(f->done, 2);
		assert_int_equal(f->got, (9 << 20) + (1 << 19) - 1000);
		assert_int_equal(f->bad, 0);
		free(f);
	}
}

/* --- memory is short --- */

/* One of two readers of the same 8 MiB. */
struct reader {
	struct fixture *f;
	struct client_read *read;
	uint64_t got;
	uint32_t most;   /* longest piece handed over */
	bool stops;      /* pauses at the first piece */
	bool bad, done;
};

static struct reader readers[2];
static struct env_timer reader_timer;

static void reader_check(struct fixture *f)
{
	if (readers[1].done && readers[0].stops) {
		/* the one that stalled goes on: what it had is gone */
		readers[0].stops = false;
		client_read_resume(readers[0].read);
	}
	if (readers[0].done && readers[1].done)
		fixture_finish(f);
}

static void reader_on_data(void *arg, struct body *body, uint32_t from,
			   uint32_t len)
{
	struct reader *r = arg;

	for (uint32_t i = 0; i < len; i++)
		if (body->data[from + i] != pattern(r->got + i))
			r->bad = true;
	r->got += len;
	if (len > r->most)
		r->most = len;
	if (r->stops)
		client_read_pause(r->read);
}

static void reader_on_done(void *arg, uint32_t status)
{
	struct reader *r = arg;

	r->bad |= status != RPC_STATUS_OK;
	r->done = true;
	reader_check(r->f);
}

static void reader_begin(struct fixture *f, unsigned i)
{
	static const struct client_read_cbs cbs = { reader_on_data,
						    reader_on_done };
	struct client_read_spec spec = { .ino = INO, .len = 8 << 20 };

	readers[i].f = f;
	readers[i].read = client_read_start(client0(f), &spec, &cbs,
					    &readers[i]);
}

static void reader_on_timer(struct env_timer *timer)
{
	(void)timer;
	reader_begin(readers[0].f, 1);
}

static void starve_start(struct fixture *f)
{
	if (f->done == 0) {
		f->size = 10 << 20;
		f->want = 1;
		slice_start(f);
		return;
	}
	f->ext[0][0] = (struct wire_extent){
		.len = 8 << 20, .kind = WIRE_EXT_CHUNKS,
		.slice = client_slice_id(f->slice) };
	f->n_ext[0] = 1;
	f->size = 8 << 20;
	f->cover = WIRE_REGION;
	/* room for one chunk, and never much more than that */
	f->set->mem_max = body_in_use() + (5 << 20);
	f->set->stall_ns = 100000000;
	readers[0].stops = true;
	reader_begin(f, 0);
	reader_timer = (struct env_timer){ .cb = reader_on_timer };
	env_timer_set(env0(f), &reader_timer, 50000000);
}

static void starve_stop(struct fixture *f)
{
	(void)f;
	for (unsigned i = 0; i < 2; i++) {
		client_read_free(readers[i].read);
		readers[i].read = NULL;
	}
}

/* A reader that stalls does not keep another one from reading. */
static void test_read_starves(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	memset(readers, 0, sizeof(readers));
	f->local = true;
	f->stop = starve_stop;
	fixture_run(f, starve_start);
	for (unsigned i = 0; i < 2; i++) {
		assert_false(readers[i].bad);
		assert_int_equal(readers[i].got, 8 << 20);
		assert_int_equal(readers[i].most, 64 << 10);
	}
	assert_true(f->reads > 2); /* the extents were asked for again */
	free(f);
}

/* --- writers --- */

static struct client_slice *slow_slice;

static void slow_on_drain(void *arg)
{
	struct fixture *f = arg;

	f->status[2] = client_slice_error(slow_slice);
}

static void slow_on_done(void *arg, uint32_t status)
{
	(void)arg;
	(void)status;
}

static void starve_write_start(struct fixture *f)
{
	static const struct client_slice_cbs cbs = { slow_on_drain,
						     slow_on_done };
	uint8_t byte = 1;

	f->set->mem_max = body_in_use() + (5 << 20);
	f->set->slow_ns = 100000000;
	slow_slice = client_slice_new(client0(f), 3, &cbs, f);
	(void)client_slice_add(slow_slice, &byte, 1);
	f->size = 1 << 20;
	slice_start(f);
}

static void starve_write_stop(struct fixture *f)
{
	(void)f;
	client_slice_free(slow_slice);
	slow_slice = NULL;
}

/* Nor does a writer that brings nothing keep another one from writing. */
static void test_write_starves(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->local = true;
	f->stop = starve_write_stop;
	fixture_run(f, starve_write_start);
	assert_int_equal(f->status[0], RPC_STATUS_OK);
	assert_true(f->pauses > 0);
	assert_int_equal(f->status[2], RPC_STATUS_BUSY);
	free(f);
}

/* --- a chunk that vanished --- */

static void gone_after_write(struct fixture *f)
{
	struct wire_u128 id = client_slice_id(f->slice);
	struct wire_extent e = { .pos = 0, .len = 3 << 20,
				 .kind = WIRE_EXT_CHUNKS, .slice = id };

	f->ext[0][0] = e;
	f->ext[0][1] = e;
	f->ext[0][1].pos = 3 << 20;
	f->ext[0][1].slice.lo ^= 1; /* nobody has it */
	f->n_ext[0] = 2;
	f->size = 6 << 20;
	if (f->step == 0) {
		/* the second look finds the file as it is now */
		f->ext[1][0] = e;
		f->ext[1][1] = f->ext[0][1];
		f->ext[1][1].slice = id;
		f->n_ext[1] = 2;
	}
	read_begin(f, 0, 6 << 20);
}

static void gone_start(struct fixture *f)
{
	if (f->done == 0) {
		f->size = 10 << 20;
		f->want = 1;
		slice_start(f);
	} else {
		gone_after_write(f);
	}
}

static void test_missing_chunk(void **state)
{
	(void)state;
	for (unsigned step = 0; step < 2; step++) {
		struct fixture *f = fixture_new();

		f->step = step;
		f->cover = WIRE_REGION;
		fixture_run(f, gone_start);
		assert_int_equal(f->bad, 0);
		assert_int_equal(f->reads, 2);
		assert_int_equal(f->status[1], step == 0 ? RPC_STATUS_OK :
							   RPC_STATUS_IO);
		assert_int_equal(f->got, step == 0 ? 6 << 20 : 3 << 20);
		free(f);
	}
}

static void version_start(struct fixture *f)
{
	read_begin(f, 0, 100);
}

static void test_version_gone(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->read_status = RPC_STATUS_VERSION_GONE;
	fixture_run(f, version_start);
	assert_int_equal(f->status[1], RPC_STATUS_VERSION_GONE);
	free(f);
}

/* An answer that brings nothing must not be asked for again and again. */
static void test_no_progress(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	f->size = 1000;
	f->cover = 0;
	fixture_run(f, version_start);
	assert_int_equal(f->status[1], RPC_STATUS_IO);
	assert_int_equal(f->reads, 1);
	free(f);
}

/* --- allocation failures: every operation has exactly one outcome --- */

static int fault_at, fault_n, fault_count;

static int fault_hook(void)
{
	int i = fault_count++;

	return i >= fault_at && i < fault_at + fault_n;
}

static void fault_next(struct fixture *f);

static void fault_call_done(void *arg, const struct rpc_reply *r)
{
	struct fixture *f = arg;

	f->status[f->step] = r->status;
	f->done++;
	fault_next(f);
}

static void fault_slice_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[f->step] = status;
	f->done++;
	fault_next(f);
}

static void fault_read_done(void *arg, uint32_t status)
{
	struct fixture *f = arg;

	f->status[f->step] = status;
	f->done++;
	if (status == RPC_STATUS_OK && f->got != f->size)
		f->bad++;
	fault_next(f);
}

static const struct client_slice_cbs fault_slice_cbs = { slice_on_drain,
							 fault_slice_done };
static const struct client_read_cbs fault_read_cbs = { read_on_data,
						       fault_read_done };

#if defined(__SANITIZE_THREAD__)
#define FAULT_RUN_MAX 1 /* one thread only: nothing new to see there */
#else
#define FAULT_RUN_MAX 3
#endif

/* A mutation, a slice, a read; what cannot even start counts as an end. */
static void fault_next(struct fixture *f)
{
	struct client_read_spec spec = { .ino = INO, .len = 5000000 };
	struct rpc_close m = { .ino = INO };
	bool begun = false;

	while (!begun) {
		f->step++;
		if (f->step == 1) {
			mem_fault_hook = fault_hook;
			begun = CLIENT_SEND(client0(f), close, 3, &m,
					    fault_call_done, f) != NULL;
		} else if (f->step == 2) {
			f->slice = client_slice_new(client0(f), 3,
						    &fault_slice_cbs, f);
			begun = f->slice != NULL;
			if (begun)
				slice_feed(f);
		} else if (f->step == 3 && f->slice != NULL) {
			f->ext[0][0] = (struct wire_extent){
				.len = f->size, .kind = WIRE_EXT_CHUNKS,
				.slice = client_slice_id(f->slice) };
			f->n_ext[0] = 1;
			f->pauses = 0;
			f->read = client_read_start(client0(f), &spec,
						    &fault_read_cbs, f);
			begun = f->read != NULL;
		} else {
			mem_fault_hook = NULL;
			fixture_finish(f);
			return;
		}
		if (!begun)
			f->done++;
	}
}

static void test_faults(void **state)
{
	unsigned points = 0;

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		for (fault_n = 1; fault_n <= FAULT_RUN_MAX; fault_n++) {
			for (fault_at = 0;; fault_at++) {
				struct fixture *f = fixture_new();

				f->local = local;
				f->size = 5000000;
				f->cover = WIRE_REGION;
				f->timeout_ms = 500;
				f->data = calloc(1, FILE_MAX);
				fault_count = 0;
				fixture_run(f, fault_next);
				assert_in_range(f->done, 2, 3);
				assert_int_equal(f->bad, 0);
				points++;
				free(f);
				if (fault_count <= fault_at)
					break;
			}
		}
	}
	print_message("# %u points\n", points);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slice),
		cmocka_unit_test(test_slice_expect),
		cmocka_unit_test(test_slice_error),
		cmocka_unit_test(test_slice_freed_early),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_starves),
		cmocka_unit_test(test_write_starves),
		cmocka_unit_test(test_missing_chunk),
		cmocka_unit_test(test_version_gone),
		cmocka_unit_test(test_no_progress),
		cmocka_unit_test(test_faults),
	};

	return fixture_main(tests);
}
