/*
 * Listening sockets.
 *
 * Happy path: readable -> accept4 until there is none (bounded per turn).
 * Failure modes: out of descriptors -> the spare one is closed, the waiting
 * connection is taken and closed with it, the spare is opened again: clients
 * see a close instead of a hang and the loop does not spin.
 */
#include "common/base/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/conn_addr.h"
#include "common/base/log.h"
#include "common/base/loop_impl.h"
#include "common/base/mem.h"

#define LISTEN_BACKLOG 1024
#define LISTEN_ACCEPTS 64 /* per turn */

struct conn_listener {
	struct loop *loop; /* borrowed */
	struct event ev;
	int fd;
	int spare; /* a descriptor to give up when there are no more */
	conn_accept_fn accept;
	void *arg;        /* borrowed */
	char *unix_path;  /* to remove at the end; NULL for TCP */
	ino_t unix_ino;   /* ours: another may have replaced it */
	bool in_callback;
	bool freed;
};

static void listener_destroy(struct conn_listener *l)
{
	mem_free(l->unix_path);
	mem_free(l);
}

static int listener_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void listener_shed(struct conn_listener *l)
{
	int fd;

	if (l->spare >= 0)
		(void)close(l->spare);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		(void)close(fd);
	l->spare = listener_spare();
	log_debug("no descriptors: shed a connection");
}

static void listener_on_readable(evutil_socket_t lfd, short what, void *arg)
{
	struct conn_listener *l = arg;

	(void)lfd;
	(void)what;
	loop_note_awake(l->loop);
	l->in_callback = true;
	for (int i = 0; i < LISTEN_ACCEPTS && !l->freed; i++) {
		int fd = accept4(l->fd, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			l->accept(l->arg, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EMFILE || errno == ENFILE)
			listener_shed(l);
		break;
	}
	l->in_callback = false;
	if (l->freed)
		listener_destroy(l);
}

/* A socket file nobody listens on is a leftover of a process that died. */
static int listener_remove_stale(const struct conn_addr *addr)
{
	const struct sockaddr_un *un =
		(const struct sockaddr_un *)(const void *)&addr->sa;
	struct stat st;
	int fd, rv = 0;

	if (lstat(un->sun_path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = conn_addr_socket(addr);
	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&addr->sa, addr->len) == 0 ||
	    errno != ECONNREFUSED)
		rv = -EADDRINUSE;
	(void)close(fd);
	if (rv == 0 && unlink(un->sun_path) != 0 && errno != ENOENT)
		rv = -errno;
	return rv;
}

/* Only the owner may connect: the mode is set before listen(). */
static int listener_bind_unix(struct conn_listener *l,
			      const struct conn_addr *addr)
{
	const struct sockaddr_un *un =
		(const struct sockaddr_un *)(const void *)&addr->sa;
	struct stat st;
	int rv = listener_remove_stale(addr);

	if (rv != 0)
		return rv;
	l->unix_path = mem_strdup(un->sun_path);
	if (l->unix_path == NULL)
		return -ENOMEM;
	if (bind(l->fd, (const struct sockaddr *)&addr->sa, addr->len) != 0)
		return -errno;
	if (chmod(un->sun_path, 0600) != 0 || lstat(un->sun_path, &st) != 0)
		return -errno;
	l->unix_ino = st.st_ino;
	return 0;
}

static int listener_bind_tcp(struct conn_listener *l,
			     const struct conn_addr *addr, bool reuseport)
{
	int one = 1;

	if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one,
		       sizeof(one)) != 0)
		return -errno;
	if (reuseport && setsockopt(l->fd, SOL_SOCKET, SO_REUSEPORT, &one,
				    sizeof(one)) != 0)
		return -errno;
	if (bind(l->fd, (const struct sockaddr *)&addr->sa, addr->len) != 0)
		return -errno;
	return 0;
}

int conn_listen(struct loop *loop, const char *text, bool reuseport,
		conn_accept_fn accept_fn, void *arg,
		struct conn_listener **ret_listener)
{
	struct conn_listener *l;
	struct conn_addr addr;
	int rv;

	rv = conn_addr_parse(text, &addr);
	if (rv != 0)
		return rv;
	l = mem_zalloc(sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->loop = loop;
	l->accept = accept_fn;
	l->arg = arg;
	l->spare = listener_spare();
	l->fd = conn_addr_socket(&addr);
	rv = l->fd < 0 ? l->fd : 0;
	event_assign(&l->ev, loop->base, l->fd, EV_READ | EV_PERSIST,
		     listener_on_readable, l);
	if (rv == 0)
		rv = addr.is_unix ? listener_bind_unix(l, &addr) :
				    listener_bind_tcp(l, &addr, reuseport);
	if (rv == 0 && listen(l->fd, LISTEN_BACKLOG) != 0)
		rv = -errno;
	if (rv == 0 && event_add(&l->ev, NULL) != 0)
		rv = -ENOMEM;
	if (rv != 0) {
		conn_listener_free(l);
		return rv;
	}
	*ret_listener = l;
	return 0;
}

void conn_listener_free(struct conn_listener *l)
{
	struct stat st;

	if (l == NULL)
		return;
	event_del(&l->ev);
	if (l->unix_path != NULL && l->unix_ino != 0 &&
	    lstat(l->unix_path, &st) == 0 && st.st_ino == l->unix_ino)
		(void)unlink(l->unix_path);
	if (l->fd >= 0)
		(void)close(l->fd);
	if (l->spare >= 0)
		(void)close(l->spare);
	l->freed = true;
	if (!l->in_callback)
		listener_destroy(l);
}

unsigned conn_listener_port(const struct conn_listener *l)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	memset(&sa, 0, sizeof(sa));
	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) != 0)
		return 0;
	if (sa.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)(void *)&sa)->sin_port);
	if (sa.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)(void *)&sa)->sin6_port);
	return 0;
}
