/*
 * leofs server: manager, storage and gateway in one process, over the
 * in-process transport. See leofs(8).
 *
 *   lock, open parts -> listen -> manager leads -> store joins -> gateway has
 *   its snapshot -> READY
 *
 * leofs fsck: the same parts without any door, and a recount instead of READY.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "gateway/gateway.h"
#include "leofs/fsck.h"
#include "managerd/manager.h"
#include "storaged/storaged.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#else
#define PACKAGE_VERSION "development"
#endif

/* What --set knows. */
struct server_settings {
	uint64_t lease_ms, durability;
	struct storaged_settings store;
};

#define ROW(field) offsetof(struct server_settings, field)
#define STORE_ROW(field) ROW(store.field)
static const struct conf_setting settings[] = {
	{ "durability", CONF_ENUM, ROW(durability), "disk", 0, 0, "",
	  "disk|memory", false,
	  "Of a new cluster: when a change is acknowledged. disk: when it is "
	  "on the disk. memory: when it is written; it is on the disk 50 ms "
	  "later, so a power cut may take the last ones. Later: "
	  "leofs-adm set-durability." },
	{ "session.lease", CONF_MS, ROW(lease_ms), "30s", 300, 3600000, "ms",
	  NULL, false,
	  "How long a mount or gateway is known without a word from it. After "
	  "twice that time its session ends: files that it held open and that "
	  "have no name go." },
	STORAGED_SETTINGS(STORE_ROW)
};
#define N_SETTINGS (sizeof settings / sizeof settings[0])

struct server {
	/* options */
	const char *data, *s3, *admin, *rpc, *pid_file, *domain, *region;
	uint64_t loops, spread_names;
	bool debug;
	bool is_fsck;
	struct fsck fsck;
	struct server_settings conf;
	/* parts */
	char *dir, *rpc_addr, *manager_dir, *store_dir, *access_log;
	struct loop_set *set;
	struct daemon_signals *signals;
	struct rpc_server *rpc_server;
	struct manager *manager;
	struct storaged *storaged;
	struct client_set *clients;
	struct gateway *gateway;
};

static const char usage_text[] =
	"usage: leofs server --data DIR [options]\n"
	"  --data DIR        where everything is kept (made when missing)\n"
	"  --s3 ADDR:PORT    S3 endpoint           (127.0.0.1:8080)\n"
	"  --admin ADDR:PORT admin API and metrics (127.0.0.1:10020)\n"
	"  --rpc unix:PATH   socket for mounts     (unix:DIR/rpc.sock)\n"
	"  --loops N         event loops           (one per core)\n"
	"  --domain NAME     also serve BUCKET.NAME (virtual-host style)\n"
	"  --region NAME     region of a new cluster (us-east-1)\n"
	"  --spread-names N  names in a shard from which on its new directories\n"
	"                    go to shards with fewer (1000000; 1: to any shard)\n"
	"  --pid-file PATH   write the process id there\n"
	"  --set NAME=VALUE  a setting, see leofs(8)\n"
	"  --debug           log more\n"
	"       leofs fsck --data DIR [--read]\n"
	"  recounts everything in a stopped store: 0 clean, 1 findings, 2 cannot\n"
	"  --read            compare bytes with their hashes\n"
	"  --help, --version\n";

enum {
	OPT_DATA = 256,
	OPT_S3,
	OPT_ADMIN,
	OPT_RPC,
	OPT_LOOPS,
	OPT_DOMAIN,
	OPT_REGION,
	OPT_SPREAD,
	OPT_PID,
	OPT_SET,
	OPT_DEBUG,
	OPT_READ,
	OPT_HELP,
	OPT_VERSION,
};

static _Noreturn void server_usage(int status)
{
	fputs(usage_text, status == 0 ? stdout : stderr);
	exit(status);
}

static void server_set_number(struct server *s, const char *name,
			      const char *text)
{
	static const struct conf_setting numbers[] = {
		{ .name = "--loops", .type = CONF_U64, .min = 1, .max = 64,
		  .offset = offsetof(struct server, loops) },
		{ .name = "--spread-names", .type = CONF_U64, .min = 1,
		  .offset = offsetof(struct server, spread_names) },
	};
	struct errbuf e = { "" };

	if (conf_set(numbers, sizeof numbers / sizeof numbers[0], name, text,
		     s, &e) != 0) {
		fprintf(stderr, "leofs: %s\n", e.text);
		exit(2);
	}
}

