#ifndef COMMON_BASE_CONF_H
#define COMMON_BASE_CONF_H
/*
 * Configuration files (YAML, one mapping) read through a table of settings.
 * One row per setting gives parser, check, defaults, `-n` output and the
 * section of the .conf.5 page (`-x conf`). Unknown keys, duplicate keys, wrong
 * types and values out of range are errors with file:line.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/errbuf.h"

enum conf_type { CONF_STR, CONF_U64, CONF_SIZE, CONF_BOOL, CONF_MS, CONF_ENUM };

struct conf_setting {
	const char *name; /* dotted for nested mappings: "log.level" */
	enum conf_type type;
	size_t offset;    /* of a char *, uint64_t or bool in the struct */
	const char *dflt; /* as written in a file; NULL = required */
	uint64_t min, max; /* numbers; for CONF_STR max = longest length */
	const char *unit;  /* "bytes", "ms", "" */
	const char *values; /* CONF_ENUM: "a|b|c", stored as index in u64 */
	bool reloadable;
	const char *prose; /* one or two sentences for the manual */
};

/* Fills defaults, then the file (NULL = none). Strings are allocated. */
int conf_load(const struct conf_setting *table, size_t n, const char *path,
	      void *conf, struct errbuf *e);
/* Sets one setting from text, e.g. a command-line option. */
int conf_set(const struct conf_setting *table, size_t n, const char *name,
	     const char *text, void *conf, struct errbuf *e);
void conf_free(const struct conf_setting *table, size_t n, void *conf);
/* The effective configuration as YAML that conf_load() reads back. */
void conf_print(const struct conf_setting *table, size_t n, const void *conf,
		FILE *out);
/* mdoc/man source of the settings. */
void conf_print_man(const struct conf_setting *table, size_t n, FILE *out);

#endif
