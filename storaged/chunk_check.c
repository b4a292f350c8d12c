/*
 * Looking for a chunk without sending it: its row in the index, on a worker,
 * and with `read` its bytes as a get reads them.
 */
#include "storaged/chunk_impl.h"

#include <errno.h>

#include "common/base/mem.h"

struct chunk_check {
	struct chunk_loop *cl;
	struct chunk_id id;
	struct chunk_row row;
	int rv; /* of the worker */
	struct env_work work;
	chunk_check_fn done;
	void *arg;
	struct chunk_check *prev, *next; /* those without bytes, in the loop */
};

static void check_link(struct chunk_check *c)
{
	c->next = c->cl->checks;
	if (c->next != NULL)
		c->next->prev = c;
	c->cl->checks = c;
}

static void check_unlink(struct chunk_check *c)
{
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->cl->checks = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
}

static void check_end(struct chunk_check *c, uint32_t status, uint32_t len)
{
	c->done(c->arg, status, len);
	mem_free(c);
}

static void check_run(struct env_work *work)
{
	struct chunk_check *c = CONTAINER_OF(work, struct chunk_check, work);

	c->rv = chunk_index_get(c->cl->cs, &c->id, &c->row);
}

static void check_ran(struct env_work *work)
{
	struct chunk_check *c = CONTAINER_OF(work, struct chunk_check, work);

	check_unlink(c);
	if (c->rv == -ENOENT)
		check_end(c, RPC_STATUS_NOENT, 0);
	else
		check_end(c, rpc_status_from_errno(c->rv), c->row.len);
}

static void check_read(void *arg, uint32_t status, struct body *body)
{
	struct chunk_check *c = arg;
	uint32_t len = body == NULL ? 0 : body->len;

	body_unref(body);
	check_end(c, status, len);
}

int chunk_check(struct chunk_loop *cl, struct wire_u128 slice, uint32_t index,
		bool read, chunk_check_fn done, void *arg)
{
	struct chunk_check *c = mem_zalloc(sizeof *c);
	int rv;

	if (c == NULL)
		return -ENOMEM;
	c->cl = cl;
	c->id = (struct chunk_id){ slice, index };
	c->done = done;
	c->arg = arg;
	if (read) {
		rv = chunk_get(cl, slice, index, 0, 0, check_read, c);
		if (rv != 0)
			mem_free(c);
		return rv;
	}
	c->work.run = check_run;
	c->work.done = check_ran;
	check_link(c);
	env_work(cl->env, &c->work);
	return 0;
}

void chunk_check_fini(struct chunk_loop *cl)
{
	while (cl->checks != NULL) {
		struct chunk_check *c = cl->checks;

		check_unlink(c);
		check_end(c, RPC_STATUS_UNAVAILABLE, 0);
	}
}
