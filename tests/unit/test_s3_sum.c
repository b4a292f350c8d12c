/* Checksums: known answers, pieces, combination, texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "gateway/s3_sum.h"

static void test_check_values(void **state)
{
	(void)state;
	assert_int_equal(s3_crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(s3_crc32c(0, "123456789", 9), 0xe3069283);
	assert_true(s3_crc64nvme(0, "123456789", 9) == 0xae8b14860a799888ull);
	assert_int_equal(s3_crc32(0, "", 0), 0);
	assert_true(s3_crc64nvme(0, "", 0) == 0);
}

static uint64_t crc64_slow(const uint8_t *p, size_t len)
{
	uint64_t v = ~0ull;

	for (size_t i = 0; i < len; i++) {
		v ^= p[i];
		for (int k = 0; k < 8; k++)
			v = (v & 1) != 0 ? v >> 1 ^ 0x9a6c9329ac4bc9b5ull :
					   v >> 1;
	}
	return ~v;
}

static void test_crc64_lengths(void **state)
{
	uint8_t data[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 167 + i / 7);
	for (size_t len = 0; len < sizeof(data); len++) {
		uint64_t want = crc64_slow(data, len);
		uint64_t two = s3_crc64nvme(0, data, len / 3);

		assert_true(s3_crc64nvme(0, data, len) == want);
		assert_true(s3_crc64nvme(two, data + len / 3, len - len / 3) ==
			    want);
	}
}

static void test_stream(void **state)
{
	const unsigned all = S3_SUM_BIT_MD5 | S3_SUM_BIT_PAYLOAD |
			     ((1u << S3_SUM_COUNT) - 1);
	unsigned seed = (unsigned)time(NULL);
	uint8_t data[5000];
	struct s3_sums *one, *many;
	char text[S3_SUM_TEXT_MAX], hex[65];

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rand();
	assert_int_equal(s3_sums_new(all, &one), 0);
	assert_int_equal(s3_sums_new(all, &many), 0);
	for (int round = 0; round < 50; round++) {
		size_t len = (size_t)rand() % sizeof(data), at = 0;

		s3_sums_reset(one);
		s3_sums_reset(many);
		s3_sums_update(one, data, len);
		while (at < len) {
			size_t n = 1 + (size_t)rand() % (len - at);

			s3_sums_update(many, data + at, n);
			at += n;
		}
		s3_sums_final(one);
		s3_sums_final(many);
		assert_memory_equal(s3_sums_md5(one), s3_sums_md5(many), 16);
		assert_memory_equal(s3_sums_payload(one), s3_sums_payload(many),
				    32);
		for (enum s3_sum_alg a = 0; a < S3_SUM_COUNT; a++)
			assert_memory_equal(s3_sums_value(one, a),
					    s3_sums_value(many, a),
					    s3_sum_info(a)->len);
	}
	s3_sums_reset(one);
	s3_sums_update(one, "hello", 5);
	s3_sums_final(one);
	s3_hex(s3_sums_md5(one), 16, hex);
	assert_string_equal(hex, "5d41402abc4b2a76b9719d911017c592");
	s3_base64(s3_sums_value(one, S3_SUM_CRC32), 4, text);
	assert_string_equal(text, "NhCmhg==");
	s3_base64(s3_sums_value(one, S3_SUM_SHA1), 20, text);
	assert_string_equal(text, "qvTGHdzF6KLavt4PO0gs2a6pQ00=");
	s3_base64(s3_sums_value(one, S3_SUM_SHA256), 32, text);
	assert_string_equal(text,
			    "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
	s3_sums_free(one);
	s3_sums_free(many);
}

static void test_combine(void **state)
{
	static const enum s3_sum_alg algs[] = { S3_SUM_CRC32, S3_SUM_CRC32C,
						S3_SUM_CRC64NVME };
	uint8_t data[3000];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i >> 3);
	for (size_t k = 0; k < 3; k++)
		for (size_t cut = 0; cut <= sizeof(data); cut += 250) {
			struct s3_sums *a, *b, *ab;
			unsigned bit = S3_SUM_BIT(algs[k]);
			uint8_t got[8];

			assert_int_equal(s3_sums_new(bit, &a), 0);
			assert_int_equal(s3_sums_new(bit, &b), 0);
			assert_int_equal(s3_sums_new(bit, &ab), 0);
			s3_sums_update(a, data, cut);
			s3_sums_update(b, data + cut, sizeof(data) - cut);
			s3_sums_update(ab, data, sizeof(data));
			s3_sums_final(a);
			s3_sums_final(b);
			s3_sums_final(ab);
			s3_crc_combine(algs[k], s3_sums_value(a, algs[k]),
				       s3_sums_value(b, algs[k]),
				       sizeof(data) - cut, got);
			assert_memory_equal(got, s3_sums_value(ab, algs[k]),
					    s3_sum_info(algs[k])->len);
			s3_sums_free(a);
			s3_sums_free(b);
			s3_sums_free(ab);
		}
}

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(s3_sum_find(wire_cstr("CRC64NVME")),
			 S3_SUM_CRC64NVME);
	assert_int_equal(s3_sum_find(wire_cstr("crc32c")), S3_SUM_CRC32C);
	assert_int_equal(s3_sum_find(wire_cstr("XXH3")), S3_SUM_NONE);
	assert_int_equal(s3_sum_find_header(wire_cstr("X-Amz-Checksum-SHA1")),
			 S3_SUM_SHA1);
	assert_int_equal(s3_sum_find_header(wire_cstr("x-amz-checksum-mode")),
			 S3_SUM_NONE);
}

static void test_texts(void **state)
{
	uint8_t out[32];
	char text[65];

	(void)state;
	for (size_t n = 0; n <= 32; n++) {
		uint8_t in[32] = { 0 };
		size_t len;

		for (size_t i = 0; i < n; i++)
			in[i] = (uint8_t)(i * 37 + 200);
		len = s3_base64(in, n, text);
		assert_int_equal(len, strlen(text));
		assert_int_equal(s3_base64_decode(wire_bytes(text, len), out,
						  n), 0);
		assert_memory_equal(in, out, n);
		s3_hex(in, n, text);
		if (n < 31) {
			assert_int_equal(s3_hex_decode(wire_cstr(text), out,
						       n), 0);
			assert_memory_equal(in, out, n);
		}
	}
	assert_int_equal(s3_base64_decode(wire_cstr("NhCmhg=="), out, 4), 0);
	assert_int_equal(s3_base64_decode(wire_cstr("NhCmhh=="), out, 4),
			 -22); /* spare bits */
	assert_int_equal(s3_base64_decode(wire_cstr("NhCmhg="), out, 4), -22);
	assert_int_equal(s3_base64_decode(wire_cstr("NhCm hg="), out, 4), -22);
	assert_int_equal(s3_base64_decode(wire_cstr("NhCmhgAA"), out, 4), -22);
	assert_int_equal(s3_hex_decode(wire_cstr("0g"), out, 1), -22);
	assert_int_equal(s3_hex_decode(wire_cstr("000"), out, 1), -22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_values),
		cmocka_unit_test(test_crc64_lengths),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_combine),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