/* NAME=VALUE */
static void server_set(struct server *s, char *text)
{
	char *eq = strchr(text, '=');
	struct errbuf e = { "" };

	if (eq == NULL) {
		fprintf(stderr, "leofs: --set takes NAME=VALUE\n");
		exit(2);
	}
	*eq = '\0';
	if (conf_set(settings, N_SETTINGS, text, eq + 1, &s->conf, &e) != 0) {
		fprintf(stderr, "leofs: --set: %s\n", e.text);
		exit(2);
	}
}

static void server_option(struct server *s, int opt)
{
	switch (opt) {
	case OPT_DATA:
		s->data = optarg;
		break;
	case OPT_S3:
		s->s3 = optarg;
		break;
	case OPT_ADMIN:
		s->admin = optarg;
		break;
	case OPT_RPC:
		s->rpc = optarg;
		break;
	case OPT_LOOPS:
		server_set_number(s, "--loops", optarg);
		break;
	case OPT_DOMAIN:
		s->domain = optarg;
		break;
	case OPT_REGION:
		s->region = optarg;
		break;
	case OPT_SPREAD:
		server_set_number(s, "--spread-names", optarg);
		break;
	case OPT_PID:
		s->pid_file = optarg;
		break;
	case OPT_SET:
		server_set(s, optarg);
		break;
	case OPT_DEBUG:
		s->debug = true;
		break;
	case OPT_READ:
		s->fsck.read = true;
		break;
	case OPT_HELP:
		server_usage(0);
	case OPT_VERSION:
		puts("leofs " PACKAGE_VERSION);
		exit(0);
	default:
		server_usage(2);
	}
}

static void server_parse(struct server *s, int argc, char **argv)
{
	static const struct option options[] = {
		{ "data", required_argument, NULL, OPT_DATA },
		{ "s3", required_argument, NULL, OPT_S3 },
		{ "admin", required_argument, NULL, OPT_ADMIN },
		{ "rpc", required_argument, NULL, OPT_RPC },
		{ "loops", required_argument, NULL, OPT_LOOPS },
		{ "domain", required_argument, NULL, OPT_DOMAIN },
		{ "region", required_argument, NULL, OPT_REGION },
		{ "spread-names", required_argument, NULL, OPT_SPREAD },
		{ "pid-file", required_argument, NULL, OPT_PID },
		{ "set", required_argument, NULL, OPT_SET },
		{ "debug", no_argument, NULL, OPT_DEBUG },
		{ "read", no_argument, NULL, OPT_READ },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct errbuf e = { "" };
	int opt;

	if (conf_load(settings, N_SETTINGS, NULL, &s->conf, &e) != 0)
		fatal("%s", e.text);

	s->s3 = "127.0.0.1:8080";
	s->admin = "127.0.0.1:10020";
	s->loops = cores < 1 ? 1 : cores > 64 ? 64 : (unsigned)cores;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		server_option(s, opt);
	if (optind != argc - 1 || s->data == NULL || s->data[0] == '\0')
		server_usage(2);
	s->is_fsck = strcmp(argv[optind], "fsck") == 0;
	if (!s->is_fsck && strcmp(argv[optind], "server") != 0)
		server_usage(2);
	if (s->rpc != NULL && strncmp(s->rpc, "unix:", 5) != 0) {
		fprintf(stderr, "leofs: --rpc takes unix:PATH\n");
		exit(2);
	}
}

static void server_paths(struct server *s)
{
	s->dir = daemon_abs_path(s->data);
	if (s->dir == NULL)
		fatal("cannot resolve %s", s->data);
	s->rpc_addr = s->rpc != NULL ? mem_strdup(s->rpc)
				     : mem_printf("unix:%s/rpc.sock", s->dir);
	s->manager_dir = mem_printf("%s/manager", s->dir);
	s->store_dir = mem_printf("%s/store", s->dir);
	s->access_log = mem_printf("%s/access.log", s->dir);
	if (s->rpc_addr == NULL || s->manager_dir == NULL ||
	    s->store_dir == NULL || s->access_log == NULL)
		fatal("out of memory");
}

/* --- start, step by step --- */

static void server_ready(void *arg, int status)
{
	struct server *s = arg;

	if (status != 0)
		fatal("the gateway cannot reach the managers: %s",
		      strerror(-status));
	log_info("ready s3=%s admin=%s rpc=%s loops=%u", s->s3, s->admin,
		 s->rpc_addr, loop_set_size(s->set));
	daemon_notify("READY=1");
}

static void server_store_up(void *arg)
{
	struct server *s = arg;

	if (s->is_fsck)
		fsck_run(&s->fsck);
	else
		client_set_start(s->clients, server_ready, s);
}

static void server_manager_up(void *arg)
{
	struct server *s = arg;
	struct errbuf e = { "" };

	if (storaged_start(s->storaged, server_store_up, s, &e) != 0)
		fatal("%s", e.text);
}

static int server_open(struct server *s, struct errbuf *e)
{
	struct manager_config mc = {
		.loops = s->set,
		.server = s->rpc_server,
		.dir = s->manager_dir,
		.conf_dir = s->dir,
		.admin = s->is_fsck ? NULL : s->admin,
		.rpc_addr = s->rpc_addr,
		.region = s->region,
		.durability = (uint8_t)(CLUSTER_DURABILITY_DISK +
					s->conf.durability),
		.lease_ms = (uint32_t)s->conf.lease_ms,
		.alone = s->is_fsck,
	};
	struct storaged_config sc = {
		.loops = s->set,
		.server = s->rpc_server,
		.dir = s->store_dir,
		.addr = s->rpc_addr,
		.manager = s->rpc_addr,
		.manager_is_local = true,
		.settings = s->conf.store,
		.is_check = s->is_fsck,
		.spread_names = s->spread_names,
	};
	struct client_config cc = {
		.loops = s->set,
		.manager = s->rpc_addr,
		.role = RPC_ROLE_GATEWAY,
		.kind = "gateway",
		.local = s->rpc_addr,
		.server = s->rpc_server,
	};
	int rv = manager_open(&mc, &s->manager, e);

	if (rv == 0)
		rv = storaged_open(&sc, &s->storaged, e);
	if (rv == 0)
		rv = client_set_new(&cc, &s->clients, e);
	return rv;
}

static int server_start(struct server *s, struct errbuf *e)
{
	struct gateway_config gc = {
		.loops = s->set,
		.clients = s->clients,
		.listen = s->s3,
		.access_log = s->access_log,
		.domain = s->domain,
	};
	int rv;

	if (s->is_fsck) {
		s->fsck.set = s->set;
		s->fsck.manager = s->manager;
		return manager_start(s->manager, server_manager_up, s, e);
	}
	/* ports first: one in use must stop us before anything else runs */
	rv = gateway_start(&gc, &s->gateway, e);
	if (rv != 0)
		return rv;
	rv = rpc_server_listen(s->rpc_server, s->rpc_addr);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot listen on %s: %s",
				  s->rpc_addr, strerror(-rv));
	return manager_start(s->manager, server_manager_up, s, e);
}

