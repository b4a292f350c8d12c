/* Start and end of the gateway: what every loop has, the port, the log. */
#include "gateway/gateway.h"

#include <errno.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/base/mem.h"

#include "gateway/gw.h"
#include "gateway/gw_hash.h"

/*
 * One crew hashes what eight streams bring, at up to 4 GB/s; a second one on
 * the same few cores would only find fewer streams to hash side by side.
 */
#define GW_HASH_CORES 4 /* for one crew */

static void gw_loops_free(struct gateway *g)
{
	for (unsigned i = 0; i < g->n_loops; i++) {
		struct gw_loop *l = &g->loops[i];

		for (unsigned k = 0; k < l->n_sums; k++)
			s3_sums_free(l->sums[k].sums);
		s3_auth_free(l->auth);
	}
	mem_free(g->loops);
}

static int gw_loops_new(struct gateway *g)
{
	unsigned n = loop_set_size(g->config.loops);
	uint64_t base;

	g->loops = mem_calloc(n, sizeof(*g->loops));
	if (g->loops == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		struct gw_loop *l = &g->loops[i];

		g->n_loops++;
		l->g = g;
		l->loop = loop_set_get(g->config.loops, i);
		l->env = loop_env(l->loop);
		l->client = client_of(g->config.clients, l->loop);
		/* ids differ between loops, restarts and gateways */
		env_random(l->env, &base, sizeof(base));
		l->next_id = base;
		if (s3_auth_new(&l->auth) != 0)
			return -ENOMEM;
	}
	return 0;
}

static int gw_strings_copy(const struct gateway_config *from,
			   struct gateway_config *to)
{
	const char **const slots[] = { &to->listen, &to->access_log,
				       &to->domain };

	*to = *from;
	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		const char *s = *slots[i];

		*slots[i] = s == NULL ? NULL : mem_strdup(s);
		if (s != NULL && *slots[i] == NULL) {
			/* what is behind still belongs to the caller */
			for (size_t k = i + 1;
			     k < sizeof(slots) / sizeof(slots[0]); k++)
				*slots[k] = NULL;
			return -ENOMEM;
		}
	}
	return 0;
}

static void gw_strings_free(struct gateway_config *c)
{
	mem_free((void *)(uintptr_t)c->listen);
	mem_free((void *)(uintptr_t)c->access_log);
	mem_free((void *)(uintptr_t)c->domain);
}

int gateway_start(const struct gateway_config *config,
		  struct gateway **ret_gateway, struct errbuf *e)
{
	struct gateway *g = mem_zalloc(sizeof(*g));
	int rv;

	if (g == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	rv = gw_strings_copy(config, &g->config);
	if (rv == 0)
		rv = gw_loops_new(g);
	if (rv == 0)
		rv = gw_hash_new(1 + (g->n_loops - 1) / GW_HASH_CORES,
				 &g->hash);
	if (rv == 0)
		rv = gw_route_metrics();
	if (rv != 0) {
		errbuf_set(e, rv, "cannot start the gateway: %s",
			   strerror(-rv));
		goto fail;
	}
	if (config->access_log != NULL) {
		rv = gw_log_new(g, g->config.access_log, &g->log);
		if (rv != 0) {
			errbuf_set(e, rv, "cannot open the access log %s: %s",
				   config->access_log, strerror(-rv));
			goto fail;
		}
	}
	{
		struct http_handler h = gw_http_handler;

		h.arg = g;
		rv = http_server_new(config->loops, config->listen, &h,
				     &g->server);
	}
	if (rv != 0) {
		errbuf_set(e, rv, "cannot listen on %s for S3: %s",
			   config->listen, strerror(-rv));
		goto fail;
	}
	*ret_gateway = g;
	return 0;
fail:
	gateway_free(g);
	return rv;
}

unsigned gateway_port(const struct gateway *g)
{
	return http_server_port(g->server);
}

void gateway_reopen_log(struct gateway *g)
{
	if (g->log != NULL)
		gw_log_reopen(g->log);
}

void gateway_free(struct gateway *g)
{
	if (g == NULL)
		return;
	http_server_free(g->server);
	gw_log_free(g->log);
	/* a refresh may still hold a request, which looks at its loop */
	for (unsigned i = 0; i < g->n_loops; i++)
		if (g->loops[i].held > 0)
			return;
	gw_hash_free(g->hash);
	gw_loops_free(g);
	gw_strings_free(&g->config);
	mem_free(g);
}
