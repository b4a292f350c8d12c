/*
 * Fuzz target: the three XML documents that clients send; the first byte picks
 * one. Properties: counts and texts within their bounds.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "gateway/s3_xml.h"

static void read_delete(const uint8_t *p, size_t len)
{
	struct s3_xml_delete d;
	int rv = s3_xml_read_delete(p, len, &d);
	size_t sum = 0;

	FUZZ_MUST(rv == 0 || rv == -EINVAL || rv == -ENOMEM);
	if (rv != 0)
		return;
	FUZZ_MUST(d.n_keys <= S3_XML_DELETE_MAX);
	for (unsigned i = 0; i < d.n_keys; i++) {
		const struct s3_xml_delete_key *k = &d.keys[i];

		sum += k->key.len + k->version.len + k->etag.len +
		       k->mtime.len + k->size.len;
		(void)s3_xml_carries(k->key);
	}
	FUZZ_MUST(sum <= d.pool.len);
	s3_xml_delete_fini(&d);
}

static void read_complete(const uint8_t *p, size_t len)
{
	struct s3_xml_complete c;
	int rv = s3_xml_read_complete(p, len, &c);

	FUZZ_MUST(rv == 0 || rv == -EINVAL || rv == -ENOMEM);
	if (rv != 0)
		return;
	FUZZ_MUST(c.n_parts <= S3_XML_PARTS_MAX);
	for (unsigned i = 0; i < c.n_parts; i++) {
		FUZZ_MUST(c.parts[i].number >= 1 &&
			  c.parts[i].number <= 10000);
		FUZZ_MUST(c.parts[i].etag.len <= c.pool.len);
	}
	s3_xml_complete_fini(&c);
}

static void read_location(const uint8_t *p, size_t len)
{
	char text[65];
	int rv;

	memset(text, 'x', sizeof(text));
	rv = s3_xml_read_location(p, len, text, sizeof(text));
	FUZZ_MUST(rv == 0 || rv == -EINVAL || rv == -ENOMEM);
	FUZZ_MUST(rv != 0 || memchr(text, 0, sizeof(text)) != NULL);
}

/* What we write of any text is what a reader gets back. */
static void write_text(struct wire_bytes text)
{
	struct s3_xml_delete d;
	struct buf out;

	if (!s3_xml_carries(text) || text.len == 0)
		return;
	buf_init(&out, 0);
	s3_xml_open_top(&out, "Delete");
	s3_xml_open(&out, "Object");
	s3_xml_element(&out, "Key", text);
	s3_xml_close(&out, "Object");
	s3_xml_close(&out, "Delete");
	if (text.len <= 1024) {
		FUZZ_MUST(s3_xml_read_delete(out.data, out.len, &d) == 0);
		FUZZ_MUST(d.n_keys == 1 && wire_bytes_eq(d.keys[0].key, text));
		s3_xml_delete_fini(&d);
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t pick = fuzz_u8(&in);

	switch (pick % 4) {
	case 0:
		read_delete(in.p, in.left);
		break;
	case 1:
		read_complete(in.p, in.left);
		break;
	case 2:
		read_location(in.p, in.left);
		break;
	default:
		write_text(fuzz_rest(&in));
		break;
	}
	return 0;
}
