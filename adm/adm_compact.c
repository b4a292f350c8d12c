/* leofs-adm compact-*: one answer for each store; see leofs-adm(8). */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adm/adm.h"
#include "common/base/mem.h"

/* A time of the answer, as the original wrote it. */
static void compact_time(json_t *store, const char *from, const char *to)
{
	time_t t = (time_t)json_integer_value(json_object_get(store, from));
	char text[64] = "____-__-__ __:__:__";
	struct tm tm;

	if (t != 0 && localtime_r(&t, &tm) != NULL)
		strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", &tm);
	json_object_set_new(store, to, json_string(text));
}

static void compact_print_heads(json_t *store)
{
	static const struct adm_column heads[] = {
		{ "head", "head" },	     { "segments", "segments" },
		{ "total", "bytes_total" },  { "live", "bytes_live" },
		{ "dead", "bytes_dead" },    { "live %", "ratio" },
	};
	json_t *list = json_object_get(store, "heads"), *head;
	size_t i;

	json_array_foreach(list, i, head) {
		double total = json_number_value(
			json_object_get(head, "bytes_total"));
		double live = json_number_value(
			json_object_get(head, "bytes_live"));

		json_object_set_new(head, "ratio",
				    json_real(total > 0 ? live * 100 / total
							: 100));
	}
	puts("");
	adm_print_table(list, heads, sizeof heads / sizeof heads[0]);
}

static void compact_print(json_t *store)
{
	static const struct adm_column fields[] = {
		{ "store", "store" },
		{ "host", "host" },
		{ "current status", "state" },
		{ "started by", "reason" },
		{ "last compaction start", "start_text" },
		{ "last compaction end", "end_text" },
		{ "total targets", "targets" },
		{ "# of pending targets", "pending" },
		{ "# of ongoing targets", "ongoing" },
		{ "# of out of targets", "out_of" },
		{ "of these not freed", "kept" },
		{ "result", "result" },
		{ "bytes copied", "bytes_copied" },
		{ "bytes freed", "bytes_freed" },
	};

	compact_time(store, "started", "start_text");
	compact_time(store, "ended", "end_text");
	adm_print_fields(store, fields, sizeof fields / sizeof fields[0]);
	compact_print_heads(store);
}

static void compact_print_space(json_t *store)
{
	static const struct adm_column fields[] = { { "store", "store" },
						    { "host", "host" } };

	adm_print_fields(store, fields, sizeof fields / sizeof fields[0]);
	compact_print_heads(store);
}

static const char *compact_text(json_t *store, const char *name)
{
	const char *text = json_string_value(json_object_get(store, name));

	return text != NULL ? text : "";
}

static void compact_complain(json_t *store, const char *text)
{
	fprintf(stderr, "leofs-adm: store %s: %s\n",
		compact_text(store, "store"), text);
}

/*
 * Does every store answer? Takes the answer; NULL is none. print: of each that
 * does; NULL: OK is all there is to say.
 */
static int compact_result(struct adm *a, json_t *answer,
			  void (*print)(json_t *store))
{
	json_t *store;
	size_t i;
	int rv = 0;

	if (answer == NULL)
		return 1;
	if (a->json)
		adm_print_json(answer);
	json_array_foreach(json_object_get(answer, "stores"), i, store) {
		if (json_object_get(store, "error") != NULL) {
			rv = 1;
			compact_complain(store, compact_text(store, "error"));
		} else if (print != NULL && !a->json) {
			if (i > 0)
				puts("");
			print(store);
		}
	}
	if (rv == 0 && print == NULL && !a->json)
		puts("OK");
	json_decref(answer);
	return rv;
}

/* Which one is meant; NULL: all. */
static const char *compact_store(const struct adm *a)
{
	return a->argc > 0 && strcmp(a->argv[0], "all") != 0 ? a->argv[0]
							     : NULL;
}

