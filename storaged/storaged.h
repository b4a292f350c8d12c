#ifndef STORAGED_STORAGED_H
#define STORAGED_STORAGED_H
/*
 * A storage daemon as a part of a process: its store, the way it joins the
 * managers, its heartbeats. Loop 0.
 */
#include "storaged/store.h"

struct storaged;

struct storaged_config {
	struct loop_set *loops;
	struct rpc_server *server; /* ours */
	const char *dir;           /* of the store */
	const char *addr;          /* where others reach us, "unix:PATH" */
	const char *manager;       /* address of the managers */
	bool manager_is_local;     /* they are in this process, on `server` */
};

/* Opens the store (blocks for recovery) and registers its handlers. */
int storaged_open(const struct storaged_config *config,
		  struct storaged **ret_storaged, struct errbuf *e);
/*
 * Joins the managers (again and again until they answer), starts the shards;
 * ready(arg) when all of them lead. A refusal by the managers ends the
 * process with one sentence.
 */
int storaged_start(struct storaged *s, void (*ready)(void *arg), void *arg,
		   struct errbuf *e);
/* After the loops have stopped. */
void storaged_close(struct storaged *s);

#endif
