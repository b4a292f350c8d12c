/*
 * The request head: pure, no I/O. Everything that two parsers could read
 * differently is refused, because another server may stand in front of us.
 */
#include "common/http/http.h"

#include <string.h>
#include <strings.h>

#include "common/http/http_impl.h"

/* What the header lines said, until all are read. */
struct head_seen {
	const struct wire_bytes *host;
	bool length;
	bool encoding;
	bool close;
	bool keep_alive;
};

/* RFC 9110 token characters */
static const bool head_token[256] = {
	['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
	['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true,
	['^'] = true, ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true,
	['0'] = true, ['1'] = true, ['2'] = true, ['3'] = true, ['4'] = true,
	['5'] = true, ['6'] = true, ['7'] = true, ['8'] = true, ['9'] = true,
	['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true, ['E'] = true,
	['F'] = true, ['G'] = true, ['H'] = true, ['I'] = true, ['J'] = true,
	['K'] = true, ['L'] = true, ['M'] = true, ['N'] = true, ['O'] = true,
	['P'] = true, ['Q'] = true, ['R'] = true, ['S'] = true, ['T'] = true,
	['U'] = true, ['V'] = true, ['W'] = true, ['X'] = true, ['Y'] = true,
	['Z'] = true, ['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true,
	['e'] = true, ['f'] = true, ['g'] = true, ['h'] = true, ['i'] = true,
	['j'] = true, ['k'] = true, ['l'] = true, ['m'] = true, ['n'] = true,
	['o'] = true, ['p'] = true, ['q'] = true, ['r'] = true, ['s'] = true,
	['t'] = true, ['u'] = true, ['v'] = true, ['w'] = true, ['x'] = true,
	['y'] = true, ['z'] = true,
};

bool http_is_token(const void *p, size_t len)
{
	const unsigned char *s = p;

	for (size_t i = 0; i < len; i++) {
		if (!head_token[s[i]])
			return false;
	}
	return len > 0;
}

#define HEAD_EACH(byte) (0x0101010101010101ull * (byte))

/* True for eight bytes of which none is below 0x20 or 0x7f. */
static bool head_plain8(const uint8_t *p)
{
	uint64_t v, del;

	memcpy(&v, p, sizeof(v));
	del = v ^ HEAD_EACH(0x7fu);
	/* a borrow marks a byte that was too small; bytes over 0x7f never */
	return ((((v - HEAD_EACH(0x20u)) & ~v) |
		 ((del - HEAD_EACH(0x01u)) & ~del)) &
		HEAD_EACH(0x80u)) == 0;
}

bool http_is_text(struct wire_bytes b)
{
	size_t i = 0;

	while (i < b.len) {
		if (b.len - i >= 8 && head_plain8(b.p + i)) {
			i += 8;
			continue;
		}
		if ((b.p[i] < 0x20 && b.p[i] != '\t') || b.p[i] == 0x7f)
			return false;
		i++;
	}
	return true;
}

bool http_is_name(struct wire_bytes b, const char *name)
{
	size_t n = strlen(name);

	return b.len == n && strncasecmp((const char *)b.p, name, n) == 0;
}

/* --- request line --- */

static int head_method(struct wire_bytes m, struct http_head *head)
{
	if (m.len > 32 || !http_is_token(m.p, m.len))
		return 400;
	head->method = m;
	return 0;
}

static int head_version(struct wire_bytes v, struct http_head *head)
{
	if (v.len != 8 || memcmp(v.p, "HTTP/", 5) != 0 || v.p[6] != '.' ||
	    v.p[5] < '0' || v.p[5] > '9' || v.p[7] < '0' || v.p[7] > '9')
		return 400;
	if (v.p[5] != '1')
		return 505;
	head->minor = v.p[7] == '0' ? 0 : 1;
	return 0;
}

/* http://authority/path: leaves the path, which may be empty, in t. */
static int head_absolute(struct wire_bytes *t,
			 struct wire_bytes *ret_authority)
{
	const uint8_t *p, *end = t->p + t->len;

	if (t->len < 7 || strncasecmp((const char *)t->p, "http://", 7) != 0)
		return 400;
	p = t->p + 7;
	while (p < end && *p != '/' && *p != '?')
		p++;
	if (p == t->p + 7)
		return 400;
	*ret_authority = wire_bytes(t->p + 7, (size_t)(p - t->p) - 7);
	*t = wire_bytes(p, (size_t)(end - p));
	return 0;
}

static int head_target(struct wire_bytes t, struct http_head *head,
		       struct wire_bytes *ret_authority)
{
	static const uint8_t root[] = "/";
	const uint8_t *q;

	if (t.len == 0)
		return 400;
	if (t.len > HTTP_URI_MAX)
		return 414;
	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] <= 0x20 || t.p[i] == 0x7f || t.p[i] == '#')
			return 400;
	}
	head->target = t;
	if (t.p[0] != '/' &&
	    (t.len != 1 || t.p[0] != '*' ||
	     !http_is_name(head->method, "OPTIONS")) &&
	    head_absolute(&t, ret_authority) != 0)
		return 400;
	q = t.len > 0 ? memchr(t.p, '?', t.len) : NULL;
	head->path = wire_bytes(t.p, q != NULL ? (size_t)(q - t.p) : t.len);
	if (q != NULL)
		head->query = wire_bytes(q + 1, t.len - head->path.len - 1);
	else
		head->query = wire_bytes(t.p + t.len, 0);
	if (head->path.len == 0)
		head->path = wire_bytes(root, 1);
	return 0;
}

static int head_request_line(struct wire_bytes line, struct http_head *head,
			     struct wire_bytes *ret_authority)
{
	const uint8_t *end = line.p + line.len;
	const uint8_t *a, *b;
	int rv;

	a = memchr(line.p, ' ', line.len);
	if (a == NULL)
		return 400;
	b = memchr(a + 1, ' ', (size_t)(end - a - 1));
	if (b == NULL)
		return (size_t)(end - a) > HTTP_URI_MAX ? 414 : 400;
	rv = head_method(wire_bytes(line.p, (size_t)(a - line.p)), head);
	if (rv == 0)
		rv = head_target(wire_bytes(a + 1, (size_t)(b - a - 1)), head,
				 ret_authority);
	if (rv == 0)
		rv = head_version(wire_bytes(b + 1, (size_t)(end - b - 1)),
				  head);
	return rv;
}

/* --- header lines --- */

static int head_length(struct wire_bytes v, struct http_head *head)
{
	int64_t n = 0;

	if (v.len == 0 || v.len > 18)
		return 400;
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return 400;
		n = n * 10 + (v.p[i] - '0');
	}
	head->content_length = n;
	return 0;
}

