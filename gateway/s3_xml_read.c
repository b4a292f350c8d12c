/*
 * The reading half of s3_xml.h: one expat handler set that keeps the path of
 * element names and the text of the innermost one, and asks the document's own
 * functions what an element means. Documents are flat: top, records, fields.
 */
#include "gateway/s3_xml.h"

#include <errno.h>
#include <expat.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"

#define S3_XML_TEXT_MAX 4096 /* of one field; a key is at most 1,024 bytes */

struct s3_xml_reader {
	XML_Parser parser;
	const char *top; /* name the document must have */
	void *doc;
	/* begin/end of a child of the top element; field of such a child.
	 * Return 0, -EINVAL, -ENOMEM. */
	int (*record)(void *doc, const char *name, bool end);
	int (*field)(void *doc, const char *record, const char *name,
		     struct wire_bytes text);
	char record_name[40];
	char field_name[40];
	unsigned depth; /* elements that are open */
	bool text_on;   /* innermost open element may have text */
	struct buf text;
	int err;
};

static void s3_xml_fail(struct s3_xml_reader *r, int err)
{
	if (r->err == 0)
		r->err = err;
	XML_StopParser(r->parser, XML_FALSE);
}

/* The name behind the namespace separator or prefix; long ones, which we do
 * not know, become "". */
static void s3_xml_local(const char *name, char out[40])
{
	const char *colon = strrchr(name, ':');
	size_t n;

	if (colon != NULL)
		name = colon + 1;
	n = strlen(name);
	if (n >= 40)
		n = 0;
	memcpy(out, name, n);
	out[n] = '\0';
}

static void s3_xml_start_cb(void *arg, const XML_Char *name,
			    const XML_Char **atts)
{
	struct s3_xml_reader *r = arg;
	char local[40];
	int rv = 0;

	(void)atts; /* xmlns and xsi:type only */
	s3_xml_local(name, local);
	r->depth++;
	buf_reset(&r->text);
	r->text_on = true;
	if (r->depth > S3_XML_DEPTH_MAX)
		rv = -EINVAL;
	else if (r->depth == 1 && strcmp(local, r->top) != 0)
		rv = -EINVAL;
	else if (r->depth == 2) {
		memcpy(r->record_name, local, sizeof(local));
		rv = r->record(r->doc, local, false);
	} else if (r->depth == 3) {
		memcpy(r->field_name, local, sizeof(local));
	}
	if (rv != 0)
		s3_xml_fail(r, rv);
}

static void s3_xml_end_cb(void *arg, const XML_Char *name)
{
	struct s3_xml_reader *r = arg;
	struct wire_bytes text = wire_bytes(r->text.data, r->text.len);
	int rv = 0;

	(void)name; /* expat checked that it matches */
	if (r->err != 0)
		return;
	if (r->depth == 3 && r->text_on)
		rv = r->field(r->doc, r->record_name, r->field_name, text);
	else if (r->depth == 2 && r->text_on)
		rv = r->field(r->doc, "", r->record_name, text);
	if (rv == 0 && r->depth == 2)
		rv = r->record(r->doc, r->record_name, true);
	r->depth--;
	r->text_on = false;
	if (rv != 0)
		s3_xml_fail(r, rv);
}

static void s3_xml_text_cb(void *arg, const XML_Char *s, int len)
{
	struct s3_xml_reader *r = arg;

	if (r->depth < 2 || !r->text_on || r->err != 0)
		return;
	buf_add(&r->text, s, (size_t)len);
	if (r->text.err != 0)
		s3_xml_fail(r, r->text.err == -EMSGSIZE ? -EINVAL : -ENOMEM);
}

static void s3_xml_doctype_cb(void *arg, const XML_Char *name,
			      const XML_Char *sysid, const XML_Char *pubid,
			      int internal)
{
	(void)name;
	(void)sysid;
	(void)pubid;
	(void)internal;
	s3_xml_fail(arg, -EINVAL);
}

static int s3_xml_parse(struct s3_xml_reader *r, const void *data, size_t len)
{
	enum XML_Status st;

	if (len > INT32_MAX)
		return -EINVAL;
	r->parser = XML_ParserCreate(NULL);
	if (r->parser == NULL)
		return -ENOMEM;
	buf_init(&r->text, S3_XML_TEXT_MAX);
	XML_SetUserData(r->parser, r);
	XML_SetElementHandler(r->parser, s3_xml_start_cb, s3_xml_end_cb);
	XML_SetCharacterDataHandler(r->parser, s3_xml_text_cb);
	XML_SetStartDoctypeDeclHandler(r->parser, s3_xml_doctype_cb);
	st = XML_Parse(r->parser, data, (int)len, 1);
	if (st != XML_STATUS_OK && r->err == 0)
		r->err = XML_GetErrorCode(r->parser) == XML_ERROR_NO_MEMORY ?
				 -ENOMEM :
				 -EINVAL;
	XML_ParserFree(r->parser);
	buf_fini(&r->text);
	return r->err;
}

