#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adm/adm.h"
#include "common/base/buf.h"
#include "common/base/mem.h"

#define COLUMNS(...) \
	(const struct adm_column[]){ __VA_ARGS__ }, \
		(int)(sizeof((const struct adm_column[]){ __VA_ARGS__ }) / \
		      sizeof(struct adm_column))

/* Prints an answer as JSON when asked for; true when that was all. */
static bool adm_done(struct adm *a, json_t *answer)
{
	if (!a->json)
		return false;
	adm_print_json(answer);
	return true;
}

static int adm_finish(json_t *answer)
{
	json_decref(answer);
	return answer != NULL ? 0 : 1;
}

/* GET path, then a table of one member. */
static int adm_list(struct adm *a, const char *path, const char *member,
		    const struct adm_column *columns, int n)
{
	json_t *answer = adm_call(a, "GET", path, NULL);

	if (answer != NULL && !adm_done(a, answer))
		adm_print_table(json_object_get(answer, member), columns, n);
	return adm_finish(answer);
}

/* GET path, then its fields. */
static int adm_show(struct adm *a, const char *path,
		    const struct adm_column *columns, int n)
{
	json_t *answer = adm_call(a, "GET", path, NULL);

	if (answer != NULL && !adm_done(a, answer))
		adm_print_fields(answer, columns, n);
	return adm_finish(answer);
}

static int adm_remove(struct adm *a, const char *collection)
{
	char *name = adm_encode(a->argv[0]);
	char *path = name != NULL ? mem_printf("%s/%s", collection, name)
				  : NULL;
	json_t *answer = path != NULL ? adm_call(a, "DELETE", path, NULL)
				      : NULL;

	if (answer != NULL && !adm_done(a, answer))
		puts("OK");
	mem_free(name);
	mem_free(path);
	return adm_finish(answer);
}

#define ADM_NAMES_SHOWN 10u

/* "3: a, b, c" in place of the number, so that each is seen to be named. */
static void adm_name_loose(json_t *status)
{
	json_t *names = json_object_get(status, "memory_bucket_names"), *name;
	size_t n = json_array_size(names), i;
	struct buf text;

	buf_init(&text, 0);
	buf_printf(&text, "%zu", n);
	json_array_foreach(names, i, name) {
		const char *s = json_string_value(name);

		if (i == ADM_NAMES_SHOWN) {
			buf_puts(&text, ", ... (get-buckets lists all)");
			break;
		}
		buf_printf(&text, "%s%s", i == 0 ? ": " : ", ",
			   s != NULL ? s : "?");
	}
	if (text.err == 0)
		json_object_set_new(status, "memory_buckets",
				    json_stringn((const char *)text.data,
						 text.len));
	buf_fini(&text);
}

static int adm_status(struct adm *a)
{
	json_t *answer = adm_call(a, "GET", "/v1/status", NULL);

	if (answer == NULL || adm_done(a, answer))
		return adm_finish(answer);
	adm_name_loose(answer);
	adm_print_fields(
		answer,
		COLUMNS({ "cluster", "cluster" }, { "version", "version" },
			{ "region", "region" }, { "ring epoch", "epoch" },
			{ "copies (N)", "copies" },
			{ "write quorum (W)", "write_quorum" },
			{ "read quorum (R)", "read_quorum" },
			{ "durability", "durability" },
			{ "buckets with durability memory", "memory_buckets" },
			{ "store losses survived now", "losses_survived" },
			{ "shards", "shards" }, { "buckets", "buckets" },
			{ "users", "users" },
			{ "uptime seconds", "uptime_seconds" }));
	puts("");
	adm_print_table(json_object_get(answer, "stores"),
			COLUMNS({ "store", "id" }, { "raft id", "raft_id" },
				{ "host", "host" }, { "address", "address" },
				{ "total", "bytes_total" },
				{ "available", "bytes_available" },
				{ "beat age s", "seconds_since_heartbeat" }));
	return adm_finish(answer);
}

static int adm_version(struct adm *a)
{
	return adm_show(a, "/v1/version",
			COLUMNS({ "server", "version" }, { "API", "api" },
				{ "format", "format" }));
}

static int adm_print_key(struct adm *a, json_t *answer)
{
	if (answer != NULL && !adm_done(a, answer))
		adm_print_fields(answer,
				 COLUMNS({ "user", "user" },
					 { "access-key-id", "access_key" },
					 { "secret-access-key",
					   "secret_key" }));
	return adm_finish(answer);
}

static int adm_create_user(struct adm *a)
{
	return adm_print_key(a, adm_call(a, "POST", "/v1/users",
					 json_pack("{s:s, s:b}", "name",
						   a->argv[0], "admin",
						   (int)a->admin)));
}

static int adm_get_sessions(struct adm *a)
{
	return adm_list(a, "/v1/sessions", "sessions",
			COLUMNS({ "session", "session" }, { "kind", "kind" },
				{ "host", "host" }, { "state", "state" },
				{ "opened", "opened" },
				{ "silent (s)", "seconds_since_renewal" }));
}

