#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/ring/ring.h"

static const struct ring_store stores[2] = {
	{ .id = { 1, 2 }, .weight = 1 }, { .id = { 3, 4 }, .weight = 1 },
};

static void test_one_store(void **state)
{
	struct ring *r;
	struct buf b;
	unsigned hit[RING_Q] = { 0 };
	double chi = 0;

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(ring_build_encoded(stores, 1, 1, 9, &b), 0);
	assert_int_equal(ring_decode(wire_bytes(b.data, b.len), &r), 0);
	assert_int_equal(r->epoch, 9);
	assert_int_equal(r->partitions, RING_Q);
	assert_int_equal(r->n_stores, 1);
	for (uint32_t i = 0; i < 102400; i++) {
		struct wire_u128 slice = { 7, i / 4 };
		struct wire_u128 owner = ring_owner(r, slice, i % 4, 0);

		assert_true(owner.hi == 1 && owner.lo == 2);
		hit[ring_partition(r, slice, i % 4)]++;
	}
	/* chi squared, 1023 degrees of freedom: mean 1023, deviation 45 */
	for (unsigned i = 0; i < RING_Q; i++)
		chi += ((double)hit[i] - 100) * ((double)hit[i] - 100) / 100;
	assert_true(chi > 1023 - 6 * 45 && chi < 1023 + 6 * 45);
	ring_free(r);
	buf_fini(&b);
}

static void test_refusals(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(ring_build_encoded(stores, 0, 1, 1, &b), -EINVAL);
	assert_int_equal(ring_build_encoded(stores, 1, 2, 1, &b), -EINVAL);
	assert_int_equal(ring_build_encoded(stores, 2, 1, 1, &b), -ENOTSUP);
	buf_fini(&b);
}

/* Cut or damaged bytes never crash and never index outside. */
static void test_damage(void **state)
{
	struct ring *r;
	struct buf b;
	char sum[9], sum2[9];

	(void)state;
	buf_init(&b, 0);
	assert_int_equal(ring_build_encoded(stores, 1, 1, 9, &b), 0);
	ring_checksum_text(wire_bytes(b.data, b.len), sum);
	assert_int_equal(strlen(sum), 8);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *p = mem_dup(b.data, n);

		assert_int_equal(ring_decode(wire_bytes(p, n), &r), -EBADMSG);
		mem_free(p);
	}
	for (size_t i = 0; i < b.len; i++) {
		b.data[i] ^= 0x55;
		ring_checksum_text(wire_bytes(b.data, b.len), sum2);
		assert_string_not_equal(sum, sum2);
		if (ring_decode(wire_bytes(b.data, b.len), &r) == 0)
			ring_free(r);
		b.data[i] ^= 0x55;
	}
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_store),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
