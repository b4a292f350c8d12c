#include "tests/lib/slowwork.h"

static struct slowwork *live;

static void slowwork_hold(struct env *env, struct env_work *work)
{
	(void)env;
	work->next = live->held;
	live->held = work;
}

void slowwork_start(struct slowwork *s, struct env *env)
{
	live = s;
	s->env = env;
	s->ops = *env->ops;
	s->work = s->ops.work;
	s->ops.work = slowwork_hold;
	env->ops = &s->ops;
}

void slowwork_go(struct slowwork *s, struct env_work **at)
{
	struct env_work *work = *at;

	*at = work->next;
	s->work(s->env, work);
}
