/* leo-storaged: one store as a daemon of its own; see leo-storaged(8). */
#include <string.h>

#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "storaged/storaged.h"

struct storaged_conf {
	char *data, *rpc, *manager, *pid_file;
	uint64_t loops, spread_names, log_level;
	struct storaged_settings store;
};

#define ROW(field) offsetof(struct storaged_conf, field)
#define STORE_ROW(field) ROW(store.field)
static const struct conf_setting settings[] = {
	{ "data", CONF_STR, ROW(data), NULL, 0, 3900, "", NULL, false,
	  "Directory of the store; made when missing." },
	{ "rpc", CONF_STR, ROW(rpc), NULL, 0, 112, "", NULL, false,
	  "Where this daemon listens: unix:PATH. The socket has mode 0600." },
	{ "manager", CONF_STR, ROW(manager), NULL, 0, 112, "", NULL, false,
	  "Where the manager listens: unix:PATH." },
	{ "loops", CONF_U64, ROW(loops), "1", 1, 64, "", NULL, false,
	  "Event loops (threads) that serve requests." },
	{ "spread_names", CONF_U64, ROW(spread_names), "1000000", 1,
	  INT64_MAX, "", NULL, false,
	  "Names in a shard from which on its new directories go to shards "
	  "with fewer; 1: to any shard, from the first one on." },
	{ "pid_file", CONF_STR, ROW(pid_file), "", 0, 3900, "", NULL, false,
	  "File to write the process id to; empty for none." },
	STORAGED_SETTINGS(STORE_ROW)
	{ "log.level", CONF_ENUM, ROW(log_level), "info", 0, 0, "",
	  "error|warn|info|debug", false, "Least important lines to log." },
};

static void storaged_ready(void *arg)
{
	const struct storaged_conf *c = arg;

	log_info("ready rpc=%s", c->rpc);
	daemon_notify("READY=1");
}

int main(int argc, char **argv)
{
	const unsigned n = sizeof settings / sizeof settings[0];
	struct storaged_conf c = { 0 };
	struct loop_set *set = NULL;
	struct daemon_signals *signals = NULL;
	struct rpc_server *server = NULL;
	struct storaged *s = NULL;
	struct errbuf e = { "" };
	int rv;

	daemon_configure("leo-storaged", argc, argv, settings, n, &c);
	(void)log_init("leo-storaged", NULL, (enum log_level)c.log_level);
	daemon_raise_files();
	rv = daemon_lock_dir(c.data, &e);
	if (rv == 0 && c.pid_file[0] != '\0')
		rv = daemon_pid_write(c.pid_file, &e);
	if (rv != 0)
		fatal("%s", e.text);
	rv = loop_set_new((unsigned)c.loops, 0, &set);
	if (rv == 0)
		rv = daemon_signals_new(set, NULL, NULL, &signals);
	if (rv == 0)
		rv = rpc_server_new(set, &server);
	if (rv != 0)
		fatal("cannot start: %s", strerror(-rv));
	rv = storaged_open(&(struct storaged_config){ .loops = set,
						      .server = server,
						      .dir = c.data,
						      .addr = c.rpc,
						      .manager = c.manager,
						      .settings = c.store,
						      .spread_names =
							      c.spread_names },
			   &s, &e);
	if (rv == 0) {
		rv = rpc_server_listen(server, c.rpc);
		if (rv != 0)
			errbuf_set(&e, rv, "cannot listen on %s: %s", c.rpc,
				   strerror(-rv));
	}
	if (rv == 0)
		rv = storaged_start(s, storaged_ready, &c, &e);
	if (rv != 0)
		fatal("%s", e.text);
	loop_set_run(set);
	storaged_close(s);
	rpc_server_free(server);
	daemon_signals_free(signals);
	loop_set_free(set);
	if (c.pid_file[0] != '\0')
		daemon_pid_remove(c.pid_file);
	conf_free(settings, n, &c);
	return 0;
}
