/*
 * A small blocking client for tools and tests: one request, one connection.
 */
#include "common/http/http.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/mem.h"

#define CLIENT_TIMEOUT_S 60
#define CLIENT_MAX (1u << 30)

struct client_url {
	char host[256];
	char port[8];
	const char *path; /* borrowed */
};

static int client_url_parse(const char *url, struct client_url *ret_url)
{
	const char *p, *end, *colon;
	size_t n;

	if (strncmp(url, "http://", 7) != 0)
		return -EINVAL;
	p = url + 7;
	end = p + strcspn(p, "/?");
	colon = end;
	while (colon > p && *colon != ':' && *colon != ']')
		colon--;
	if (*colon == ':') {
		n = (size_t)(end - colon - 1);
		if (n == 0 || n >= sizeof(ret_url->port))
			return -EINVAL;
		memcpy(ret_url->port, colon + 1, n);
		ret_url->port[n] = '\0';
	} else {
		memcpy(ret_url->port, "80", 3);
		colon = end;
	}
	n = (size_t)(colon - p);
	if (n >= 2 && p[0] == '[' && p[n - 1] == ']') {
		p++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(ret_url->host))
		return -EINVAL;
	memcpy(ret_url->host, p, n);
	ret_url->host[n] = '\0';
	ret_url->path = end;
	return 0;
}

static int client_connect(const struct client_url *url, int *ret_fd)
{
	const struct timeval tv = { CLIENT_TIMEOUT_S, 0 };
	struct addrinfo hints, *list, *ai;
	int rv = -EHOSTUNREACH;

	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	if (getaddrinfo(url->host, url->port, &hints, &list) != 0)
		return -EHOSTUNREACH;
	for (ai = list; ai != NULL; ai = ai->ai_next) {
		int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0) {
			rv = -errno;
			continue;
		}
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv,
				 sizeof(tv));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv,
				 sizeof(tv));
		if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0) {
			*ret_fd = fd;
			rv = 0;
			break;
		}
		rv = -errno;
		(void)close(fd);
	}
	freeaddrinfo(list);
	return rv;
}

static int client_send(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int client_send_request(int fd, const struct client_url *url,
			       const char *method, const char *const *headers,
			       const void *body, size_t len)
{
	struct buf b;
	int rv;

	buf_init(&b, 0);
	buf_printf(&b, "%s %s%s HTTP/1.1\r\nHost: %s:%s\r\n", method,
		   url->path[0] == '/' ? "" : "/", url->path, url->host,
		   url->port);
	for (; headers != NULL && *headers != NULL; headers++)
		buf_printf(&b, "%s\r\n", *headers);
	if (body != NULL || len > 0)
		buf_printf(&b, "Content-Length: %zu\r\n", len);
	buf_puts(&b, "Connection: close\r\n\r\n");
	rv = b.err;
	if (rv == 0)
		rv = client_send(fd, b.data, b.len);
	if (rv == 0 && len > 0)
		rv = client_send(fd, body, len);
	buf_fini(&b);
	/* the server may have answered early and stopped reading */
	return rv == -EPIPE || rv == -ECONNRESET ? 0 : rv;
}

/* All until the server closes; one NUL behind. */
static int client_receive(int fd, struct buf *in)
{
	for (;;) {
		uint8_t *p = buf_reserve(in, 65536);
		ssize_t n;

		if (p == NULL)
			return in->err;
		n = recv(fd, p, 65535, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && in->len > 0 && errno == ECONNRESET)
			n = 0;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n == 0) {
			*p = '\0';
			return 0;
		}
		in->len += (size_t)n;
	}
}

/* Value of a header in a NUL-terminated head, or NULL. */
static const char *client_header(const char *head, const char *name)
{
	size_t n = strlen(name);
	const char *p = head;

	while ((p = strstr(p, "\r\n")) != NULL) {
		p += 2;
		if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
			p += n + 1;
			return p + strspn(p, " \t");
		}
	}
	return NULL;
}

/* Unchunks in place; length or -EBADMSG when it is cut or bad. */
static ssize_t client_unchunk(char *body, size_t len)
{
	size_t in = 0, out = 0;

	for (;;) {
		char *end;
		unsigned long long size;

		if (in >= len || body[in] == ' ' || body[in] == '-')
			return -EBADMSG;
		size = strtoull(body + in, &end, 16);
		end = strstr(end, "\r\n");
		if (end == NULL)
			return -EBADMSG;
		in = (size_t)(end + 2 - body);
		if (size == 0)
			return (ssize_t)out;
		if (in > len || size > len - in || len - in - size < 2)
			return -EBADMSG;
		memmove(body + out, body + in, size);
		out += size;
		in += size + 2;
	}
}

static int client_body(const char *method, struct http_response *r, char *body,
		       size_t len)
{
	const char *te = client_header(r->head, "Transfer-Encoding");
	const char *cl = client_header(r->head, "Content-Length");
	ssize_t n = (ssize_t)len;

	if (strcmp(method, "HEAD") == 0 || r->status == 204 ||
	    r->status == 304) {
		n = 0;
	} else if (te != NULL && strncasecmp(te, "chunked", 7) == 0) {
		n = client_unchunk(body, len);
	} else if (cl != NULL) {
		n = (ssize_t)strtoll(cl, NULL, 10);
		if (n < 0 || (size_t)n > len)
			n = -EBADMSG;
	}
	if (n < 0)
		return (int)n;
	r->body = mem_dup(body, (size_t)n);
	r->body_len = (size_t)n;
	return r->body != NULL ? 0 : -ENOMEM;
}

static int client_parse(const char *method, struct buf *in,
			struct http_response *r)
{
	char *p = (char *)in->data;
	char *end;

	for (;;) {
		if (strncmp(p, "HTTP/1.", 7) != 0 || strlen(p) < 12)
			return in->len == 0 ? -ECONNRESET : -EBADMSG;
		r->status = (unsigned)strtoul(p + 9, NULL, 10);
		end = strstr(p, "\r\n\r\n");
		if (end == NULL)
			return -EBADMSG;
		if (r->status >= 200)
			break;
		p = end + 4; /* 100 Continue */
	}
	end += 2;
	r->head = mem_dup(p, (size_t)(end - p));
	if (r->head == NULL)
		return -ENOMEM;
	end += 2;
	return client_body(method, r, end,
			   in->len - (size_t)(end - (char *)in->data));
}

int http_fetch(const char *method, const char *url, const char *const *headers,
	       const void *body, size_t len, struct http_response *ret)
{
	struct http_response r = { 0 };
	struct client_url u;
	struct buf in;
	int fd = -1;
	int rv;

	buf_init(&in, CLIENT_MAX);
	rv = client_url_parse(url, &u);
	if (rv == 0)
		rv = client_connect(&u, &fd);
	if (rv == 0)
		rv = client_send_request(fd, &u, method, headers, body, len);
	if (rv == 0)
		rv = client_receive(fd, &in);
	if (rv == 0)
		rv = client_parse(method, &in, &r);
	if (fd >= 0)
		(void)close(fd);
	buf_fini(&in);
	if (rv != 0) {
		http_response_fini(&r);
		return rv;
	}
	*ret = r;
	return 0;
}

void http_response_fini(struct http_response *r)
{
	mem_free(r->head);
	mem_free(r->body);
	r->head = NULL;
	r->body = NULL;
}
