#ifndef COMMON_BASE_CONN_H
#define COMMON_BASE_CONN_H
/*
 * A stream connection: an event on a non-blocking socket, an input evbuffer
 * filled by reads of up to 256 KiB, an output evbuffer written when possible.
 * Not a libevent bufferevent (DESIGN section 10 says why).
 *
 * One loop only. Callbacks are never called from inside a conn_* function.
 * After on_close the owner must call conn_free() (it may do so inside it, and
 * inside on_read). Back-pressure: conn_pause_read() stops reading; on_drain
 * fires when the output falls to a quarter of that after conn_out_full().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evbuffer;
struct conn;
struct loop;
struct body;

struct conn_cbs {
	void (*on_read)(struct conn *c, void *arg);  /* new bytes in input */
	void (*on_drain)(struct conn *c, void *arg); /* output small again */
	/*
	 * err 0: the peer closed its side (input may hold data, output still
	 * works), or the end of conn_close_after_flush(); else -errno. May
	 * come once more after a first one with 0, when the owner keeps c.
	 */
	void (*on_close)(struct conn *c, void *arg, int err);
	/* connect finished (clients only); may be NULL */
	void (*on_open)(struct conn *c, void *arg);
	/*
	 * Bytes are there and the input is empty: where up to *ret_len of them
	 * shall go instead; NULL: to the input. on_direct tells how many came.
	 * Both may be NULL.
	 */
	uint8_t *(*on_room)(struct conn *c, void *arg, size_t *ret_len);
	void (*on_direct)(struct conn *c, void *arg, size_t n);
};

#define CONN_OUT_HIGH (1u << 20) /* conn_out_full() above this; by default */

/* Takes fd (closed on failure too). 0 or -errno. */
int conn_new(struct loop *loop, int fd, const struct conn_cbs *cbs, void *arg,
	     struct conn **ret_conn);
/*
 * Starts a connect to "unix:PATH" or "HOST:PORT" (numeric); on_open or
 * on_close follows. 0 or -errno.
 */
int conn_connect(struct loop *loop, const char *addr,
		 const struct conn_cbs *cbs, void *arg,
		 struct conn **ret_conn);
void conn_free(struct conn *c);

struct evbuffer *conn_input(struct conn *c);
struct evbuffer *conn_output(struct conn *c);
/*
 * Call after adding to conn_output(): the bytes go out at the end of this
 * loop turn (many small adds become one writev).
 */
void conn_flush(struct conn *c);
bool conn_out_full(const struct conn *c);
/* Another mark than CONN_OUT_HIGH for this connection. */
void conn_set_out_high(struct conn *c, size_t high);
void conn_pause_read(struct conn *c);
void conn_resume_read(struct conn *c); /* on_read again if input is not empty */
/*
 * Sends what is queued, then shuts down writing and drains the peer's rest for
 * a moment. No more on_read or on_drain; on_close follows, at most 32 s later
 * when the peer takes nothing, and the owner frees c as always.
 */
void conn_close_after_flush(struct conn *c);
int conn_fd(const struct conn *c);
/* Peer as text ("127.0.0.1:5555", "unix"); lives as long as c. */
const char *conn_peer(const struct conn *c);

/* A listening socket. */
struct conn_listener;
typedef void (*conn_accept_fn)(void *arg, int fd);
/*
 * Binds "unix:PATH" (mode 0600, a stale socket file is replaced, a live one is
 * -EADDRINUSE) or "ADDR:PORT". Accepts on `loop`. Keeps spare descriptors and
 * sheds on EMFILE. With reuseport, each loop may listen on the same port.
 */
int conn_listen(struct loop *loop, const char *addr, bool reuseport,
		conn_accept_fn accept, void *arg,
		struct conn_listener **ret_listener);
void conn_listener_free(struct conn_listener *l);
/* The port really bound (for port 0); 0 for unix. */
unsigned conn_listener_port(const struct conn_listener *l);

#endif