static void server_hup(void *arg)
{
	struct server *s = arg;

	if (s->gateway != NULL)
		gateway_reopen_log(s->gateway);
}

/* After the loops have stopped; the order is that of use. */
static void server_close(struct server *s)
{
	gateway_free(s->gateway);
	client_set_free(s->clients);
	manager_close(s->manager);
	storaged_close(s->storaged);
	rpc_server_free(s->rpc_server);
	daemon_signals_free(s->signals);
	loop_set_free(s->set);
	daemon_pid_remove(s->pid_file);
	mem_free(s->dir);
	mem_free(s->rpc_addr);
	mem_free(s->manager_dir);
	mem_free(s->store_dir);
	mem_free(s->access_log);
}

int main(int argc, char **argv)
{
	struct server s = { 0 };
	struct errbuf e = { "" };
	int rv;

	server_parse(&s, argc, argv);
	(void)log_init("leofs", NULL,
		       s.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	daemon_raise_files();
	if (s.is_fsck)
		fatal_set_status(2); /* 1 says that something was found */
	server_paths(&s);
	if (s.is_fsck && access(s.manager_dir, F_OK) != 0)
		fatal("there is no store in %s", s.dir);
	rv = daemon_lock_dir(s.dir, &e);
	if (rv == 0) /* leo-storaged may have it while no manager runs */
		rv = daemon_lock_dir(s.store_dir, &e);
	if (rv == 0)
		rv = daemon_pid_write(s.pid_file, &e);
	if (rv != 0)
		fatal("%s", e.text);
	rv = loop_set_new((unsigned)s.loops, 0, &s.set);
	if (rv == 0)
		rv = daemon_signals_new(s.set, server_hup, &s, &s.signals);
	if (rv == 0)
		rv = rpc_server_new(s.set, &s.rpc_server);
	if (rv != 0)
		fatal("cannot start: %s", strerror(-rv));
	rv = server_open(&s, &e);
	if (rv == 0)
		rv = server_start(&s, &e);
	if (rv != 0) {
		daemon_pid_remove(s.pid_file);
		fatal("%s", e.text);
	}
	loop_set_run(s.set);
	server_close(&s);
	return s.fsck.status;
}