static json_t *compact_get(struct adm *a)
{
	const char *store = compact_store(a);
	char *id = store != NULL ? adm_encode(store) : NULL;
	char *path = mem_printf("/v1/compaction%s%s",
				id != NULL ? "?store=" : "",
				id != NULL ? id : "");
	json_t *answer = adm_call(a, "GET", path, NULL);

	mem_free(id);
	mem_free(path);
	return answer;
}

static json_t *compact_post(struct adm *a, const char *path, json_t *body)
{
	if (compact_store(a) != NULL)
		json_object_set_new(body, "store",
				    json_string(compact_store(a)));
	return adm_call(a, "POST", path, body);
}

/* --- compact-start --- */

static bool compact_is_running(json_t *answer)
{
	json_t *store;
	size_t i;

	json_array_foreach(json_object_get(answer, "stores"), i, store)
		if (strcmp(compact_text(store, "state"), "running") == 0)
			return true;
	return false;
}

/* What the run of a store came to; 0 when it did all that it was to do. */
static int compact_verdict(json_t *store)
{
	char text[80];
	json_int_t kept =
		json_integer_value(json_object_get(store, "kept"));

	if (json_object_get(store, "error") != NULL)
		return 0; /* compact_result() says so */
	if (strcmp(compact_text(store, "state"), "suspending") == 0) {
		compact_complain(store, "compaction was suspended");
		return 1;
	}
	if (strcmp(compact_text(store, "result"), "ok") != 0) {
		compact_complain(store, compact_text(store, "result"));
		return 1;
	}
	if (kept == 0)
		return 0;
	snprintf(text, sizeof text, "%lld segments could not be freed",
		 (long long)kept);
	compact_complain(store, text);
	return 1;
}

static int compact_wait(struct adm *a, json_t *answer)
{
	const struct timespec pause = { 0, 200000000 };
	json_t *store;
	size_t i;
	int rv = 0;

	while (answer != NULL && compact_is_running(answer)) {
		json_decref(answer);
		(void)nanosleep(&pause, NULL);
		answer = compact_get(a);
	}
	json_array_foreach(json_object_get(answer, "stores"), i, store)
		rv |= compact_verdict(store);
	if (rv == 0)
		return compact_result(a, answer, NULL);
	json_decref(answer);
	return rv;
}

/* A number from 1 on; 0: it is none. */
static uint32_t compact_number(const char *text)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	return *end != '\0' || n < 1 || n > UINT32_MAX || errno != 0
		       ? 0
		       : (uint32_t)n;
}

int adm_compact_start(struct adm *a)
{
	const char *text = a->argc > 1 ? a->argv[1] : "all";
	bool all = strcmp(text, "all") == 0;
	json_t *body, *answer;

	if (!all && compact_number(text) == 0) {
		fprintf(stderr, "leofs-adm: \"all\" or a number of segments, "
				"not \"%s\"\n", text);
		return 2;
	}
	/* of the original; here one segment after the other is cleaned */
	if (a->argc > 2 && compact_number(a->argv[2]) == 0) {
		fprintf(stderr, "leofs-adm: a number of processes, "
				"not \"%s\"\n", a->argv[2]);
		return 2;
	}
	body = json_object();
	if (!all)
		json_object_set_new(body, "segments",
				    json_integer(compact_number(text)));
	answer = compact_post(a, "/v1/compaction/start", body);
	return a->wait ? compact_wait(a, answer)
		       : compact_result(a, answer, NULL);
}

/* --- the others --- */

int adm_compact_suspend(struct adm *a)
{
	return compact_result(a, compact_post(a, "/v1/compaction/suspend",
					      json_object()), NULL);
}

int adm_compact_resume(struct adm *a)
{
	return compact_result(a, compact_post(a, "/v1/compaction/resume",
					      json_object()), NULL);
}

int adm_du_stores(struct adm *a)
{
	return compact_result(a, compact_get(a), compact_print_space);
}

int adm_compact_status(struct adm *a)
{
	return compact_result(a, compact_get(a), compact_print);
}