/* --- strings of a result: offsets while the pool may still move --- */

/* Stores text in the pool; len and an offset disguised as a pointer. */
static int s3_pool_add(struct buf *pool, struct wire_bytes text,
		       struct wire_bytes *ret)
{
	size_t off = pool->len;

	buf_add(pool, text.p, text.len);
	if (pool->err != 0)
		return -ENOMEM;
	ret->p = (const uint8_t *)(uintptr_t)off;
	ret->len = text.len;
	return 0;
}

static void s3_pool_fix(const struct buf *pool, struct wire_bytes *v)
{
	static const uint8_t nothing[1] = { 0 };

	v->p = v->len == 0 ? nothing : pool->data + (uintptr_t)v->p;
}

/* Doubles an array from 16 up to max elements. */
static int s3_grow(void **array, unsigned n, unsigned max, size_t size)
{
	unsigned cap = n == 0 ? 16 : n * 2;
	void *p;

	if (n >= max)
		return -EINVAL;
	if (n != 0 && (n < 16 || (n & (n - 1)) != 0))
		return 0; /* not at a power of two: there is room */
	p = mem_realloc(*array, cap * size);
	if (p == NULL)
		return -ENOMEM;
	*array = p;
	return 0;
}

/* --- Delete --- */

static int s3_delete_record(void *doc, const char *name, bool end)
{
	struct s3_xml_delete *d = doc;
	void *keys = d->keys;
	int rv;

	if (strcmp(name, "Object") != 0)
		return 0;
	if (end)
		return d->keys[d->n_keys - 1].key.len > 0 ? 0 : -EINVAL;
	rv = s3_grow(&keys, d->n_keys, S3_XML_DELETE_MAX, sizeof(*d->keys));
	if (rv != 0)
		return rv;
	d->keys = keys;
	memset(&d->keys[d->n_keys], 0, sizeof(*d->keys));
	d->n_keys++;
	return 0;
}

static struct wire_bytes s3_unquote(struct wire_bytes t)
{
	while (t.len > 0 && (*t.p == ' ' || *t.p == '\n' || *t.p == '\t')) {
		t.p++;
		t.len--;
	}
	while (t.len > 0 && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\n' ||
			     t.p[t.len - 1] == '\t'))
		t.len--;
	if (t.len >= 2 && t.p[0] == '"' && t.p[t.len - 1] == '"') {
		t.p++;
		t.len -= 2;
	}
	return t;
}

static bool s3_text_is(struct wire_bytes t, const char *s)
{
	return t.len == strlen(s) &&
	       strncasecmp((const char *)t.p, s, t.len) == 0;
}

static int s3_delete_field(void *doc, const char *record, const char *name,
			   struct wire_bytes text)
{
	struct s3_xml_delete *d = doc;
	struct s3_xml_delete_key *k;

	if (record[0] == '\0') {
		if (strcmp(name, "Quiet") == 0)
			d->quiet = s3_text_is(s3_unquote(text), "true");
		return 0;
	}
	if (strcmp(record, "Object") != 0)
		return 0;
	k = &d->keys[d->n_keys - 1];
	if (strcmp(name, "Key") == 0)
		return s3_pool_add(&d->pool, text, &k->key);
	if (strcmp(name, "VersionId") == 0)
		return s3_pool_add(&d->pool, text, &k->version);
	if (strcmp(name, "ETag") == 0)
		return s3_pool_add(&d->pool, s3_unquote(text), &k->etag);
	if (strcmp(name, "LastModifiedTime") == 0)
		return s3_pool_add(&d->pool, text, &k->mtime);
	if (strcmp(name, "Size") == 0)
		return s3_pool_add(&d->pool, text, &k->size);
	return 0;
}

int s3_xml_read_delete(const void *data, size_t len, struct s3_xml_delete *ret)
{
	struct s3_xml_delete d = { 0 };
	struct s3_xml_reader r = { .top = "Delete", .doc = &d,
				   .record = s3_delete_record,
				   .field = s3_delete_field };
	int rv;

	buf_init(&d.pool, 0);
	rv = s3_xml_parse(&r, data, len);
	if (rv == 0 && d.n_keys == 0)
		rv = -EINVAL;
	if (rv != 0) {
		s3_xml_delete_fini(&d);
		return rv;
	}
	for (unsigned i = 0; i < d.n_keys; i++) {
		s3_pool_fix(&d.pool, &d.keys[i].key);
		s3_pool_fix(&d.pool, &d.keys[i].version);
		s3_pool_fix(&d.pool, &d.keys[i].etag);
		s3_pool_fix(&d.pool, &d.keys[i].mtime);
		s3_pool_fix(&d.pool, &d.keys[i].size);
	}
	*ret = d;
	return 0;
}

