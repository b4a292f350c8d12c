/* The writing half of s3_xml.h. */
#include "gateway/s3_xml.h"

#include <string.h>

#include "gateway/s3_time.h"

#define S3_XML_NS "http://s3.amazonaws.com/doc/2006-03-01/"

void s3_xml_begin(struct buf *out)
{
	buf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

static void s3_xml_tag(struct buf *out, const char *left, const char *name,
		       const char *right)
{
	buf_puts(out, left);
	buf_puts(out, name);
	buf_puts(out, right);
}

void s3_xml_open(struct buf *out, const char *name)
{
	s3_xml_tag(out, "<", name, ">");
}

void s3_xml_open_top(struct buf *out, const char *name)
{
	s3_xml_begin(out);
	s3_xml_tag(out, "<", name, " xmlns=\"" S3_XML_NS "\">");
}

void s3_xml_close(struct buf *out, const char *name)
{
	s3_xml_tag(out, "</", name, ">");
}

static const char *s3_xml_escape(uint8_t c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\r': /* a parser would make a line feed of it */
		return "&#13;";
	case '\n':
		return "&#10;";
	case '\t':
		return "&#9;";
	default:
		return NULL;
	}
}

void s3_xml_text(struct buf *out, struct wire_bytes text)
{
	size_t from = 0;

	for (size_t i = 0; i < text.len; i++) {
		const char *esc = s3_xml_escape(text.p[i]);

		if (esc == NULL)
			continue;
		buf_add(out, text.p + from, i - from);
		buf_puts(out, esc);
		from = i + 1;
	}
	buf_add(out, text.p + from, text.len - from);
}

void s3_xml_element(struct buf *out, const char *name, struct wire_bytes text)
{
	s3_xml_open(out, name);
	s3_xml_text(out, text);
	s3_xml_close(out, name);
}

void s3_xml_str(struct buf *out, const char *name, const char *text)
{
	s3_xml_element(out, name, wire_cstr(text));
}

void s3_xml_u64(struct buf *out, const char *name, uint64_t v)
{
	char text[24];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	s3_xml_element(out, name, wire_bytes(text + at, sizeof(text) - at));
}

void s3_xml_bool(struct buf *out, const char *name, bool v)
{
	s3_xml_str(out, name, v ? "true" : "false");
}

void s3_xml_time(struct buf *out, const char *name, int64_t ns)
{
	char text[S3_TIME_ISO_LEN + 1];
	int64_t sec = ns / 1000000000 - (ns % 1000000000 < 0);

	/* Whole seconds, as in Last-Modified: clients compare the two. */
	s3_time_iso(sec, 0, text);
	s3_xml_str(out, name, text);
}

void s3_xml_etag(struct buf *out, const char *name, struct wire_bytes etag)
{
	s3_xml_open(out, name);
	buf_puts(out, "&quot;");
	s3_xml_text(out, etag);
	buf_puts(out, "&quot;");
	s3_xml_close(out, name);
}

/* Length of the valid UTF-8 sequence at p (RFC 3629), 0 when there is none;
 * *ret_c is the character. */
static size_t s3_utf8(const uint8_t *p, size_t left, uint32_t *ret_c)
{
	uint32_t c = p[0];
	size_t n;

	if (c < 0x80) {
		*ret_c = c;
		return 1;
	}
	n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || left < n)
		return 0;
	c &= 0xffu >> (n + 1);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_c = c;
	return n;
}

bool s3_xml_carries(struct wire_bytes text)
{
	for (size_t i = 0; i < text.len;) {
		uint32_t c;
		size_t n = s3_utf8(text.p + i, text.len - i, &c);

		if (n == 0 || c == 0xfffe || c == 0xffff ||
		    (c < 0x20 && c != '\t' && c != '\n' && c != '\r'))
			return false;
		i += n;
	}
	return true;
}
