/*
 * Appends on one loop with a number of them under way, then recovery.
 *   bench_seg [-s BYTES] [-d DEPTH] [-t SECONDS] [-b] DIR
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/loop.h"
#include "common/seg/seg.h"

struct bench {
	struct env *env;
	struct loop_set *set;
	struct seg_port *port;
	uint8_t *body;
	size_t size;
	unsigned busy;
	uint64_t n, end;
	struct env_task begin;
	struct seg_append *a;
	unsigned depth;
	uint64_t found, found_bytes;
};

static struct bench b;

static void put(struct seg_append *a)
{
	a->iov[0].iov_base = b.body;
	a->iov[0].iov_len = b.size;
	a->niov = 1;
	a->type = SEG_ENTRY;
	a->a = b.n++;
	b.busy++;
	seg_append(b.port, a);
}

static void done(struct seg_append *a)
{
	b.busy--;
	if (env_now_ns(b.env) < b.end)
		put(a);
	else if (b.busy == 0)
		loop_set_stop(b.set);
}

static void begin(struct env_task *task)
{
	(void)task;
	for (unsigned i = 0; i < b.depth; i++) {
		b.a[i].done = done;
		put(&b.a[i]);
	}
}

static int on_record(void *arg, const struct seg_rec *rec)
{
	(void)arg;
	b.found++;
	b.found_bytes += rec->len;
	return 0;
}

static double cpu(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	struct seg_config c = { .on_record = on_record };
	struct seg_head *head;
	struct seg_stats st;
	struct errbuf e;
	uint64_t t0, t1, seconds = 3;
	double cpu0;
	int o;

	b.size = 1024;
	b.depth = 16;
	while ((o = getopt(argc, argv, "s:d:t:b")) != -1) {
		if (o == 's')
			b.size = strtoul(optarg, NULL, 10);
		else if (o == 'd')
			b.depth = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 't')
			seconds = strtoul(optarg, NULL, 10);
		else if (o == 'b')
			c.bulk = true;
		else
			return 2;
	}
	if (optind >= argc || b.size > SEG_BODY_MAX || b.depth == 0)
		return 2;
	c.dir = argv[optind];
	b.body = malloc(b.size + 1);
	b.a = calloc(b.depth, sizeof(*b.a));
	if (b.body == NULL || b.a == NULL || loop_set_new(1, 1, &b.set) != 0)
		return 1;
	memset(b.body, 'x', b.size);
	b.env = loop_env(loop_set_get(b.set, 0));
	if (seg_head_open(b.env, &c, &head, &e) != 0 ||
	    seg_port_new(head, b.env, &b.port) != 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	t0 = env_now_ns(b.env);
	cpu0 = cpu();
	b.end = t0 + seconds * 1000000000;
	b.begin.run = begin;
	env_post(b.env, &b.begin);
	loop_set_run(b.set);
	t1 = env_now_ns(b.env);
	seg_head_stats(head, &st);
	printf("append: %zu B, %u under way: %.0f/s, %.1f MB/s, %.1f records a "
	       "flush, sync %.0f us, cpu %.2f us each\n",
	       b.size, b.depth, (double)b.n * 1e9 / (double)(t1 - t0),
	       (double)(b.n * b.size) * 1e3 / (double)(t1 - t0),
	       (double)st.appended_records / (double)st.flushes,
	       (double)st.sync_ns / 1e3 / (double)st.flushes,
	       (cpu() - cpu0) * 1e6 / (double)b.n);
	seg_port_free(b.port);
	seg_head_close(head);
	b.found = 0;
	b.found_bytes = 0;
	t0 = env_now_ns(b.env);
	if (seg_head_open(b.env, &c, &head, &e) != 0)
		return 1;
	t1 = env_now_ns(b.env);
	printf("recovery: %llu records, %.1f MB in %.1f ms, %.0f MB/s\n",
	       (unsigned long long)b.found, (double)b.found_bytes / 1e6,
	       (double)(t1 - t0) / 1e6,
	       (double)b.found_bytes * 1e3 / (double)(t1 - t0));
	seg_head_close(head);
	loop_set_free(b.set);
	free(b.body);
	free(b.a);
	return 0;
}
