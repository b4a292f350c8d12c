/* leo-gateway: the S3 gateway as a daemon of its own; see leo-gateway(8). */
#include <errno.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/mem.h"
#include "gateway/gateway.h"

struct gateway_conf {
	char *listen, *manager, *domain, *access_log, *pid_file;
	uint64_t loops, log_level;
};

#define ROW(field) offsetof(struct gateway_conf, field)
static const struct conf_setting settings[] = {
	{ "listen", CONF_STR, ROW(listen), "127.0.0.1:8080", 0, 100, "", NULL,
	  false, "Address and port of the S3 endpoint." },
	{ "manager", CONF_STR, ROW(manager), NULL, 0, 112, "", NULL, false,
	  "Where the manager listens: unix:PATH." },
	{ "domain", CONF_STR, ROW(domain), "", 0, 253, "", NULL, false,
	  "Also serve BUCKET.DOMAIN (virtual-host style); empty: path style "
	  "only." },
	{ "access_log", CONF_STR, ROW(access_log), "", 0, 3900, "", NULL,
	  false, "File for access log lines (JSON); empty for none." },
	{ "loops", CONF_U64, ROW(loops), "1", 1, 64, "", NULL, false,
	  "Event loops (threads) that serve requests." },
	{ "pid_file", CONF_STR, ROW(pid_file), "", 0, 3900, "", NULL, false,
	  "File to write the process id to; empty for none." },
	{ "log.level", CONF_ENUM, ROW(log_level), "info", 0, 0, "",
	  "error|warn|info|debug", false, "Least important lines to log." },
};

static const char *gateway_text(const char *s)
{
	return s[0] != '\0' ? s : NULL;
}

static void gateway_ready(void *arg, int status)
{
	const struct gateway_conf *c = arg;

	if (status != 0)
		fatal("cannot reach the managers: %s", strerror(-status));
	log_info("ready s3=%s", c->listen);
	daemon_notify("READY=1");
}

static void gateway_hup(void *arg)
{
	struct gateway **g = arg;

	if (*g != NULL)
		gateway_reopen_log(*g);
}

int main(int argc, char **argv)
{
	const unsigned n = sizeof settings / sizeof settings[0];
	struct gateway_conf c = { 0 };
	struct loop_set *set = NULL;
	struct daemon_signals *signals = NULL;
	struct client_set *clients = NULL;
	struct gateway *g = NULL;
	struct errbuf e = { "" };
	int rv;

	daemon_configure("leo-gateway", argc, argv, settings, n, &c);
	(void)log_init("leo-gateway", NULL, (enum log_level)c.log_level);
	daemon_raise_files();
	if (daemon_pid_write(gateway_text(c.pid_file), &e) != 0)
		fatal("%s", e.text);
	rv = loop_set_new((unsigned)c.loops, 0, &set);
	if (rv == 0)
		rv = daemon_signals_new(set, gateway_hup, &g, &signals);
	if (rv != 0)
		fatal("cannot start: %s", strerror(-rv));
	rv = client_set_new(&(struct client_config){ .loops = set,
						     .manager = c.manager,
						     .role = RPC_ROLE_GATEWAY,
						     .kind = "gateway" },
			    &clients, &e);
	if (rv == 0)
		rv = gateway_start(
			&(struct gateway_config){
				.loops = set,
				.clients = clients,
				.listen = c.listen,
				.access_log = gateway_text(c.access_log),
				.domain = gateway_text(c.domain) },
			&g, &e);
	if (rv != 0)
		fatal("%s", e.text);
	client_set_start(clients, gateway_ready, &c);
	loop_set_run(set);
	gateway_free(g);
	client_set_free(clients);
	daemon_signals_free(signals);
	loop_set_free(set);
	daemon_pid_remove(gateway_text(c.pid_file));
	conf_free(settings, n, &c);
	return 0;
}