static int head_host(struct wire_bytes v)
{
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] <= 0x20 || v.p[i] >= 0x7f ||
		    strchr("/\\@?#\"<>^`{|},", v.p[i]) != NULL)
			return 400;
	}
	return 0;
}

/* The comma-separated words of Connection. */
static void head_connection(struct wire_bytes v, struct head_seen *seen)
{
	size_t i = 0;

	while (i < v.len) {
		size_t from = i, to;

		while (i < v.len && v.p[i] != ',')
			i++;
		to = i++;
		while (from < to && (v.p[from] == ' ' || v.p[from] == '\t'))
			from++;
		while (to > from && (v.p[to - 1] == ' ' ||
				     v.p[to - 1] == '\t'))
			to--;
		if (http_is_name(wire_bytes(v.p + from, to - from), "close"))
			seen->close = true;
		else if (http_is_name(wire_bytes(v.p + from, to - from),
				      "keep-alive"))
			seen->keep_alive = true;
	}
}

/* The headers that steer the connection itself. */
static int head_special(const struct http_header *h, struct http_head *head,
			struct head_seen *seen)
{
	if (http_is_name(h->name, "Host")) {
		if (seen->host != NULL)
			return 400;
		seen->host = &h->value;
		return head_host(h->value);
	}
	if (http_is_name(h->name, "Content-Length")) {
		if (seen->length)
			return 400;
		seen->length = true;
		return head_length(h->value, head);
	}
	if (http_is_name(h->name, "Transfer-Encoding")) {
		if (seen->encoding || head->minor == 0)
			return 400;
		seen->encoding = true;
		if (!http_is_name(h->value, "chunked"))
			return 501;
		head->chunked = true;
		return 0;
	}
	if (http_is_name(h->name, "Connection")) {
		head_connection(h->value, seen);
		return 0;
	}
	if (http_is_name(h->name, "Expect")) {
		if (!http_is_name(h->value, "100-continue"))
			return 417;
		head->expect_continue = head->minor > 0;
	}
	return 0;
}

