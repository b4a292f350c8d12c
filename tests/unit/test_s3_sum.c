/* Checksums: known answers, pieces, combination, texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "gateway/s3_md5.h"
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

static void md5_of(const void *data, size_t len, uint8_t out[16])
{
	assert_int_equal(EVP_Digest(data, len, out, NULL, EVP_md5(), NULL), 1);
}

static void test_md5_lengths(void **state)
{
	uint8_t data[300], want[16], got[16];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 151 + i / 3);
	for (size_t len = 0; len <= sizeof(data); len++)
		for (size_t cut = 0; cut <= len; cut += 7) {
			struct s3_md5 m;

			s3_md5_init(&m);
			s3_md5_add(&m, data, cut);
			s3_md5_add(&m, data + cut, len - cut);
			s3_md5_end(&m, got);
			md5_of(data, len, want);
			assert_memory_equal(got, want, 16);
		}
}

#define MANY 40

/* Streams of any lengths, fed side by side in pieces of any lengths. */
static void test_md5_many(void **state)
{
	static uint8_t data[MANY][3000];
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (int round = 0; round < 60; round++) {
		size_t n = (size_t)rand() % (MANY + 1), at[MANY] = { 0 };
		struct s3_md5 m[MANY];
		uint8_t want[16], got[16];

		for (size_t i = 0; i < n; i++) {
			s3_md5_init(&m[i]);
			for (size_t k = 0; k < sizeof(data[i]); k++)
				data[i][k] = (uint8_t)rand();
		}
		for (int piece = 0; piece < 4; piece++) {
			struct s3_md5_run run[MANY];

			for (size_t i = 0; i < n; i++) {
				size_t left = sizeof(data[i]) - at[i];
				size_t len = (size_t)rand() % (left + 1);

				run[i] = (struct s3_md5_run){
					rand() % 8 == 0 ? NULL : &m[i],
					data[i] + at[i], len };
				if (run[i].md5 != NULL)
					at[i] += len;
			}
			s3_md5_add_many(run, n);
		}
		for (size_t i = 0; i < n; i++) {
			s3_md5_end(&m[i], got);
			md5_of(data[i], at[i], want);
			assert_memory_equal(got, want, 16);
		}
	}
}

/* All digests of many streams at once are those of each alone. */
static void test_stream_many(void **state)
{
	const unsigned all = S3_SUM_BIT_MD5 | S3_SUM_BIT_PAYLOAD |
			     ((1u << S3_SUM_COUNT) - 1);
	struct s3_sums_run run[S3_SUMS_MANY];
	uint8_t data[S3_SUMS_MANY][700];

	(void)state;
	for (unsigned i = 0; i < S3_SUMS_MANY; i++) {
		struct s3_sums *s = NULL;
		unsigned bits = i % 3 == 0 ? S3_SUM_BIT_PAYLOAD : all;

		memset(data[i], (int)i + 1, sizeof(data[i]));
		if (i != 5)
			assert_int_equal(s3_sums_new(bits, &s), 0);
		run[i] = (struct s3_sums_run){ s, data[i], i * 40 };
	}
	s3_sums_update_many(run, S3_SUMS_MANY);
	s3_sums_update_many(run, 3);
	for (unsigned i = 0; i < S3_SUMS_MANY; i++) {
		struct s3_sums *one;

		if (run[i].sums == NULL)
			continue;
		assert_int_equal(s3_sums_new(all, &one), 0);
		s3_sums_update(one, data[i], run[i].len);
		if (i < 3)
			s3_sums_update(one, data[i], run[i].len);
		s3_sums_final(one);
		s3_sums_final(run[i].sums);
		assert_memory_equal(s3_sums_payload(one),
				    s3_sums_payload(run[i].sums), 32);
		if (i % 3 != 0)
			assert_memory_equal(s3_sums_md5(one),
					    s3_sums_md5(run[i].sums), 16);
		s3_sums_free(one);
		s3_sums_free(run[i].sums);
	}
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
		cmocka_unit_test(test_md5_lengths),
		cmocka_unit_test(test_md5_many),
		cmocka_unit_test(test_stream_many),
		cmocka_unit_test(test_combine),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
