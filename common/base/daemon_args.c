#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/daemon.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#else
#define PACKAGE_VERSION "development"
#endif

static _Noreturn void daemon_usage(const char *name, int status)
{
	fprintf(status == 0 ? stdout : stderr,
		"usage: %s [-c FILE] [-n]\n"
		"  -c FILE   configuration file, see %s.conf(5)\n"
		"  -n        check it, print the effective configuration\n"
		"  -x conf   print the settings as manual page source\n"
		"  --help, --version\n",
		name, name);
	exit(status);
}

void daemon_configure(const char *name, int argc, char **argv,
		      const struct conf_setting *table, unsigned n, void *conf)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *file = NULL;
	bool check = false;
	struct errbuf e = { "" };
	int opt;

	while ((opt = getopt_long(argc, argv, "c:nx:h", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			file = optarg;
			break;
		case 'n':
			check = true;
			break;
		case 'x':
			if (strcmp(optarg, "conf") != 0)
				daemon_usage(name, 2);
			conf_print_man(table, n, stdout);
			exit(0);
		case 'h':
			daemon_usage(name, 0);
		case 'V':
			printf("%s " PACKAGE_VERSION "\n", name);
			exit(0);
		default:
			daemon_usage(name, 2);
		}
	}
	if (optind != argc)
		daemon_usage(name, 2);
	if (conf_load(table, n, file, conf, &e) != 0) {
		fprintf(stderr, "%s: %s\n", name, e.text);
		exit(1);
	}
	if (check) {
		conf_print(table, n, conf, stdout);
		exit(0);
	}
}
