#include "gateway/s3_chunked.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"

/*
 *   SIZE -> DATA -> DATA_CR -> DATA_LF -> SIZE ...     a chunk
 *   SIZE -> TRAILER -> DONE                            the chunk of size 0
 * In SIZE and TRAILER a line is collected in c->line.
 */
enum s3_chunked_state {
	S3_CHUNKED_SIZE,
	S3_CHUNKED_DATA,
	S3_CHUNKED_DATA_CR,
	S3_CHUNKED_DATA_LF,
	S3_CHUNKED_TRAILER,
	S3_CHUNKED_DONE,
};

#define S3_CHUNKED_LINE 160
#define S3_CHUNKED_TRAILER_MAX 1024
#define S3_EMPTY_SHA \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct s3_chunked {
	struct s3_chunked_config config;
	enum s3_chunked_state state;
	uint64_t left;           /* of this chunk */
	uint64_t decoded;        /* bytes given out */
	char line[S3_CHUNKED_LINE];
	size_t line_len;
	size_t trailer_bytes;    /* bytes seen of it */
	char claim[65];          /* signature in this chunk's header */
	char prev[65];           /* the one before it in the chain */
	struct s3_sha *data_sha; /* of this chunk's bytes; NULL when unsigned */
	struct s3_sha *sha;      /* for all else */
	char trailer[S3_SUM_TEXT_MAX + 64]; /* "name:value\n" as signed */
	size_t trailer_len;
	char sum[S3_SUM_TEXT_MAX];
	size_t sum_len;
	bool trailer_signed;
	enum s3_err err; /* sticky */
};

int s3_chunked_new(const struct s3_chunked_config *config,
		   struct s3_chunked **ret_chunked)
{
	struct s3_chunked *c = mem_zalloc(sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	c->config = *config;
	if (config->is_signed) {
		memcpy(c->prev, config->seed.signature, sizeof(c->prev));
		if (s3_sha_new(&c->data_sha) != 0 || s3_sha_new(&c->sha) != 0) {
			s3_chunked_free(c);
			return -ENOMEM;
		}
	}
	*ret_chunked = c;
	return 0;
}

void s3_chunked_free(struct s3_chunked *c)
{
	if (c == NULL)
		return;
	s3_sha_free(c->data_sha);
	s3_sha_free(c->sha);
	OPENSSL_cleanse(&c->config.seed, sizeof(c->config.seed));
	mem_free(c);
}

/* One link of the chain: kind, what is signed, and the claimed signature. */
static bool s3_chunked_verify(struct s3_chunked *c, const char *kind,
			      const char *empty, const uint8_t hash[32],
			      const char *claim)
{
	char text[512], hex[65];
	uint8_t want[32], got[32];
	int n;

	s3_hex(hash, 32, hex);
	n = snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n%s%s", kind,
		     c->config.seed.date, c->config.seed.scope, c->prev, empty,
		     hex);
	assert(n > 0 && (size_t)n < sizeof(text));
	s3_hmac(c->sha, c->config.seed.key, 32, text, (size_t)n, want);
	if (s3_hex_decode(wire_bytes(claim, 64), got, 32) != 0 ||
	    !s3_equal(want, got, sizeof(want)))
		return false;
	s3_hex(want, 32, c->prev);
	return true;
}

static bool s3_chunked_verify_chunk(struct s3_chunked *c)
{
	uint8_t hash[32];

	if (!c->config.is_signed)
		return true;
	s3_sha_end(c->data_sha, hash);
	return s3_chunked_verify(c, "AWS4-HMAC-SHA256-PAYLOAD",
				 S3_EMPTY_SHA "\n", hash, c->claim);
}

/* "1000;chunk-signature=..." without the line end */
static enum s3_err s3_chunked_header(struct s3_chunked *c)
{
	static const char ext[] = ";chunk-signature=";
	const char *p = c->line, *end = p + c->line_len;
	uint64_t size = 0;

