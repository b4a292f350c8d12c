/* leo-managerd: the manager as a daemon of its own; see leo-managerd(8). */
#include <errno.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/client/cluster.h"
#include "managerd/manager.h"

struct managerd_conf {
	char *data, *rpc, *admin, *region, *pid_file;
	uint64_t log_level, lease_ms, durability;
};

#define ROW(field) offsetof(struct managerd_conf, field)
static const struct conf_setting settings[] = {
	{ "data", CONF_STR, ROW(data), NULL, 0, 3900, "", NULL, false,
	  "Directory of the manager; made when missing. The first start "
	  "leaves credentials and admin.token there (mode 0600)." },
	{ "rpc", CONF_STR, ROW(rpc), NULL, 0, 112, "", NULL, false,
	  "Where this daemon listens: unix:PATH. The socket has mode 0600." },
	{ "admin", CONF_STR, ROW(admin), "127.0.0.1:10020", 0, 100, "", NULL,
	  false, "Address and port of the admin API and of /metrics." },
	{ "region", CONF_STR, ROW(region), "us-east-1", 1, 32, "", NULL, false,
	  "S3 region name of a new cluster." },
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
	{ "pid_file", CONF_STR, ROW(pid_file), "", 0, 3900, "", NULL, false,
	  "File to write the process id to; empty for none." },
	{ "log.level", CONF_ENUM, ROW(log_level), "info", 0, 0, "",
	  "error|warn|info|debug", false, "Least important lines to log." },
};

static void managerd_ready(void *arg)
{
	const struct managerd_conf *c = arg;

	log_info("ready rpc=%s admin=%s", c->rpc, c->admin);
	daemon_notify("READY=1");
}

int main(int argc, char **argv)
{
	const unsigned n = sizeof settings / sizeof settings[0];
	struct managerd_conf c = { 0 };
	struct loop_set *set = NULL;
	struct daemon_signals *signals = NULL;
	struct rpc_server *server = NULL;
	struct manager *m = NULL;
	struct errbuf e = { "" };
	uint8_t durability;
	char *dir;
	int rv;

	daemon_configure("leo-managerd", argc, argv, settings, n, &c);
	(void)log_init("leo-managerd", NULL, (enum log_level)c.log_level);
	rv = daemon_lock_dir(c.data, &e);
	if (rv == 0 && c.pid_file[0] != '\0')
		rv = daemon_pid_write(c.pid_file, &e);
	if (rv != 0)
		fatal("%s", e.text);
	durability = (uint8_t)(CLUSTER_DURABILITY_DISK + c.durability);
	dir = mem_printf("%s/manager", c.data);
	rv = dir == NULL ? -ENOMEM : loop_set_new(1, 0, &set);
	if (rv == 0)
		rv = daemon_signals_new(set, NULL, NULL, &signals);
	if (rv == 0)
		rv = rpc_server_new(set, &server);
	if (rv != 0)
		fatal("cannot start: %s", strerror(-rv));
	rv = manager_open(&(struct manager_config){ .loops = set,
						    .server = server,
						    .dir = dir,
						    .conf_dir = c.data,
						    .admin = c.admin,
						    .rpc_addr = c.rpc,
						    .region = c.region,
						    .durability = durability,
						    .lease_ms = (uint32_t)
							    c.lease_ms },
			  &m, &e);
	if (rv == 0) {
		rv = rpc_server_listen(server, c.rpc);
		if (rv != 0)
			errbuf_set(&e, rv, "cannot listen on %s: %s", c.rpc,
				   strerror(-rv));
	}
	if (rv == 0)
		rv = manager_start(m, managerd_ready, &c, &e);
	if (rv != 0)
		fatal("%s", e.text);
	loop_set_run(set);
	manager_close(m);
	rpc_server_free(server);
	daemon_signals_free(signals);
	loop_set_free(set);
	if (c.pid_file[0] != '\0')
		daemon_pid_remove(c.pid_file);
	mem_free(dir);
	conf_free(settings, n, &c);
	return 0;
}
