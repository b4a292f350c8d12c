/* The crews that hash for all loops, on real loops and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "common/base/loop.h"

#include "gateway/gw_hash.h"

enum { LOOPS = 3, STREAMS = 6, PIECES = 12, PIECE_MAX = 100000 };

struct test;

/* One body: its pieces one after the other. */
struct stream {
	struct test *t;
	struct env *env;
	struct s3_sums *sums;
	EVP_MD_CTX *want; /* the MD5 by somebody else */
	struct gw_hash_job job;
	struct env_task begin;
	unsigned pieces;
	bool decoded; /* every other one loses its first byte on the worker */
	bool bad;
	uint8_t data[PIECE_MAX];
};

struct test {
	struct loop_set *set;
	struct gw_hash *hash;
	struct stream *streams[LOOPS * STREAMS];
	unsigned left; /* atomic: streams that are not done */
};

static void stream_decode(struct gw_hash_job *job)
{
	memmove(job->data, job->data + 1, --job->len);
}

static void stream_next(struct stream *s)
{
	struct gw_hash_job *job = &s->job;
	/* rand() is of all threads: a step of our own */
	size_t len = 1 + (s->pieces * 7919u + (size_t)(s->data[0] + 1) * 331u) %
				 PIECE_MAX;

	for (size_t i = 0; i < len; i++)
		s->data[i] = (uint8_t)(s->data[i] * 5 + i + s->pieces);
	job->len = len;
	if (EVP_DigestUpdate(s->want, s->data + s->decoded,
			     len - s->decoded) != 1)
		s->bad = true;
	gw_hash_add(s->t->hash, job);
}

static void stream_done(struct gw_hash_job *job)
{
	struct stream *s = CONTAINER_OF(job, struct stream, job);

	if (!loop_is_current(loop_of(s->env)))
		s->bad = true;
	if (++s->pieces < PIECES)
		stream_next(s);
	else if (__atomic_sub_fetch(&s->t->left, 1, __ATOMIC_ACQ_REL) == 0)
		loop_set_stop(s->t->set);
}

static void stream_begin(struct env_task *task)
{
	stream_next(CONTAINER_OF(task, struct stream, begin));
}

static void stream_make(struct test *t, unsigned i)
{
	struct stream *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	t->streams[i] = s;
	s->t = t;
	s->env = loop_env(loop_set_get(t->set, i % LOOPS));
	s->decoded = i % 2 != 0;
	memset(s->data, rand(), sizeof(s->data));
	assert_int_equal(s3_sums_new(S3_SUM_BIT_MD5, &s->sums), 0);
	s->want = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestInit_ex(s->want, EVP_md5(), NULL), 1);
	s->job = (struct gw_hash_job){
		.env = s->env,
		.sums = s->sums,
		.data = s->data,
		.prepare = s->decoded ? stream_decode : NULL,
		.done = stream_done,
	};
	s->begin.run = stream_begin;
	env_post(s->env, &s->begin);
}

static void stream_check(struct stream *s)
{
	uint8_t want[16];

	assert_false(s->bad);
	assert_int_equal(s->pieces, PIECES);
	assert_int_equal(EVP_DigestFinal_ex(s->want, want, NULL), 1);
	s3_sums_final(s->sums);
	assert_memory_equal(s3_sums_md5(s->sums), want, 16);
	EVP_MD_CTX_free(s->want);
	s3_sums_free(s->sums);
	free(s);
}

static void test_crews(void **state)
{
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (unsigned crews = 1; crews <= 3; crews++) {
		struct test t = { .left = LOOPS * STREAMS };

		assert_int_equal(loop_set_new(LOOPS, 0, &t.set), 0);
		assert_int_equal(gw_hash_new(crews, &t.hash), 0);
		for (unsigned i = 0; i < LOOPS * STREAMS; i++)
			stream_make(&t, i);
		loop_set_run(t.set);
		for (unsigned i = 0; i < LOOPS * STREAMS; i++)
			stream_check(t.streams[i]);
		gw_hash_free(t.hash);
		loop_set_free(t.set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crews),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
