#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H
/*
 * The S3 gateway: HTTP on every loop, requests routed to the client.
 */
#include "common/base/errbuf.h"
#include "common/client/client.h"

struct gateway;
struct loop_set;

struct gateway_config {
	struct loop_set *loops;
	struct client_set *clients; /* started by the owner */
	const char *listen;         /* "127.0.0.1:8080" */
	const char *access_log;     /* path, NULL = none */
	const char *domain;         /* for virtual-host style; NULL = path only */
};

/* Binds and accepts at once; answers 503 until the client has a snapshot. */
int gateway_start(const struct gateway_config *config,
		  struct gateway **ret_gateway, struct errbuf *e);
unsigned gateway_port(const struct gateway *g);
/* Reopens the access log after logrotate; loop 0. */
void gateway_reopen_log(struct gateway *g);
/* After the loops have stopped. NULL is fine. */
void gateway_free(struct gateway *g);

#endif
