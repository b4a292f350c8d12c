/*
 * Fuzz target: a request head on its way to the routes: head, names, query,
 * signature (header and presigned), with a clock of 2013-05-24 (the time of
 * the published examples). Properties: a refusal or the one key that exists;
 * unsigned bodies and hashes only where the head says so.
 */
#include "tests/fuzz/fuzz.h"

#include "common/http/http_impl.h"
#include "gateway/s3_auth.h"
#include "gateway/s3_time.h"

#define ACCESS "AKIAIOSFODNN7EXAMPLE"

static bool secret_of(void *arg, struct wire_bytes access,
		      struct wire_bytes *ret)
{
	(void)arg;
	if (!wire_bytes_eq(access, wire_cstr(ACCESS)))
		return false;
	*ret = wire_cstr("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
	return true;
}

static void check(struct s3_auth *auth, const struct http_head *head)
{
	uint8_t *names = malloc(head->path.len + 64);
	uint8_t *scratch = malloc(head->query.len + 1);
	struct s3_query query;
	struct s3_name name;
	struct s3_auth_request req = {
		.method = head->method,
		.path = head->path,
		.headers = head->headers,
		.n_headers = head->n_headers,
		.query = &query,
		.has_body = head->chunked || head->content_length > 0,
		.region = wire_cstr("us-east-1"),
		.service = "s3",
	};
	struct s3_auth_result result = { .presigned = false };

	FUZZ_MUST(names != NULL && scratch != NULL);
	FUZZ_MUST(s3_time_parse_amz(wire_cstr("20130524T000000Z"),
				    &req.now_sec) == 0);
	if (s3_uri_parse(head->path, wire_bytes(NULL, 0), NULL, names,
			 &name) == 0 &&
	    s3_query_parse(head->query, scratch, &query) == 0) {
		enum s3_err e = s3_auth_check(auth, &req, secret_of, NULL,
					      &result);

		FUZZ_MUST(strlen(result.access) <= S3_AUTH_ACCESS_MAX);
		FUZZ_MUST(e != S3_OK || strcmp(result.access, ACCESS) == 0);
		FUZZ_MUST(strlen(result.seed.scope) < S3_AUTH_SCOPE_MAX);
	}
	free(names);
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_header headers[HTTP_HEADERS_MAX];
	static struct s3_auth *auth;
	struct http_head head;
	const uint8_t *end = size < 4 ? NULL :
					memmem(data, size, "\r\n\r\n", 4);
	char *copy;

	if (auth == NULL)
		FUZZ_MUST(s3_auth_new(&auth) == 0);
	if (end == NULL)
		return 0;
	size = (size_t)(end - data) + 4;
	copy = (char *)fuzz_copy(wire_bytes(data, size));
	if (http_head_parse(copy, size, &head, headers) == 0)
		check(auth, &head);
	free(copy);
	return 0;
}
