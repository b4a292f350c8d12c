#ifndef ADM_ADM_H
#define ADM_ADM_H
/*
 * leofs-adm: one row per command; everything goes through the admin API.
 */
#include <jansson.h>
#include <stdbool.h>

struct adm {
	bool json;        /* --json: print the API's answer as it is */
	char *url;        /* http://HOST:PORT */
	char *token;
	const char *data; /* --data DIR */
	int argc;         /* of the command, without its name */
	char **argv;
	/* options of single commands */
	bool admin;       /* create-user --admin */
	bool read;        /* fsck --read */
	bool wait;        /* compact-start --wait */
	const char *owner;
	long uid, gid, umask; /* add-bucket; -1: not given */
};

struct adm_command {
	const char *name;
	const char *args; /* for the usage text */
	int min, max;     /* number of arguments */
	int (*run)(struct adm *a);
	const char *what;
};
extern const struct adm_command adm_commands[];
extern const unsigned adm_n_commands;

/*
 * One call. body is taken (may be NULL). Returns the answer (caller frees), or
 * NULL after printing why; an API error prints its sentence.
 */
json_t *adm_call(struct adm *a, const char *method, const char *path,
		 json_t *body);
/* Percent-encodes a path or query part; allocated. */
char *adm_encode(const char *text);

/* --- adm_compact.c --- */

int adm_compact_start(struct adm *a);
int adm_compact_suspend(struct adm *a);
int adm_compact_resume(struct adm *a);
int adm_compact_status(struct adm *a);
int adm_du_stores(struct adm *a); /* bytes in use of each head */

/* --- adm_print.c --- */

struct adm_column {
	const char *title;
	const char *field;
};
/* A table of an array of objects; numbers to the right. */
void adm_print_table(json_t *rows, const struct adm_column *columns, int n);
/* "title: value" lines of an object. */
void adm_print_fields(json_t *object, const struct adm_column *columns, int n);
void adm_print_json(json_t *json);

#endif
