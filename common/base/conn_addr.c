#include "common/base/conn_addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int conn_addr_unix(const char *path, struct conn_addr *ret_addr)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&ret_addr->sa;
	size_t n = strlen(path);

	if (n == 0)
		return -EINVAL;
	if (n >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	ret_addr->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				    n + 1);
	ret_addr->is_unix = true;
	return 0;
}

static int conn_addr_port(const char *text, uint16_t *ret_port)
{
	unsigned port = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (unsigned)(*text - '0');
		if (port > UINT16_MAX)
			return -EINVAL;
	}
	*ret_port = (uint16_t)port;
	return 0;
}

static int conn_addr_tcp(const char *host, uint16_t port,
			 struct conn_addr *ret_addr)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&ret_addr->sa;
	struct sockaddr_in6 *in6 =
		(struct sockaddr_in6 *)(void *)&ret_addr->sa;

	if (strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		ret_addr->len = sizeof(*in);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		ret_addr->len = sizeof(*in6);
		return 0;
	}
	return -EINVAL;
}

int conn_addr_parse(const char *text, struct conn_addr *ret_addr)
{
	const char *colon = strrchr(text, ':');
	struct conn_addr addr;
	char host[48];
	uint16_t port;
	size_t n;
	int rv;

	memset(&addr, 0, sizeof(addr));
	if (strncmp(text, "unix:", 5) == 0) {
		rv = conn_addr_unix(text + 5, &addr);
	} else {
		if (colon == NULL)
			return -EINVAL;
		n = (size_t)(colon - text);
		if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
			text++;
			n -= 2;
		}
		if (n == 0 || n >= sizeof(host))
			return -EINVAL;
		memcpy(host, text, n);
		host[n] = '\0';
		rv = conn_addr_port(colon + 1, &port);
		if (rv == 0)
			rv = conn_addr_tcp(host, port, &addr);
	}
	if (rv != 0)
		return rv;
	*ret_addr = addr;
	return 0;
}

void conn_addr_peer(int fd, char ret_text[CONN_ADDR_TEXT])
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[INET6_ADDRSTRLEN] = "?";

	memset(&sa, 0, sizeof(sa));
	(void)snprintf(ret_text, CONN_ADDR_TEXT, "?");
	if (getpeername(fd, (struct sockaddr *)&sa, &len) != 0)
		return;
	if (sa.ss_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)(void *)&sa;

		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		(void)snprintf(ret_text, CONN_ADDR_TEXT, "%s:%u", host,
			       (unsigned)ntohs(in->sin_port));
	} else if (sa.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&sa;

		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		(void)snprintf(ret_text, CONN_ADDR_TEXT, "[%s]:%u", host,
			       (unsigned)ntohs(in6->sin6_port));
	} else if (sa.ss_family == AF_UNIX) {
		(void)snprintf(ret_text, CONN_ADDR_TEXT, "unix");
	}
}

int conn_addr_socket(const struct conn_addr *addr)
{
	int fd = socket(addr->sa.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}
