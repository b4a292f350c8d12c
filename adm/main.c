/* leofs-adm: the admin tool; see leofs-adm(8). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adm/adm.h"
#include "common/base/mem.h"
#include "common/http/http.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#else
#define PACKAGE_VERSION "development"
#endif

#define ADM_DEFAULT_URL "http://127.0.0.1:10020"

static _Noreturn void adm_usage(int status)
{
	FILE *out = status == 0 ? stdout : stderr;

	fputs("usage: leofs-adm [--json] [--data DIR | --url URL "
	      "--token-file FILE] COMMAND [ARGS]\n\n"
	      "Without options the environment is asked: LEOFS_ADMIN_URL "
	      "(" ADM_DEFAULT_URL "),\nLEOFS_ADMIN_TOKEN_FILE.\n\n",
	      out);
	for (unsigned i = 0; i < adm_n_commands; i++)
		fprintf(out, "  %-14s%s%s\n%16s%s\n", adm_commands[i].name,
			adm_commands[i].args[0] != '\0' ? " " : "",
			adm_commands[i].args, "", adm_commands[i].what);
	exit(status);
}

char *adm_encode(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	char *out = mem_alloc(strlen(text) * 3 + 1), *o = out;

	if (out == NULL)
		return NULL;
	for (; *text != '\0'; text++) {
		if (strchr(plain, *text) != NULL)
			*o++ = *text;
		else
			o += sprintf(o, "%%%02X", (unsigned char)*text);
	}
	*o = '\0';
	return out;
}

static json_t *adm_answer(struct http_response *r)
{
	json_error_t err;
	json_t *json = json_loadb(r->body != NULL ? r->body : "", r->body_len,
				  0, &err);
	const char *text = json_string_value(json_object_get(json, "error"));

	if (r->status < 300 && json != NULL)
		return json;
	fprintf(stderr, "leofs-adm: %s (HTTP %u)\n",
		text != NULL ? text : "unexpected answer", r->status);
	json_decref(json);
	return NULL;
}

json_t *adm_call(struct adm *a, const char *method, const char *path,
		 json_t *body)
{
	char *url = mem_printf("%s%s", a->url, path);
	char *auth = mem_printf("Authorization: Bearer %s", a->token);
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	const char *headers[] = { auth, "Content-Type: application/json",
				  NULL };
	struct http_response r = { 0 };
	json_t *answer = NULL;
	int rv = url == NULL || auth == NULL ? -ENOMEM : 0;

	if (rv == 0)
		rv = http_fetch(method, url, headers, text,
				text != NULL ? strlen(text) : 0, &r);
	if (rv != 0)
		fprintf(stderr, "leofs-adm: cannot reach %s: %s\n", a->url,
			strerror(-rv));
	else
		answer = adm_answer(&r);
	http_response_fini(&r);
	json_decref(body);
	free(text);
	mem_free(url);
	mem_free(auth);
	return answer;
}

/* First line of a file, or NULL. */
static char *adm_read_line(const char *path)
{
	char line[512];
	FILE *f = path != NULL ? fopen(path, "re") : NULL;
	char *got = f != NULL ? fgets(line, sizeof line, f) : NULL;

	if (f != NULL)
		fclose(f);
	if (got == NULL)
		return NULL;
	line[strcspn(line, "\r\n")] = '\0';
	return mem_strdup(line);
}

static void adm_find_server(struct adm *a, const char *url,
			    const char *token_file)
{
	char *from_url = NULL, *from_token = NULL;

	if (a->data != NULL) {
		from_url = mem_printf("%s/admin.url", a->data);
		from_token = mem_printf("%s/admin.token", a->data);
	}
	if (url == NULL && from_url != NULL)
		a->url = adm_read_line(from_url);
	if (url == NULL)
		url = getenv("LEOFS_ADMIN_URL");
	if (a->url == NULL)
		a->url = mem_strdup(url != NULL ? url : ADM_DEFAULT_URL);
	if (token_file == NULL)
		token_file = from_token;
	if (token_file == NULL)
		token_file = getenv("LEOFS_ADMIN_TOKEN_FILE");
	if (token_file == NULL) {
		fprintf(stderr, "leofs-adm: where is the admin token? Give "
				"--data DIR, --token-file FILE or set "
				"LEOFS_ADMIN_TOKEN_FILE\n");
		exit(2);
	}
	a->token = adm_read_line(token_file);
	if (a->token == NULL) {
		fprintf(stderr, "leofs-adm: cannot read the token in %s: %s\n",
			token_file, strerror(errno));
		exit(2);
	}
	mem_free(from_url);
	mem_free(from_token);
}

static long adm_number(const char *name, const char *text, int base)
{
	char *end;
	long n = strtol(text, &end, base);

	if (*text == '\0' || *end != '\0' || n < 0) {
		fprintf(stderr, "leofs-adm: --%s takes a number\n", name);
		exit(2);
	}
	return n;
}

static const struct adm_command *adm_parse(struct adm *a, int argc,
					   char **argv, const char **ret_url,
					   const char **ret_token)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "data", required_argument, NULL, 'd' },
		{ "url", required_argument, NULL, 'u' },
		{ "token-file", required_argument, NULL, 't' },
		{ "admin", no_argument, NULL, 'a' },
		{ "read", no_argument, NULL, 'r' },
		{ "wait", no_argument, NULL, 'w' },
		{ "owner", required_argument, NULL, 'o' },
		{ "uid", required_argument, NULL, 'U' },
		{ "gid", required_argument, NULL, 'G' },
		{ "umask", required_argument, NULL, 'M' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'j': a->json = true; break;
		case 'd': a->data = optarg; break;
		case 'u': *ret_url = optarg; break;
		case 't': *ret_token = optarg; break;
		case 'a': a->admin = true; break;
		case 'r': a->read = true; break;
		case 'w': a->wait = true; break;
		case 'o': a->owner = optarg; break;
		case 'U': a->uid = adm_number("uid", optarg, 10); break;
		case 'G': a->gid = adm_number("gid", optarg, 10); break;
		case 'M': a->umask = adm_number("umask", optarg, 8); break;
		case 'h': adm_usage(0);
		case 'V':
			puts("leofs-adm " PACKAGE_VERSION);
			exit(0);
		default: adm_usage(2);
		}
	}
	if (optind >= argc)
		adm_usage(2);
	a->argc = argc - optind - 1;
	a->argv = argv + optind + 1;
	for (unsigned i = 0; i < adm_n_commands; i++)
		if (strcmp(adm_commands[i].name, argv[optind]) == 0)
			return &adm_commands[i];
	fprintf(stderr, "leofs-adm: no command \"%s\"; try --help\n",
		argv[optind]);
	exit(2);
}

int main(int argc, char **argv)
{
	struct adm a = { .uid = -1, .gid = -1, .umask = -1 };
	const char *url = NULL, *token_file = NULL;
	const struct adm_command *c =
		adm_parse(&a, argc, argv, &url, &token_file);
	int rv;

	if (a.argc < c->min || a.argc > c->max) {
		fprintf(stderr, "usage: leofs-adm %s %s\n", c->name, c->args);
		return 2;
	}
	adm_find_server(&a, url, token_file);
	rv = c->run(&a);
	mem_free(a.url);
	mem_free(a.token);
	return rv;
}
