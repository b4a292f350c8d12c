#ifndef COMMON_BASE_LOOP_HOOK_H
#define COMMON_BASE_LOOP_HOOK_H
/*
 * Hooks at the end of a loop's turn, for common/base, common/rpc and
 * common/http: after all tasks and events of the turn, before the loop may
 * sleep, in the order of adding. Unlike a task, a hook can be taken back.
 * A hook added by a hook runs in the next turn. Loop only.
 */
#include <sys/queue.h>

#include "common/base/loop.h"

/* Embedded in its owner; zero-initialise, set run. */
struct loop_hook {
	void (*run)(struct loop_hook *hook); /* set by the owner */
	TAILQ_ENTRY(loop_hook) link;         /* private */
	bool queued;                         /* private */
};
TAILQ_HEAD(loop_hooks, loop_hook);

/* Runs hook once at the end of this turn; does nothing when queued. */
void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_del(struct loop *loop, struct loop_hook *hook);

#endif