static int adm_get_users(struct adm *a)
{
	return adm_list(a, "/v1/users", "users",
			COLUMNS({ "user", "name" }, { "admin", "admin" },
				{ "keys", "keys" },
				{ "canonical id", "canonical_id" }));
}

static int adm_delete_user(struct adm *a)
{
	return adm_remove(a, "/v1/users");
}

static int adm_create_key(struct adm *a)
{
	return adm_print_key(a, adm_call(a, "POST", "/v1/keys",
					 json_pack("{s:s}", "user",
						   a->argv[0])));
}

static int adm_get_keys(struct adm *a)
{
	char *user = a->argc > 0 ? adm_encode(a->argv[0]) : NULL;
	char *path = mem_printf("/v1/keys%s%s", user != NULL ? "?user=" : "",
				user != NULL ? user : "");
	int rv = adm_list(a, path, "keys",
			  COLUMNS({ "access-key-id", "access_key" },
				  { "user", "user" },
				  { "disabled", "disabled" }));

	mem_free(user);
	mem_free(path);
	return rv;
}

static int adm_delete_key(struct adm *a)
{
	return adm_remove(a, "/v1/keys");
}

static int adm_add_bucket(struct adm *a)
{
	json_t *body = json_pack("{s:s, s:s}", "name", a->argv[0], "owner",
				 a->owner != NULL ? a->owner : "admin");
	json_t *answer;

	if (a->uid >= 0)
		json_object_set_new(body, "uid", json_integer(a->uid));
	if (a->gid >= 0)
		json_object_set_new(body, "gid", json_integer(a->gid));
	if (a->umask >= 0)
		json_object_set_new(body, "umask", json_integer(a->umask));
	answer = adm_call(a, "POST", "/v1/buckets", body);
	if (answer != NULL && !adm_done(a, answer))
		puts("OK");
	return adm_finish(answer);
}

static int adm_get_buckets(struct adm *a)
{
	return adm_list(a, "/v1/buckets", "buckets",
			COLUMNS({ "bucket", "name" }, { "owner", "owner" },
				{ "state", "state" },
				{ "durability", "durability" },
				{ "set", "durability_set" }, { "uid", "uid" },
				{ "gid", "gid" }, { "shard", "shard" }));
}

static int adm_delete_bucket(struct adm *a)
{
	return adm_remove(a, "/v1/buckets");
}

/* bucket: NULL for the cluster. */
static int adm_durability(struct adm *a, const char *bucket, const char *name)
{
	json_t *body = json_pack("{s:s, s:s*}", "durability", name, "bucket",
				 bucket);
	json_t *answer = adm_call(a, "POST", "/v1/durability", body);

	if (answer != NULL && !adm_done(a, answer))
		puts("OK");
	return adm_finish(answer);
}

static int adm_set_durability(struct adm *a)
{
	return adm_durability(a, NULL, a->argv[0]);
}

static int adm_set_bucket_durability(struct adm *a)
{
	return adm_durability(a, a->argv[0], a->argv[1]);
}

/* BUCKET/KEY as the original wrote it. */
static int adm_whereis(struct adm *a)
{
	char *slash = strchr(a->argv[0], '/'), *bucket, *key, *path;
	int rv;

	if (slash == NULL || slash[1] == '\0') {
		fprintf(stderr, "leofs-adm: whereis takes BUCKET/KEY\n");
		return 2;
	}
	*slash = '\0';
	bucket = adm_encode(a->argv[0]);
	key = adm_encode(slash + 1);
	path = mem_printf("/v1/whereis?bucket=%s&key=%s", bucket, key);
	rv = adm_show(a, path,
		      COLUMNS({ "shard", "shard" }, { "inode", "inode" },
			      { "size", "size" }, { "etag", "etag" },
			      { "data version", "data_version" },
			      { "extents", "extents" },
			      { "inline extents", "inline_extents" }));
	mem_free(bucket);
	mem_free(key);
	mem_free(path);
	return rv;
}

static int adm_dump_ring(struct adm *a)
{
	json_t *answer = adm_call(a, "GET", "/v1/ring", NULL);

	if (answer == NULL || adm_done(a, answer))
		return adm_finish(answer);
	adm_print_fields(answer, COLUMNS({ "epoch", "epoch" },
					 { "checksum", "checksum" },
					 { "partitions", "partitions" }));
	puts("");
	adm_print_table(json_object_get(answer, "shards"),
			COLUMNS({ "shard", "shard" }, { "leader", "leader" }));
	return adm_finish(answer);
}

static int adm_du(struct adm *a)
{
	char *bucket, *path;
	int rv;

	if (a->argc == 0)
		return adm_du_stores(a);
	bucket = adm_encode(a->argv[0]);
	path = mem_printf("/v1/du?bucket=%s", bucket);
	rv = adm_show(a, path,
		      COLUMNS({ "bytes", "bytes" }, { "files", "files" },
			      { "directories", "directories" }));
	mem_free(bucket);
	mem_free(path);
	return rv;
}

/* --- fsck: 0 clean, 1 findings, 2 could not look --- */

#define ADM_FSCK_POLL_NS 200000000