	for (; p < end && *p != ';'; p++) {
		uint8_t digit;
		char two[2] = { '0', *p };

		if (p - c->line >= 16 ||
		    s3_hex_decode(wire_bytes(two, 2), &digit, 1) != 0)
			return S3_ERR_INVALID_CHUNK_SIZE;
		size = size << 4 | digit;
	}
	if (p == c->line)
		return S3_ERR_INVALID_CHUNK_SIZE;
	if (c->config.is_signed) {
		if ((size_t)(end - p) != sizeof(ext) - 1 + 64 ||
		    memcmp(p, ext, sizeof(ext) - 1) != 0)
			return S3_ERR_SIGNATURE_MISMATCH;
		memcpy(c->claim, p + sizeof(ext) - 1, 64);
		s3_sha_begin(c->data_sha);
	} else if (p != end) {
		return S3_ERR_INVALID_CHUNK_SIZE;
	}
	if (size > c->config.decoded_len - c->decoded)
		return S3_ERR_INCOMPLETE_BODY; /* more than promised */
	c->left = size;
	c->state = S3_CHUNKED_DATA;
	if (size == 0) {
		if (!s3_chunked_verify_chunk(c))
			return S3_ERR_SIGNATURE_MISMATCH;
		c->state = S3_CHUNKED_TRAILER;
	}
	return S3_OK;
}

static enum s3_err s3_chunked_trailer_sum(struct s3_chunked *c,
					  struct wire_bytes name,
					  struct wire_bytes value)
{
	enum s3_sum_alg alg = s3_sum_find_header(name);

	if (alg == S3_SUM_NONE || alg != c->config.expect ||
	    c->trailer_len != 0 || c->trailer_signed ||
	    value.len == 0 || value.len >= S3_SUM_TEXT_MAX)
		return S3_ERR_MALFORMED_TRAILER;
	memcpy(c->sum, value.p, value.len);
	c->sum_len = value.len;
	for (size_t i = 0; i < name.len; i++)
		c->trailer[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ?
					       name.p[i] | 0x20 :
					       name.p[i]);
	c->trailer_len = name.len;
	c->trailer[c->trailer_len++] = ':';
	memcpy(c->trailer + c->trailer_len, value.p, value.len);
	c->trailer_len += value.len;
	c->trailer[c->trailer_len++] = '\n';
	return S3_OK;
}

static enum s3_err s3_chunked_trailer_end(struct s3_chunked *c)
{
	bool wanted = c->config.expect != S3_SUM_NONE;

	/* One client library writes "name:value\n\r\n" and then the signature:
	 * the empty line before the signature is not the end. */
	if (c->config.is_signed && c->config.trailer && c->trailer_len > 0 &&
	    !c->trailer_signed)
		return S3_OK;
	if (wanted && c->sum_len == 0)
		return S3_ERR_MALFORMED_TRAILER;
	c->state = S3_CHUNKED_DONE;
	return S3_OK;
}

/* A line of the trailer without its end. */
static enum s3_err s3_chunked_trailer(struct s3_chunked *c)
{
	static const char sig[] = "x-amz-trailer-signature";
	const char *colon = memchr(c->line, ':', c->line_len);
	struct wire_bytes name, value;
	uint8_t hash[32];

	if (c->line_len == 0)
		return s3_chunked_trailer_end(c);
	if (!c->config.trailer || colon == NULL)
		return S3_ERR_MALFORMED_TRAILER;
	name = wire_bytes(c->line, (size_t)(colon - c->line));
	value = wire_bytes(colon + 1, c->line_len - name.len - 1);
	while (value.len > 0 && *value.p == ' ') {
		value.p++;
		value.len--;
	}
	while (value.len > 0 && value.p[value.len - 1] == ' ')
		value.len--;
	if (name.len != sizeof(sig) - 1 ||
	    strncasecmp((const char *)name.p, sig, name.len) != 0)
		return s3_chunked_trailer_sum(c, name, value);
	if (!c->config.is_signed || c->trailer_signed || value.len != 64)
		return S3_ERR_MALFORMED_TRAILER;
	s3_sha256(c->sha, c->trailer, c->trailer_len, hash);
	if (!s3_chunked_verify(c, "AWS4-HMAC-SHA256-TRAILER", "", hash,
			       (const char *)value.p))
		return S3_ERR_SIGNATURE_MISMATCH;
	c->trailer_signed = true;
	return S3_OK;
}

