#ifndef COMMON_BASE_CONN_ADDR_H
#define COMMON_BASE_CONN_ADDR_H
/*
 * Socket addresses as text: "unix:PATH", "1.2.3.4:PORT", "[::1]:PORT".
 * Numeric only, as a name lookup would block the loop; "localhost" is
 * 127.0.0.1.
 */
#include <stdbool.h>
#include <sys/socket.h>

#define CONN_ADDR_TEXT 64

struct conn_addr {
	struct sockaddr_storage sa;
	socklen_t len;
	bool is_unix;
};

/* 0, -EINVAL for a bad form, -ENAMETOOLONG for a long path. */
int conn_addr_parse(const char *text, struct conn_addr *ret_addr);
/* The peer of fd; "unix" for a unix socket, "?" when unknown. */
void conn_addr_peer(int fd, char ret_text[CONN_ADDR_TEXT]);
/* Non-blocking, close-on-exec socket for addr; fd or -errno. */
int conn_addr_socket(const struct conn_addr *addr);

#endif