/* Waits until the run has ended; its last answer, or NULL. */
static json_t *adm_fsck_wait(struct adm *a, json_t *answer)
{
	const struct timespec pause = { 0, ADM_FSCK_POLL_NS };

	while (answer != NULL &&
	       strcmp(json_string_value(json_object_get(answer, "state")),
		      "running") == 0) {
		(void)nanosleep(&pause, NULL);
		json_decref(answer);
		answer = adm_call(a, "GET", "/v1/fsck", NULL);
	}
	return answer;
}

static void adm_fsck_print(json_t *answer)
{
	json_t *texts = json_object_get(answer, "findings"), *text;
	json_int_t n = json_integer_value(json_object_get(answer,
							  "n_findings"));
	size_t i;

	json_array_foreach(texts, i, text)
		printf("%s\n", json_string_value(text));
	if ((json_int_t)json_array_size(texts) < n)
		printf("... and %lld more\n",
		       (long long)n - (long long)json_array_size(texts));
	adm_print_fields(
		json_object_get(answer, "counts"),
		COLUMNS({ "rows", "rows" }, { "inodes", "inodes" },
			{ "names", "names" }, { "open without name", "open" },
			{ "queued", "queued" }, { "slices", "slices" },
			{ "extents", "extents" }, { "values", "values" },
			{ "bytes of values", "value_bytes" },
			{ "chunks", "chunks" },
			{ "copies of chunks", "copies" },
			{ "chunks without name", "unnamed" },
			{ "bytes of these", "unnamed_bytes" }));
	adm_print_fields(answer,
			 COLUMNS({ "bytes read", "read" },
				 { "seconds", "seconds" },
				 { "findings", "n_findings" },
				 { "result", "state" }));
}

static int adm_fsck(struct adm *a)
{
	json_t *body = json_pack("{s:b}", "read", (int)a->read);
	json_t *answer = adm_call(a, "POST", "/v1/fsck", body);
	const char *state;
	int rv = 2;

	answer = adm_fsck_wait(a, answer);
	if (answer == NULL)
		return rv;
	state = json_string_value(json_object_get(answer, "state"));
	if (strcmp(state, "clean") == 0)
		rv = 0;
	else if (strcmp(state, "findings") == 0)
		rv = 1;
	else
		fprintf(stderr, "leofs-adm: could not look: %s\n",
			json_string_value(json_object_get(answer, "reason")));
	if (!adm_done(a, answer))
		adm_fsck_print(answer);
	json_decref(answer);
	return rv;
}

const struct adm_command adm_commands[] = {
	{ "status", "", 0, 0, adm_status, "cluster, settings and stores" },
	{ "version", "", 0, 0, adm_version, "version of the server" },
	{ "get-sessions", "", 0, 0, adm_get_sessions,
	  "list mounts and gateways" },
	{ "create-user", "NAME [--admin]", 1, 1, adm_create_user,
	  "make a user and its first access key" },
	{ "get-users", "", 0, 0, adm_get_users, "list users" },
	{ "delete-user", "NAME", 1, 1, adm_delete_user,
	  "delete a user without buckets, and its keys" },
	{ "create-key", "USER", 1, 1, adm_create_key,
	  "make one more access key" },
	{ "get-keys", "[USER]", 0, 1, adm_get_keys, "list access keys" },
	{ "delete-key", "ACCESS-KEY-ID", 1, 1, adm_delete_key,
	  "delete an access key" },
	{ "add-bucket", "NAME [--owner USER] [--uid N] [--gid N] [--umask OCT]",
	  1, 1, adm_add_bucket, "make a bucket" },
	{ "get-buckets", "", 0, 0, adm_get_buckets, "list buckets" },
	{ "delete-bucket", "NAME", 1, 1, adm_delete_bucket,
	  "delete an empty bucket" },
	{ "set-durability", "disk | memory", 1, 1, adm_set_durability,
	  "when changes are acknowledged: on disk, or written" },
	{ "set-bucket-durability", "BUCKET disk | memory | default", 2, 2,
	  adm_set_bucket_durability, "the same of one bucket" },
	{ "whereis", "BUCKET/KEY", 1, 1, adm_whereis,
	  "where an object lies" },
	{ "dump-ring", "", 0, 0, adm_dump_ring, "epoch, checksum and shards" },
	{ "du", "[BUCKET]", 0, 1, adm_du,
	  "bytes, files and directories; of stores: bytes in use and not" },
	{ "compact-start", "[STORE [all | N [PROCS]]] [--wait]", 0, 3,
	  adm_compact_start, "give back the space of what was deleted" },
	{ "compact-suspend", "[STORE]", 0, 1, adm_compact_suspend, "hold it" },
	{ "compact-resume", "[STORE]", 0, 1, adm_compact_resume,
	  "go on with it" },
	{ "compact-status", "[STORE]", 0, 1, adm_compact_status,
	  "how it stands, and bytes in use of each head" },
	{ "fsck", "[--read]", 0, 0, adm_fsck,
	  "recount everything; --read: compare bytes with their hashes" },
};
const unsigned adm_n_commands = sizeof adm_commands / sizeof adm_commands[0];
