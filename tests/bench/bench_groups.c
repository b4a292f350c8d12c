/*
 * What shards cost that nobody uses: a store opens with so many groups of one
 * voter each, waits until it leads all of them, then does nothing. With the
 * same DIR again: what they cost after a restart.
 *   bench_groups [-g GROUPS] [-l LOOPS] [-t SECONDS] [-m MIB] [-c PERCENT] DIR
 * Fails above -m (anonymous memory that the groups added) or -c (of a core).
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/base/loop.h"
#include "common/rpc/rpc.h"
#include "storaged/store.h"

struct bench {
	unsigned groups, loops, seconds;
	double mib, percent; /* limits; 0: none */
	struct loop_set *set;
	struct rpc_server *server;
	struct store *store;
	sem_t ready;
};

static double seconds_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds_cpu(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Anonymous memory: what leveldb maps does not count. */
static double mib_anon(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	unsigned long kib = 0;
	char line[256];

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtoul(line + 8, NULL, 10);
	(void)fclose(f);
	return (double)kib / 1024;
}

static void on_ready(void *arg)
{
	struct bench *b = arg;

	(void)sem_post(&b->ready);
}

static void *bench_loops(void *arg)
{
	struct bench *b = arg;

	loop_set_run(b->set);
	return NULL;
}

static int bench_open(struct bench *b, const char *dir, struct errbuf *e)
{
	struct store_config config = { .dir = dir };

	if (sem_init(&b->ready, 0, 0) != 0 ||
	    loop_set_new(b->loops, 2, &b->set) != 0 ||
	    rpc_server_new(b->set, &b->server) != 0)
		return errbuf_set(e, -1, "no loops");
	config.loops = b->set;
	config.server = b->server;
	return store_open(&config, &b->store, e);
}

static int bench_start(struct bench *b, struct errbuf *e)
{
	uint16_t *shards = calloc(b->groups, sizeof *shards);
	int rv;

	if (shards == NULL)
		return -1;
	for (unsigned i = 0; i < b->groups; i++)
		shards[i] = (uint16_t)i;
	rv = store_assign(b->store, 1, shards, b->groups, e);
	free(shards);
	return rv == 0 ? store_start(b->store, on_ready, b, e) : rv;
}

static int bench_judge(const struct bench *b, double mib, double percent)
{
	bool bad = (b->mib > 0 && mib > b->mib) ||
		   (b->percent > 0 && percent > b->percent);

	return bad ? 1 : 0;
}

static int bench_run(struct bench *b, const char *dir)
{
	struct errbuf e = { "" };
	double t0 = seconds_now(), base = mib_anon(), ready, cpu, mib, percent;
	pthread_t thread;

	if (bench_open(b, dir, &e) != 0 || bench_start(b, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	if (pthread_create(&thread, NULL, bench_loops, b) != 0)
		return 1;
	(void)sem_wait(&b->ready);
	ready = seconds_now() - t0;
	printf("groups %u, loops %u: lead after %.2f s, %.2f s of cpu\n",
	       b->groups, b->loops, ready, seconds_cpu());
	sleep(3); /* what the start leaves behind: a checkpoint */
	cpu = seconds_cpu();
	t0 = seconds_now();
	sleep(b->seconds);
	percent = 100 * (seconds_cpu() - cpu) / (seconds_now() - t0);
	mib = mib_anon() - base;
	printf("# summary: %u idle groups: %.1f MiB, %.2f KiB per group, "
	       "%.2f %% of a core\n", b->groups, mib, mib * 1024 / b->groups,
	       percent);
	loop_set_stop(b->set);
	(void)pthread_join(thread, NULL);
	store_close(b->store);
	rpc_server_free(b->server);
	loop_set_free(b->set);
	return bench_judge(b, mib, percent);
}

int main(int argc, char **argv)
{
	struct bench b = { .groups = 4096, .loops = 1, .seconds = 10 };
	int o;

	while ((o = getopt(argc, argv, "g:l:t:m:c:")) != -1) {
		if (o == 'g')
			b.groups = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 'l')
			b.loops = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 't')
			b.seconds = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 'm')
			b.mib = strtod(optarg, NULL);
		else if (o == 'c')
			b.percent = strtod(optarg, NULL);
		else
			return 2;
	}
	if (optind >= argc || b.groups == 0 || b.groups > 65535 ||
	    b.loops == 0 || b.seconds == 0)
		return 2;
	return bench_run(&b, argv[optind]);
}