/* First bytes of the names above: others need no comparing. */
static bool head_maybe_special(const struct http_header *h)
{
	switch (h->name.p[0] | 0x20) {
	case 'h':
	case 'c':
	case 't':
	case 'e':
		return true;
	default:
		return false;
	}
}

static int head_field(struct wire_bytes line, struct http_header *h)
{
	const uint8_t *end = line.p + line.len;
	const uint8_t *colon = memchr(line.p, ':', line.len);
	const uint8_t *p;

	/* a blank at the start would be a folded line: not a token */
	if (colon == NULL ||
	    !http_is_token(line.p, (size_t)(colon - line.p)))
		return 400;
	h->name = wire_bytes(line.p, (size_t)(colon - line.p));
	p = colon + 1;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	h->value = wire_bytes(p, (size_t)(end - p));
	return http_is_text(h->value) ? 0 : 400;
}

/* --- the whole --- */

/*
 * The next line without its CRLF. A CR or LF that is not part of one is
 * refused; NUL and the like are found by those who read the line.
 */
static int head_line(const uint8_t **p, const uint8_t *end,
		     struct wire_bytes *ret_line)
{
	const uint8_t *lf = memchr(*p, '\n', (size_t)(end - *p));

	if (lf == NULL || lf == *p || lf[-1] != '\r')
		return 400;
	*ret_line = wire_bytes(*p, (size_t)(lf - *p) - 1);
	if (memchr(ret_line->p, '\r', ret_line->len) != NULL)
		return 400;
	*p = lf + 1;
	return 0;
}

/* What must hold between the headers. */
static int head_check(struct http_head *head, const struct head_seen *seen,
		      struct wire_bytes authority)
{
	if (seen->host == NULL && head->minor > 0)
		return 400;
	if (authority.len > 0) {
		if (head_host(authority) != 0)
			return 400;
		if (seen->host != NULL &&
		    (seen->host->len != authority.len ||
		     strncasecmp((const char *)seen->host->p,
				 (const char *)authority.p,
				 authority.len) != 0))
			return 400;
	}
	if (seen->length && seen->encoding)
		return 400;
	if (head->minor > 0)
		head->keep_alive = !seen->close;
	else
		head->keep_alive = seen->keep_alive && !seen->close;
	if (!head->chunked && head->content_length <= 0)
		head->expect_continue = false;
	return 0;
}

int http_head_parse(char *data, size_t len, struct http_head *head,
		    struct http_header headers[HTTP_HEADERS_MAX])
{
	const uint8_t *p = (const uint8_t *)data;
	const uint8_t *end = p + len;
	struct wire_bytes authority = { NULL, 0 };
	struct head_seen seen = { NULL, false, false, false, false };
	struct wire_bytes line;
	int rv;

	if (len > HTTP_HEAD_MAX)
		return 431;
	memset(head, 0, sizeof(*head));
	head->headers = headers;
	head->content_length = -1;
	rv = head_line(&p, end, &line);
	if (rv == 0)
		rv = head_request_line(line, head, &authority);
	if (rv != 0)
		return rv;
	for (;;) {
		struct http_header *h;

		rv = head_line(&p, end, &line);
		if (rv != 0)
			return rv;
		if (line.len == 0)
			break;
		if (head->n_headers == HTTP_HEADERS_MAX)
			return 431;
		h = &headers[head->n_headers];
		rv = head_field(line, h);
		if (rv == 0 && head_maybe_special(h))
			rv = head_special(h, head, &seen);
		if (rv != 0)
			return rv;
		head->n_headers++;
	}
	if (p != end)
		return 400;
	return head_check(head, &seen, authority);
}
