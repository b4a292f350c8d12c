#include "tests/unit/fusefix.h"

#include <string.h>

struct mount mount;
struct minienv *mini;

static const struct mount_options options = { .timeout_s = 30 };

void fusefix_setup(void)
{
	mini = minienv_new(NULL, 1);
	memset(&mount, 0, sizeof(mount));
	mount.env = minienv_env(mini);
	mount.opt = &options;
	mount.state = MOUNT_RUNNING;
	assert_int_equal(finode_table_init(&mount.inodes), 0);
}

void fusefix_teardown(void)
{
	assert_int_equal(mount.fops, 0);
	assert_int_equal(mount.inodes.n, 0);
	finode_table_fini(&mount.inodes);
	minienv_free(mini);
}

/* --- stubs --- */

void device_sent(struct mount *m, struct loop_luck *luck)
{
	(void)m;
	(void)luck;
}

void device_check(struct mount *m)
{
	(void)m;
}

void client_cancel(struct client_call *call)
{
	(void)call;
}

void *fuse_req_userdata(fuse_req_t req)
{
	(void)req;
	return &mount;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	static const struct fuse_ctx ctx = { .uid = 1000, .pid = 99 };

	(void)req;
	return &ctx;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func,
			     void *data)
{
	(void)req;
	(void)func;
	(void)data;
}