/* Takes one byte of a line; a whole one is handed on. */
static enum s3_err s3_chunked_line(struct s3_chunked *c, uint8_t byte)
{
	bool trailer = c->state == S3_CHUNKED_TRAILER;
	enum s3_err bad = trailer ? S3_ERR_MALFORMED_TRAILER :
				    S3_ERR_INVALID_CHUNK_SIZE;
	enum s3_err e;
	bool cr;

	if (trailer && ++c->trailer_bytes > S3_CHUNKED_TRAILER_MAX)
		return bad;
	if (byte != '\n') {
		if (c->line_len == sizeof(c->line))
			return bad;
		c->line[c->line_len++] = (char)byte;
		return S3_OK;
	}
	cr = c->line_len > 0 && c->line[c->line_len - 1] == '\r';
	if (cr)
		c->line_len--;
	else if (!trailer || c->line_len == 0)
		return bad; /* bare LF only behind a trailer's value */
	if (memchr(c->line, '\r', c->line_len) != NULL ||
	    memchr(c->line, 0, c->line_len) != NULL)
		return bad;
	e = trailer ? s3_chunked_trailer(c) : s3_chunked_header(c);
	c->line_len = 0;
	return e;
}

/* One step at data[*in]; data bytes are moved to data[*out]. */
static enum s3_err s3_chunked_step(struct s3_chunked *c, uint8_t *data,
				   size_t len, size_t *in, size_t *out)
{
	size_t n;

	switch (c->state) {
	case S3_CHUNKED_SIZE:
	case S3_CHUNKED_TRAILER:
		return s3_chunked_line(c, data[(*in)++]);
	case S3_CHUNKED_DATA:
		n = len - *in < c->left ? len - *in : (size_t)c->left;
		if (c->data_sha != NULL)
			s3_sha_add(c->data_sha, data + *in, n);
		if (*in != *out)
			memmove(data + *out, data + *in, n);
		*in += n;
		*out += n;
		c->left -= n;
		c->decoded += n;
		if (c->left == 0)
			c->state = S3_CHUNKED_DATA_CR;
		return S3_OK;
	case S3_CHUNKED_DATA_CR:
		c->state = S3_CHUNKED_DATA_LF;
		return data[(*in)++] == '\r' ? S3_OK :
					       S3_ERR_INVALID_CHUNK_SIZE;
	case S3_CHUNKED_DATA_LF:
		c->state = S3_CHUNKED_SIZE;
		if (data[(*in)++] != '\n')
			return S3_ERR_INVALID_CHUNK_SIZE;
		return s3_chunked_verify_chunk(c) ? S3_OK :
						    S3_ERR_SIGNATURE_MISMATCH;
	case S3_CHUNKED_DONE:
		break;
	}
	return S3_ERR_INCOMPLETE_BODY; /* bytes behind the end */
}

enum s3_err s3_chunked_feed(struct s3_chunked *c, uint8_t *data, size_t len,
			    size_t *ret_len)
{
	size_t in = 0, out = 0;

	while (in < len && c->err == S3_OK)
		c->err = s3_chunked_step(c, data, len, &in, &out);
	*ret_len = out;
	return c->err;
}

enum s3_err s3_chunked_end(struct s3_chunked *c)
{
	if (c->err != S3_OK)
		return c->err;
	if (c->state != S3_CHUNKED_DONE ||
	    c->decoded != c->config.decoded_len)
		return S3_ERR_INCOMPLETE_BODY;
	return S3_OK;
}

struct wire_bytes s3_chunked_sum(const struct s3_chunked *c)
{
	return wire_bytes(c->sum, c->sum_len);
}