void s3_xml_delete_fini(struct s3_xml_delete *d)
{
	mem_free(d->keys);
	buf_fini(&d->pool);
	d->keys = NULL;
	d->n_keys = 0;
}

/* --- CompleteMultipartUpload --- */

static int s3_complete_record(void *doc, const char *name, bool end)
{
	struct s3_xml_complete *c = doc;
	void *parts = c->parts;
	int rv;

	if (strcmp(name, "Part") != 0)
		return 0;
	if (end) {
		const struct s3_xml_part *p = &c->parts[c->n_parts - 1];

		return p->number != 0 && p->etag.len != 0 ? 0 : -EINVAL;
	}
	rv = s3_grow(&parts, c->n_parts, S3_XML_PARTS_MAX, sizeof(*c->parts));
	if (rv != 0)
		return rv;
	c->parts = parts;
	memset(&c->parts[c->n_parts], 0, sizeof(*c->parts));
	c->n_parts++;
	return 0;
}

static int s3_part_number(struct wire_bytes t, uint32_t *ret)
{
	uint32_t v = 0;

	t = s3_unquote(t);
	if (t.len == 0 || t.len > 5)
		return -EINVAL;
	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return -EINVAL;
		v = v * 10 + (uint32_t)(t.p[i] - '0');
	}
	if (v < 1 || v > S3_XML_PARTS_MAX)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int s3_complete_field(void *doc, const char *record, const char *name,
			     struct wire_bytes text)
{
	struct s3_xml_complete *c = doc;
	struct s3_xml_part *p;

	if (strcmp(record, "Part") != 0)
		return 0;
	p = &c->parts[c->n_parts - 1];
	if (strcmp(name, "PartNumber") == 0)
		return s3_part_number(text, &p->number);
	if (strcmp(name, "ETag") == 0)
		return s3_pool_add(&c->pool, s3_unquote(text), &p->etag);
	for (unsigned i = 0; i < S3_SUM_COUNT; i++)
		if (strcmp(name, s3_sum_info(i)->element) == 0)
			return s3_pool_add(&c->pool, s3_unquote(text),
					   &p->sums[i]);
	if (strncmp(name, "Checksum", 8) == 0)
		return -EINVAL; /* one we cannot verify */
	return 0;
}

int s3_xml_read_complete(const void *data, size_t len,
			 struct s3_xml_complete *ret)
{
	struct s3_xml_complete c = { 0 };
	struct s3_xml_reader r = { .top = "CompleteMultipartUpload", .doc = &c,
				   .record = s3_complete_record,
				   .field = s3_complete_field };
	int rv;

	buf_init(&c.pool, 0);
	rv = s3_xml_parse(&r, data, len);
	if (rv == 0 && c.n_parts == 0)
		rv = -EINVAL;
	if (rv != 0) {
		s3_xml_complete_fini(&c);
		return rv;
	}
	for (unsigned i = 0; i < c.n_parts; i++) {
		s3_pool_fix(&c.pool, &c.parts[i].etag);
		for (unsigned k = 0; k < S3_SUM_COUNT; k++)
			s3_pool_fix(&c.pool, &c.parts[i].sums[k]);
	}
	*ret = c;
	return 0;
}

void s3_xml_complete_fini(struct s3_xml_complete *c)
{
	mem_free(c->parts);
	buf_fini(&c->pool);
	c->parts = NULL;
	c->n_parts = 0;
}

/* --- CreateBucketConfiguration --- */

struct s3_location_doc {
	char *out;
	size_t size;
};

static int s3_location_record(void *doc, const char *name, bool end)
{
	(void)doc;
	(void)end;
	/* Tags, directory buckets: not here, so not ignored. */
	if (strcmp(name, "LocationConstraint") != 0 &&
	    strcmp(name, "Tags") != 0)
		return -EINVAL;
	return 0;
}

static int s3_location_field(void *doc, const char *record, const char *name,
			     struct wire_bytes text)
{
	struct s3_location_doc *d = doc;

	if (record[0] != '\0' || strcmp(name, "LocationConstraint") != 0)
		return 0;
	text = s3_unquote(text);
	if (text.len >= d->size)
		return -EINVAL;
	if (text.len > 0) { /* an empty one may be NULL */
		if (memchr(text.p, 0, text.len) != NULL)
			return -EINVAL;
		memcpy(d->out, text.p, text.len);
	}
	d->out[text.len] = '\0';
	return 0;
}

int s3_xml_read_location(const void *data, size_t len, char *out, size_t size)
{
	struct s3_location_doc doc = { out, size };
	struct s3_xml_reader r = { .top = "CreateBucketConfiguration",
				   .doc = &doc,
				   .record = s3_location_record,
				   .field = s3_location_field };

	out[0] = '\0';
	return s3_xml_parse(&r, data, len);
}
