/* Names of a shard: what each door does to them and what the other sees. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storaged/ns_rows.h"
#include "tests/lib/nsharness.h"

enum { SHARD = 3 };
#define OK RPC_STATUS_OK
#define DIR (S_IFDIR | 0755)
#define REG (S_IFREG | 0644)

struct fix {
	struct nsh *h;
	uint64_t root;
	char list[4096];
};

static int setup(void **state)
{
	static struct fix f;

	memset(&f, 0, sizeof(f));
	f.h = nsh_new(SHARD, 3);
	f.root = nsh_root(f.h, 77);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	return nsh_free(f->h) == 0 ? 0 : -1;
}

static void list_add(void *arg, const struct nsh_listed *e)
{
	struct fix *f = arg;
	size_t n = strlen(f->list);

	assert_true(e->is_prefix || e->etag.len > 0);
	snprintf(f->list + n, sizeof(f->list) - n, "%s%s%.*s",
		 n > 0 ? " " : "", e->is_prefix ? "+" : "", (int)e->key.len,
		 (const char *)e->key.p);
}

static const char *list(struct fix *f, const char *prefix,
			const char *delimiter, uint32_t page)
{
	f->list[0] = 0;
	assert_int_equal(nsh_list(f->h, f->root, prefix, "", delimiter, page,
				  list_add, f), OK);
	return f->list;
}

static void dir_add(void *arg, struct wire_bytes name, uint32_t mode,
		    bool shadowed, const struct wire_attr *attr)
{
	struct fix *f = arg;
	size_t n = strlen(f->list);

	assert_int_equal(mode & S_IFMT, attr->mode & S_IFMT);
	snprintf(f->list + n, sizeof(f->list) - n, "%s%s%.*s",
		 n > 0 ? " " : "", shadowed ? "*" : "",
		 name.len == 0 ? 4 : (int)name.len,
		 name.len == 0 ? "(\"\")" : (const char *)name.p);
}

static const char *readdir(struct fix *f, uint64_t dir, uint32_t page)
{
	f->list[0] = 0;
	assert_int_equal(nsh_readdir(f->h, dir, page, dir_add, f), OK);
	return f->list;
}

#define PUT(key) \
	assert_int_equal(nsh_put(f->h, f->root, key, wire_cstr("body"), NULL), \
			 OK)
#define DEL(key) assert_int_equal(nsh_delete(f->h, f->root, key), OK)

static uint64_t ino_of(struct fix *f, uint64_t dir, const char *name,
		       uint8_t how)
{
	struct wire_attr a;

	assert_int_equal(nsh_lookup(f->h, dir, name, how, &a), OK);
	return a.ino;
}

static void test_s3_order(void **state)
{
	struct fix *f = *state;
	static const char *const pages[] = { "1", "2", "3", "100" };

	PUT("a0");
	PUT("a/b");
	PUT("a");
	PUT("a-b");
	PUT("a!");
	PUT("a//b");
	PUT("a/");
	PUT("a-b/c");
	PUT("./d");
	PUT("../e");
	PUT("/lead");
	PUT("/");
	for (unsigned i = 0; i < 4; i++) {
		uint32_t n = (uint32_t)pages[i][0] - '0';

		assert_string_equal(list(f, "", "", n),
				    "../e ./d / /lead a a! a-b a-b/c a/ a//b "
				    "a/b a0");
		assert_string_equal(list(f, "", "/", n),
				    "+../ +./ +/ a a! a-b +a-b/ +a/ a0");
		assert_string_equal(list(f, "a/", "/", n), "a/ +a// a/b");
		assert_string_equal(list(f, "a", "b", n),
				    "a a! +a-b a/ +a//b +a/b a0");
	}
	assert_string_equal(list(f, "a-", "", 9), "a-b a-b/c");
	assert_string_equal(list(f, "zz", "", 9), "");
	assert_string_equal(list(f, "a/b/c", "/", 9), "");
}

static void test_implicit_dirs_come_and_go(void **state)
{
	struct fix *f = *state;
	struct wire_attr a;
	uint64_t d;

	PUT("x/y/z");
	d = ino_of(f, f->root, "x", RPC_NAME_ANY);
	assert_int_equal(nsh_getattr(f->h, d, &a), OK);
	assert_true(a.flags & WIRE_ATTR_IMPLICIT);
	assert_int_equal(a.mode, S_IFDIR | 02755);
	assert_int_equal(a.nlink, 3);
	DEL("x/y/z");
	assert_int_equal(nsh_lookup(f->h, f->root, "x", 0, &a),
			 RPC_STATUS_NOENT);
	/* what had that name is gone, another one may have it soon */
	assert_int_equal(nsh_lookup(f->h, d, "y", 0, &a), RPC_STATUS_STALE);
	assert_int_equal(nsh_delete(f->h, f->root, "x/y/z"), RPC_STATUS_NOENT);
	assert_string_equal(list(f, "", "", 9), "");

	/* chmod makes it explicit: it outlives its last key */
	PUT("x/y");
	d = ino_of(f, f->root, "x", RPC_NAME_ANY);
	struct rpc_setattr set = { .ino = d, .valid = RPC_SET_MODE,
				   .mode = 0700 };
	struct rpc_attr_rsp rsp;
	assert_int_equal(NSH(f->h, setattr, attr_rsp, &set, &rsp), OK);
	DEL("x/y");
	assert_string_equal(list(f, "", "", 9), "x/");
	assert_string_equal(list(f, "x", "/", 9), "+x/");
	assert_string_equal(list(f, "x/", "/", 9), "x/");
	DEL("x/");
	assert_string_equal(list(f, "", "", 9), "");

	/* the mount empties it: explicit from then on */
	PUT("p/q/r");
	d = ino_of(f, ino_of(f, f->root, "p", 0), "q", 0);
	assert_int_equal(nsh_unlink(f->h, d, "r", 0), OK);
	assert_string_equal(list(f, "", "", 9), "p/q/");
	assert_int_equal(nsh_rmdir(f->h, ino_of(f, f->root, "p", 0), "q"), OK);
	assert_string_equal(list(f, "", "", 9), "p/");
	assert_int_equal(nsh_rmdir(f->h, f->root, "p"), OK);
	assert_string_equal(list(f, "", "", 9), "");
}

static void test_empty_directory_is_a_key(void **state)
{
	struct fix *f = *state;
	struct rpc_object_rsp rsp;
	uint64_t d;

	assert_int_equal(nsh_mknod(f->h, f->root, "dir", DIR, &d), OK);
	assert_string_equal(list(f, "", "", 9), "dir/");
	assert_int_equal(nsh_object(f->h, f->root, "dir/", 0, 100, &rsp), OK);
	assert_int_equal(rsp.attr.size, 0);
	assert_memory_equal(rsp.special.p, "dir", 3);
	assert_int_equal(nsh_object(f->h, f->root, "dir", 0, 0, &rsp),
			 RPC_STATUS_NOENT);
	PUT("dir/f");
	assert_string_equal(list(f, "", "", 9), "dir/f");
	assert_int_equal(nsh_object(f->h, f->root, "dir/", 0, 0, &rsp),
			 RPC_STATUS_NOENT);
	assert_int_equal(nsh_delete(f->h, f->root, "dir/"), RPC_STATUS_NOENT);
	DEL("dir/f");
	assert_string_equal(list(f, "", "", 9), "dir/");
	DEL("dir/");
	assert_string_equal(list(f, "", "", 9), "");
}

static void test_markers(void **state)
{
	struct fix *f = *state;
	struct rpc_object_rsp rsp;
	struct wire_attr a;
	uint64_t d;

	assert_int_equal(nsh_put(f->h, f->root, "m/", wire_cstr(""), NULL), OK);
	d = ino_of(f, f->root, "m", 0);
	assert_string_equal(list(f, "", "", 9), "m/");
	assert_string_equal(readdir(f, d, 9), "");
	assert_int_equal(nsh_getattr(f->h, d, &a), OK);
	assert_true(a.flags & WIRE_ATTR_MARKER);
	assert_int_equal(nsh_rmdir(f->h, f->root, "m"), OK);
	assert_string_equal(list(f, "", "", 9), "");

	PUT("m/"); /* with a body it counts */
	d = ino_of(f, f->root, "m", 0);
	assert_string_equal(readdir(f, d, 1), "(\"\")");
	assert_int_equal(nsh_rmdir(f->h, f->root, "m"), RPC_STATUS_NOTEMPTY);
	assert_int_equal(nsh_object(f->h, f->root, "m/", 0, 9, &rsp), OK);
	assert_int_equal(rsp.attr.size, 4);
	PUT("m/k");
	assert_string_equal(readdir(f, d, 1), "(\"\") k");
	DEL("m/");
	assert_string_equal(list(f, "", "", 9), "m/k");
	DEL("m/k");
	assert_string_equal(list(f, "", "", 9), "");

	/* a marker in an explicit directory: the key goes as a whole */
	assert_int_equal(nsh_mknod(f->h, f->root, "e", DIR, &d), OK);
	PUT("e/");
	assert_string_equal(list(f, "", "", 9), "e/");
	DEL("e/");
	assert_string_equal(list(f, "", "", 9), "");
}

static void test_file_beside_directory(void **state)
{
	struct fix *f = *state;
	struct wire_attr a;
	uint64_t file, dir, ino;

	PUT("a");
	PUT("a/b");
	file = ino_of(f, f->root, "a", RPC_NAME_FILE);
	dir = ino_of(f, f->root, "a", RPC_NAME_ANY);
	assert_int_not_equal(file, dir);
	assert_int_equal(ino_of(f, f->root, "a", RPC_NAME_DIR), dir);
	assert_string_equal(readdir(f, f->root, 1), "*a a/");
	assert_int_equal(nsh_mknod(f->h, f->root, "a", REG, &ino),
			 RPC_STATUS_EXIST);
	assert_int_equal(nsh_mknod(f->h, f->root, "a", DIR, &ino),
			 RPC_STATUS_EXIST);
	assert_int_equal(nsh_link(f->h, file, f->root, "a"),
			 RPC_STATUS_EXIST);
	assert_int_equal(nsh_unlink(f->h, f->root, "a", 0), RPC_STATUS_ISDIR);
	assert_int_equal(nsh_unlink(f->h, f->root, "a", RPC_NAME_FILE), OK);
	assert_string_equal(list(f, "", "", 9), "a/b");
	PUT("a");
	/* the directory moves, the file stays */
	assert_int_equal(nsh_rename(f->h, f->root, "a", f->root, "n"), OK);
	assert_string_equal(list(f, "", "", 9), "a n/b");
	/* over the other kind */
	assert_int_equal(nsh_rename(f->h, f->root, "a", f->root, "n"),
			 RPC_STATUS_ISDIR);
	assert_int_equal(nsh_rename(f->h, f->root, "n", f->root, "a"),
			 RPC_STATUS_NOTDIR);
	assert_int_equal(nsh_lookup(f->h, f->root, "b", 0, &a),
			 RPC_STATUS_NOENT);
}

static void test_posix_errors(void **state)
{
	struct fix *f = *state;
	static char longname[1100];
	struct wire_attr a;
	uint64_t d, e, r;

	memset(longname, 'n', sizeof(longname) - 1);
	assert_int_equal(nsh_mknod(f->h, f->root, "d", DIR, &d), OK);
	assert_int_equal(nsh_mknod(f->h, f->root, "r", REG, &r), OK);
	assert_int_equal(nsh_mknod(f->h, f->root, "x/y", REG, NULL),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_mknod(f->h, f->root, longname, REG, NULL),
			 RPC_STATUS_NAMETOOLONG);
	longname[1024] = 0;
	assert_int_equal(nsh_mknod(f->h, d, longname, REG, NULL), OK);
	assert_int_equal(nsh_unlink(f->h, d, longname, 0), OK);
	assert_int_equal(nsh_mknod(f->h, r, "x", REG, NULL),
			 RPC_STATUS_NOTDIR);
	assert_int_equal(nsh_mknod(f->h, ino_make(SHARD, 99999), "x", REG,
				   NULL), RPC_STATUS_NOENT);
	assert_int_equal(nsh_mknod(f->h, ino_make(SHARD + 1, 99999), "x", REG,
				   NULL), RPC_STATUS_FAR);
	assert_int_equal(nsh_rmdir(f->h, f->root, "r"), RPC_STATUS_NOTDIR);
	assert_int_equal(nsh_rmdir(f->h, f->root, "none"), RPC_STATUS_NOENT);
	assert_int_equal(nsh_unlink(f->h, f->root, "d", 0), RPC_STATUS_ISDIR);
	assert_int_equal(nsh_link(f->h, d, f->root, "l"), RPC_STATUS_PERM);
	assert_int_equal(nsh_mknod(f->h, d, "e", DIR, &e), OK);
	assert_int_equal(nsh_rmdir(f->h, f->root, "d"), RPC_STATUS_NOTEMPTY);
	assert_int_equal(nsh_rename(f->h, f->root, "d", d, "in"),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_rename(f->h, f->root, "d", e, "in"),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_rename(f->h, f->root, "r", f->root, "d"),
			 RPC_STATUS_ISDIR);
	assert_int_equal(nsh_rename(f->h, f->root, "d", f->root, "r"),
			 RPC_STATUS_NOTDIR);
	assert_int_equal(nsh_rename(f->h, f->root, "nope", f->root, "r"),
			 RPC_STATUS_NOENT);
	assert_int_equal(nsh_getattr(f->h, d, &a), OK);
	assert_int_equal(a.nlink, 3);
	assert_int_equal(nsh_rename(f->h, d, "e", f->root, "e"), OK);
	assert_int_equal(nsh_getattr(f->h, d, &a), OK);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(nsh_rename(f->h, f->root, "e", f->root, "d"), OK);
	assert_int_equal(ino_of(f, f->root, "d", 0), e);
	assert_int_equal(nsh_getattr(f->h, d, &a), RPC_STATUS_STALE);
	assert_int_equal(nsh_getattr(f->h, f->root, &a), OK);
	assert_int_equal(a.nlink, 3);
}

static void test_exchange(void **state)
{
	struct fix *f = *state;
	uint64_t root = f->root, d, e, r, k;
	struct wire_attr a;

	assert_int_equal(nsh_mknod(f->h, root, "d", DIR, &d), OK);
	assert_int_equal(nsh_mknod(f->h, d, "e", DIR, &e), OK);
	assert_int_equal(nsh_mknod(f->h, root, "r", REG, &r), OK);
	assert_int_equal(nsh_mknod(f->h, e, "k", REG, &k), OK);
	assert_int_equal(nsh_exchange(f->h, root, "r", root, "none"),
			 RPC_STATUS_NOENT);
	assert_int_equal(nsh_exchange(f->h, root, "none", root, "r"),
			 RPC_STATUS_NOENT);
	/* a directory with what is below it, whichever comes first */
	assert_int_equal(nsh_exchange(f->h, root, "d", e, "k"),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_exchange(f->h, e, "k", root, "d"),
			 RPC_STATUS_INVAL);
	assert_int_equal(nsh_exchange(f->h, root, "d", root, "d"), OK);
	/* two files, two kinds */
	assert_int_equal(nsh_exchange(f->h, root, "r", e, "k"), OK);
	assert_int_equal(ino_of(f, root, "r", 0), k);
	assert_int_equal(ino_of(f, e, "k", 0), r);
	assert_int_equal(nsh_exchange(f->h, d, "e", root, "r"), OK);
	assert_string_equal(list(f, "", "", 9), "d/e r/k");
	assert_int_equal(ino_of(f, root, "r", RPC_NAME_DIR), e);
	assert_int_equal(nsh_getattr(f->h, root, &a), OK);
	assert_int_equal(a.nlink, 4);
	assert_int_equal(nsh_getattr(f->h, d, &a), OK);
	assert_int_equal(a.nlink, 2);
	/* further links of one inode, and of two */
	assert_int_equal(nsh_link(f->h, k, root, "k2"), OK);
	assert_int_equal(nsh_link(f->h, r, root, "r2"), OK);
	assert_int_equal(nsh_exchange(f->h, root, "k2", d, "e"), OK);
	assert_int_equal(nsh_exchange(f->h, root, "k2", root, "r2"), OK);
	assert_int_equal(ino_of(f, root, "k2", 0), r);
	assert_int_equal(nsh_unlink(f->h, e, "k", 0), OK);
	assert_int_equal(nsh_getattr(f->h, r, &a), OK);
	assert_int_equal(a.nlink, 1);
	/* S3 put a file beside a directory: no third kind finds room there */
	PUT("d");
	assert_int_equal(nsh_exchange(f->h, root, "d", root, "r2"),
			 RPC_STATUS_EXIST);
	assert_int_equal(nsh_exchange(f->h, root, "d", root, "r"), OK);
	assert_int_equal(ino_of(f, root, "d", RPC_NAME_DIR), e);
	assert_string_equal(list(f, "", "", 9), "d d/ k2 r/e r2");
}

static void test_exchange_markers(void **state)
{
	struct fix *f = *state;
	uint64_t d, e;

	PUT("m/");
	PUT("n/x");
	d = ino_of(f, f->root, "m", 0);
	e = ino_of(f, f->root, "n", 0);
	assert_int_equal(nsh_exchange(f->h, d, "", e, "x"), OK);
	assert_int_equal(nsh_exchange(f->h, e, "x", d, ""), OK);
	assert_int_equal(nsh_mknod(f->h, e, "dir", DIR, NULL), OK);
	assert_int_equal(nsh_exchange(f->h, d, "", e, "dir"), OK);
	assert_string_equal(list(f, "", "", 9), "m// n/dir n/x");
	assert_int_equal(nsh_exchange(f->h, d, "", e, "x"), OK);
	assert_string_equal(list(f, "", "", 9), "m/ n/dir n/x/");
	assert_int_equal(nsh_check(f->h), 0);
}

/* Another shard's transaction locks that. */
static uint32_t lock_key(struct fix *f, struct wire_bytes key, uint8_t mode)
{
	struct rpc_txn_lock m = { .txn = { (uint64_t)(SHARD + 1) << 48, 1 } };
	struct rpc_txn_lock_rsp rsp;
	struct wire_vec wants;
	struct wire_writer w;
	uint32_t status;

	wire_vec_init(&wants);
	w = wire_vec_add(&wants);
	wire_put_u8(&w, &mode);
	wire_put_str(&w, &key);
	m.wants = wire_vec_bytes(&wants);
	status = NSH(f->h, txn_lock, txn_lock_rsp, &m, &rsp);
	wire_vec_fini(&wants);
	return status;
}

/* It is about to enter something in ino. */
static uint32_t lock(struct fix *f, uint64_t ino, uint8_t mode)
{
	struct ns_key k;

	return lock_key(f, ns_key_id(&k, SHARD, NS_T_INODE, ino), mode);
}

static uint32_t pin(struct fix *f, uint64_t ino)
{
	return lock(f, ino, RPC_LOCK_PIN);
}

/* What was not there is locked as well: so it stays, and so rows have it. */
static void test_missing_is_locked(void **state)
{
	struct fix *f = *state;
	uint64_t d;

	assert_int_equal(nsh_mknod(f->h, f->root, "d", DIR, &d), OK);
	assert_int_equal(lock(f, d, RPC_LOCK_UP), OK);
	assert_int_equal(lock(f, ino_make(SHARD, 99998), RPC_LOCK_ALL), OK);
	assert_int_equal(lock(f, ino_make(SHARD, 99999), RPC_LOCK_UP), OK);
	assert_int_equal(lock(f, f->root, RPC_LOCK_LOOK), OK);
	nsh_end_all(f->h);
}

/* Who only looked has nothing to end: of it there is no row, and no memory. */
static void test_look_is_no_lock(void **state)
{
	struct fix *f = *state;

	assert_int_equal(lock(f, f->root, RPC_LOCK_LOOK), OK);
	assert_int_equal(nsh_check(f->h), 0);
	nsh_end_all(f->h);
}

static void note_listed(void *arg, const struct nsh_listed *e)
{
	(void)e;
	++*(unsigned *)arg;
}

/*
 * A name that another shard holds may have been decided to be there, and the
 * one that was seen instead may be gone since: the directory is not shown as
 * an empty one before that is known.
 */
static void test_empty_waits(void **state)
{
	static const char *const ways[][2] = { { "", "" }, { "d/", "" },
					       { "d/", "/" }, { "d/", "-" } };
	struct fix *f = *state;
	unsigned n = 0;
	uint64_t d, e;
	struct ns_key k;

	assert_int_equal(nsh_mknod(f->h, f->root, "d", DIR, &d), OK);
	assert_int_equal(nsh_mknod(f->h, f->root, "e", DIR, &e), OK);
	ns_key_dent(&k, SHARD, d, wire_cstr("x"));
	assert_int_equal(lock_key(f, ns_key_get(&k), RPC_LOCK_ALL), OK);
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		assert_int_equal(nsh_list(f->h, f->root, ways[i][0], "",
					  ways[i][1], 9, note_listed, &n),
				 RPC_STATUS_LOCKED);
	assert_int_equal(n, 0);
	assert_string_equal(list(f, "e/", "", 9), "e/");
	assert_string_equal(list(f, "", "/", 9), "+d/ +e/");
	nsh_end_all(f->h);
	assert_string_equal(list(f, "", "", 9), "d/ e/");
	assert_string_equal(list(f, "d/", "/", 9), "d/");
}

/*
 * Whether a directory has others below is not known as long as somebody may
 * enter one: it waits, also where it would be refused for another reason.
 */
static void test_pinned_stays(void **state)
{
	struct fix *f = *state;
	uint64_t root = f->root, d, e, ino;

	assert_int_equal(nsh_mknod(f->h, root, "d", DIR, &d), OK);
	assert_int_equal(nsh_mknod(f->h, root, "e", DIR, &e), OK);
	assert_int_equal(pin(f, d), OK);
	assert_int_equal(nsh_exchange(f->h, root, "d", e, "none"),
			 RPC_STATUS_LOCKED);
	assert_int_equal(nsh_rename(f->h, root, "d", e, "d"),
			 RPC_STATUS_LOCKED);
	assert_int_equal(nsh_rename(f->h, root, "d", root, "d2"),
			 RPC_STATUS_LOCKED);
	assert_int_equal(nsh_rmdir(f->h, root, "d"), RPC_STATUS_LOCKED);
	/* names in it come and go */
	assert_int_equal(nsh_mknod(f->h, d, "f", REG, &ino), OK);
	assert_int_equal(nsh_unlink(f->h, d, "f", 0), OK);
	nsh_end_all(f->h);
	/* whether it stays when the last one goes is not known either */
	PUT("s/f");
	assert_int_equal(pin(f, ino_of(f, root, "s", 0)), OK);
	assert_int_equal(nsh_unlink(f->h, ino_of(f, root, "s", 0), "f", 0),
			 RPC_STATUS_LOCKED);
	assert_int_equal(nsh_delete(f->h, root, "s/f"), RPC_STATUS_LOCKED);
	nsh_end_all(f->h);
	DEL("s/f");
	assert_int_equal(nsh_exchange(f->h, root, "d", e, "none"),
			 RPC_STATUS_NOENT);
	assert_int_equal(nsh_rename(f->h, root, "d", e, "d"), OK);
}

/*
 * Whoever was told that a name left a directory finds it gone there: the shard
 * of that directory does it, the others may have steps to do yet.
 */
static void test_rename_where_it_leaves(void **state)
{
	struct fix *f = *state;
	struct rpc_rename req = { .name = wire_cstr("a"),
				  .name2 = wire_cstr("b") };
	struct rpc_rename_rsp rsp;
	struct rpc_error_rsp e;
	struct wire_bytes p;

	req.dir = ino_make(SHARD + 1, 9);
	req.dir2 = f->root;
	assert_int_equal(NSH(f->h, rename, rename_rsp, &req, &rsp),
			 RPC_STATUS_ELSEWHERE);
	p = nsh_payload(f->h);
	assert_int_equal(rpc_error_rsp_decode(&e, p.p, p.len), 0);
	assert_int_equal(e.shard, SHARD + 1);
	req.dir = f->root;
	req.dir2 = ino_make(SHARD + 1, 9);
	assert_int_equal(NSH(f->h, rename, rename_rsp, &req, &rsp),
			 RPC_STATUS_FAR);
}

static void test_hard_links(void **state)
{
	struct fix *f = *state;
	struct rpc_object_rsp o;
	struct wire_attr a;
	uint64_t r, d, old;

	assert_int_equal(nsh_mknod(f->h, f->root, "r", REG, &r), OK);
	assert_int_equal(nsh_mknod(f->h, f->root, "d", DIR, &d), OK);
	assert_int_equal(nsh_link(f->h, r, d, "one"), OK);
	assert_int_equal(nsh_link(f->h, r, f->root, "two"), OK);
	assert_int_equal(nsh_write(f->h, r, 0, wire_cstr("hello")), OK);
	assert_int_equal(nsh_getattr(f->h, r, &a), OK);
	assert_int_equal(a.nlink, 3);
	assert_string_equal(list(f, "", "", 9), "d/one r two");
	/* same inode: nothing happens */
	assert_int_equal(nsh_rename(f->h, f->root, "r", d, "one"), OK);
	assert_string_equal(list(f, "", "", 9), "d/one r two");
	/* the first name goes, another takes its place */
	assert_int_equal(nsh_unlink(f->h, f->root, "r", 0), OK);
	assert_int_equal(nsh_rename(f->h, f->root, "two", f->root, "2"), OK);
	assert_string_equal(list(f, "", "", 9), "2 d/one");
	/* PUT over one name: the other keeps the bytes */
	old = r;
	PUT("2");
	assert_int_not_equal(ino_of(f, f->root, "2", 0), old);
	assert_int_equal(nsh_object(f->h, f->root, "d/one", 0, 9, &o), OK);
	assert_int_equal(o.attr.size, 5);
	assert_int_equal(o.attr.nlink, 1);
	assert_int_equal(nsh_unlink(f->h, d, "one", 0), OK);
	assert_int_equal(nsh_getattr(f->h, old, &a), RPC_STATUS_STALE);
}

static void test_open_and_unlinked(void **state)
{
	struct fix *f = *state;
	struct wire_attr a;
	uint8_t out[8];
	uint64_t r;

	PUT("k");
	r = ino_of(f, f->root, "k", 0);
	nsh_open(f->h, r);
	PUT("k"); /* a new inode */
	assert_int_equal(nsh_count(f->h, NS_T_OPEN), 1);
	assert_int_equal(nsh_getattr(f->h, r, &a), OK);
	assert_int_equal(a.nlink, 0);
	assert_true(a.flags & WIRE_ATTR_UNLINKED);
	assert_int_equal(nsh_write(f->h, r, 4, wire_cstr("xx")), OK);
	assert_int_equal(nsh_bytes(f->h, r, 0, 6, out), OK);
	assert_memory_equal(out, "bodyxx", 6);
	assert_int_equal(nsh_check(f->h), 0);
	nsh_close(f->h, r);
	assert_int_equal(nsh_getattr(f->h, r, &a), RPC_STATUS_STALE);
	assert_int_equal(nsh_count(f->h, NS_T_OPEN), 0);
	assert_int_equal(nsh_count(f->h, NS_T_INODE), 2);

	/* a directory that somebody reads */
	assert_int_equal(nsh_mknod(f->h, f->root, "d", DIR, &r), OK);
	nsh_open(f->h, r);
	assert_int_equal(nsh_rmdir(f->h, f->root, "d"), OK);
	assert_int_equal(nsh_getattr(f->h, r, &a), OK);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(nsh_mknod(f->h, r, "x", REG, NULL),
			 RPC_STATUS_NOENT);
	nsh_close(f->h, r);
	assert_int_equal(nsh_getattr(f->h, r, &a), RPC_STATUS_STALE);
}

static void test_open_checks_the_name(void **state)
{
	struct fix *f = *state;
	struct rpc_open req = { .parent = f->root, .name = wire_cstr("k") };
	struct rpc_read_rsp rsp;

	PUT("k");
	req.ino = ino_of(f, f->root, "k", 0);
	assert_int_equal(NSH(f->h, open, read_rsp, &req, &rsp), OK);
	nsh_open(f->h, req.ino);
	PUT("k");
	assert_int_equal(NSH(f->h, open, read_rsp, &req, &rsp),
			 RPC_STATUS_STALE);
	req.held = 1;
	assert_int_equal(NSH(f->h, open, read_rsp, &req, &rsp), OK);
	nsh_close(f->h, req.ino);
}

static void test_put_keeps_owner_and_mode(void **state)
{
	struct fix *f = *state;
	struct rpc_setattr set = { .valid = RPC_SET_MODE | RPC_SET_UID |
					    RPC_SET_GID,
				   .mode = 0600, .uid = 5, .gid = 6 };
	struct rpc_attr_rsp rsp;
	struct wire_attr a;

	PUT("k");
	assert_int_equal(nsh_lookup(f->h, f->root, "k", 0, &a), OK);
	assert_int_equal(a.mode, S_IFREG | 0644);
	assert_int_equal(a.uid, 1000);
	set.ino = a.ino;
	assert_int_equal(NSH(f->h, setattr, attr_rsp, &set, &rsp), OK);
	PUT("k");
	assert_int_equal(nsh_lookup(f->h, f->root, "k", 0, &a), OK);
	assert_int_not_equal(a.ino, set.ino);
	assert_int_equal(a.mode, S_IFREG | 0600);
	assert_int_equal(a.uid, 5);
	assert_int_equal(a.gid, 6);
	/* a symlink is replaced */
	assert_int_equal(nsh_mknod(f->h, f->root, "l", S_IFLNK | 0777, NULL),
			 OK);
	PUT("l");
	assert_int_equal(nsh_lookup(f->h, f->root, "l", 0, &a), OK);
	assert_int_equal(a.mode, S_IFREG | 0644);
}

static void test_slots_answer_again(void **state)
{
	struct fix *f = *state;
	struct rpc_mknod req = { .client = 9, .slot = 2, .seq = 5,
				 .dir = f->root, .name = wire_cstr("s"),
				 .mode = REG, .flags = RPC_MKNOD_EXCL };
	struct rpc_mknod_rsp rsp;
	uint64_t ino;

	assert_int_equal(NSH(f->h, mknod, mknod_rsp, &req, &rsp), OK);
	ino = rsp.attr.ino;
	assert_int_equal(NSH(f->h, mknod, mknod_rsp, &req, &rsp), OK);
	assert_int_equal(rsp.attr.ino, ino);
	req.seq = 6;
	assert_int_equal(NSH(f->h, mknod, mknod_rsp, &req, &rsp),
			 RPC_STATUS_EXIST);
	assert_int_equal(nsh_unlink(f->h, f->root, "s", 0), OK);
	assert_int_equal(NSH(f->h, mknod, mknod_rsp, &req, &rsp),
			 RPC_STATUS_EXIST);
	req.seq = 5;
	assert_int_equal(NSH(f->h, mknod, mknod_rsp, &req, &rsp),
			 RPC_STATUS_BADMSG);
}

static void test_conditions(void **state)
{
	struct fix *f = *state;
	struct rpc_put put = { .root = f->root, .key = wire_cstr("c"),
			       .etag = wire_cstr("e1"),
			       .if_none_match = wire_cstr("*") };
	struct rpc_object get = { .root = f->root, .key = wire_cstr("c") };
	struct rpc_delete del = { .root = f->root, .key = wire_cstr("c"),
				  .if_match = wire_cstr("nope") };
	struct rpc_empty_rsp empty;
	struct rpc_object_rsp rsp;
	struct rpc_put_rsp prsp;

	assert_int_equal(NSH(f->h, put, put_rsp, &put, &prsp), OK);
	assert_int_equal(NSH(f->h, put, put_rsp, &put, &prsp),
			 RPC_STATUS_PRECONDITION);
	put.if_none_match = wire_cstr("");
	put.if_match = wire_cstr("e0, \"e1\"");
	put.etag = wire_cstr("e2");
	assert_int_equal(NSH(f->h, put, put_rsp, &put, &prsp), OK);
	assert_int_equal(NSH(f->h, put, put_rsp, &put, &prsp),
			 RPC_STATUS_PRECONDITION);
	get.if_none_match = wire_cstr("e2");
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &rsp),
			 RPC_STATUS_NOT_MODIFIED);
	get.if_match = wire_cstr("e1");
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &rsp),
			 RPC_STATUS_PRECONDITION);
	get.if_match = get.if_none_match = wire_cstr("");
	get.if_modified_since = nsh_now(f->h);
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &rsp),
			 RPC_STATUS_NOT_MODIFIED);
	get.if_modified_since -= 2000000000;
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &rsp), OK);
	get.if_unmodified_since = get.if_modified_since;
	assert_int_equal(NSH(f->h, object, object_rsp, &get, &rsp),
			 RPC_STATUS_PRECONDITION);
	assert_int_equal(NSH(f->h, delete, empty_rsp, &del, &empty),
			 RPC_STATUS_PRECONDITION);
	del.if_match = wire_cstr("*");
	assert_int_equal(NSH(f->h, delete, empty_rsp, &del, &empty), OK);
	assert_int_equal(NSH(f->h, delete, empty_rsp, &del, &empty),
			 RPC_STATUS_NOENT);
	assert_int_equal(NSH(f->h, put, put_rsp, &put, &prsp),
			 RPC_STATUS_NOENT);
}

static void test_etags(void **state)
{
	struct fix *f = *state;
	struct rpc_object_rsp o;
	char first[64];
	uint64_t ino;

	assert_int_equal(nsh_put(f->h, f->root, "k", wire_cstr("v"), "abc"),
			 OK);
	assert_int_equal(nsh_object(f->h, f->root, "k", 0, 0, &o), OK);
	assert_int_equal(o.etag.len, 3);
	ino = o.attr.ino;
	assert_int_equal(nsh_write(f->h, ino, 0, wire_cstr("w")), OK);
	assert_int_equal(nsh_object(f->h, f->root, "k", 0, 0, &o), OK);
	assert_int_equal(o.etag.len, 34);
	assert_memory_equal(o.etag.p + 32, "-0", 2);
	memcpy(first, o.etag.p, 34);
	assert_int_equal(nsh_object(f->h, f->root, "k", 0, 0, &o), OK);
	assert_memory_equal(first, o.etag.p, 34);
	assert_int_equal(nsh_truncate(f->h, ino, 0), OK);
	assert_int_equal(nsh_object(f->h, f->root, "k", 0, 0, &o), OK);
	assert_memory_not_equal(first, o.etag.p, 32);
}

static void test_roots(void **state)
{
	struct fix *f = *state;
	struct rpc_root_remove req = { .ino = f->root };
	struct rpc_usage ureq = { .ino = f->root };
	struct rpc_usage_rsp u;
	struct rpc_empty_rsp rsp;
	uint64_t d, other;

	assert_int_equal(nsh_root(f->h, 77), f->root);
	other = nsh_root(f->h, 78);
	assert_int_not_equal(other, f->root);
	PUT("a/b/c");
	assert_int_equal(NSH(f->h, usage, usage_rsp, &ureq, &u), OK);
	assert_int_equal(u.bytes, 4);
	assert_int_equal(u.files, 1);
	assert_int_equal(u.dirs, 2);
	assert_int_equal(NSH(f->h, root_remove, empty_rsp, &req, &rsp),
			 RPC_STATUS_NOTEMPTY);
	assert_int_equal(nsh_rename(f->h, f->root, "a", other, "a"),
			 RPC_STATUS_XDEV);
	assert_int_equal(nsh_link(f->h, ino_of(f, ino_of(f, ino_of(f, f->root,
			 "a", 0), "b", 0), "c", 0), other, "l"),
			 RPC_STATUS_XDEV);
	DEL("a/b/c");
	assert_int_equal(nsh_mknod(f->h, f->root, "d", DIR, &d), OK);
	assert_int_equal(nsh_mknod(f->h, d, "e", DIR, &d), OK);
	assert_int_equal(nsh_mknod(f->h, d, "f", DIR, &d), OK);
	struct rpc_setxattr x = { .ino = d, .name = wire_cstr("user.x"),
				  .value = wire_cstr("y") };
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &x, &rsp), OK);
	assert_int_equal(NSH(f->h, root_remove, empty_rsp, &req, &rsp), OK);
	assert_int_equal(NSH(f->h, root_remove, empty_rsp, &req, &rsp), OK);
	assert_int_equal(nsh_count(f->h, NS_T_DENT), 0);
	assert_int_equal(nsh_count(f->h, NS_T_INODE), 1);
	assert_int_equal(nsh_put(f->h, f->root, "k", wire_cstr(""), NULL),
			 RPC_STATUS_NO_BUCKET);
}

static void test_xattrs(void **state)
{
	struct fix *f = *state;
	struct rpc_setxattr set = { .name = wire_cstr("user.a"),
				    .value = wire_cstr("1") };
	struct rpc_getxattr get = { .name = wire_cstr("user.a") };
	struct rpc_removexattr rm = { .name = wire_cstr("user.a") };
	struct rpc_listxattr ls = { 0 };
	struct rpc_listxattr_rsp lrsp;
	struct rpc_getxattr_rsp grsp;
	struct rpc_empty_rsp rsp;
	struct rpc_put put = { .root = f->root, .key = wire_cstr("k") };
	struct rpc_put_rsp prsp;
	struct wire_vec user, headers;

	wire_vec_init(&user);
	wire_vec_init(&headers);
	wire_vec_add_kv(&user, wire_cstr("color"), wire_cstr("red"));
	wire_vec_add_kv(&headers, wire_cstr("content-type"),
			wire_cstr("text/plain"));
	put.user = wire_vec_bytes(&user);
	put.headers = wire_vec_bytes(&headers);
	assert_int_equal(NSH(f->h, put, put_rsp, &put, &prsp), OK);
	set.ino = get.ino = rm.ino = ls.ino = prsp.attr.ino;
	assert_int_equal(NSH(f->h, getxattr, getxattr_rsp, &get, &grsp),
			 RPC_STATUS_NODATA);
	set.flags = RPC_XATTR_REPLACE;
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &set, &rsp),
			 RPC_STATUS_NODATA);
	set.flags = RPC_XATTR_CREATE;
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &set, &rsp), OK);
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &set, &rsp),
			 RPC_STATUS_EXIST);
	set.flags = 0;
	set.value = wire_cstr("22");
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &set, &rsp), OK);
	set.name = wire_cstr("user.b");
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &set, &rsp), OK);
	set.name = wire_cstr("user.s3.x");
	assert_int_equal(NSH(f->h, setxattr, empty_rsp, &set, &rsp),
			 RPC_STATUS_NOTSUP);
	assert_int_equal(NSH(f->h, getxattr, getxattr_rsp, &get, &grsp), OK);
	assert_memory_equal(grsp.value.p, "22", 2);
	assert_int_equal(NSH(f->h, listxattr, listxattr_rsp, &ls, &lrsp), OK);
	assert_int_equal(lrsp.names.len, 7 + 7 + 21 + 25);
	assert_memory_equal(lrsp.names.p,
			    "user.a\0user.b\0user.s3.content-type\0"
			    "user.s3.x-amz-meta-color\0", lrsp.names.len);
	get.name = wire_cstr("user.s3.x-amz-meta-color");
	assert_int_equal(NSH(f->h, getxattr, getxattr_rsp, &get, &grsp), OK);
	assert_memory_equal(grsp.value.p, "red", 3);
	assert_int_equal(NSH(f->h, removexattr, empty_rsp, &rm, &rsp), OK);
	assert_int_equal(NSH(f->h, removexattr, empty_rsp, &rm, &rsp),
			 RPC_STATUS_NODATA);
	DEL("k");
	assert_int_equal(nsh_count(f->h, NS_T_XATTR), 0);
	wire_vec_fini(&user);
	wire_vec_fini(&headers);
}

/* Bytes of any message may be anything: refused or done, never a crash. */
static void test_garbage(void **state)
{
	struct fix *f = *state;
	uint64_t x = 12345;
	size_t n;
	const struct rpc_info *info = rpc_info_all(&n);

	for (int i = 0; i < 20000; i++) {
		const struct rpc_info *m = &info[i % (int)n];
		uint8_t bytes[120];
		struct buf b;

		/* the steps of TXN_END were made by a coordinator */
		if ((m->kind != 'W' && m->kind != 'R') ||
		    m->tag == RPC_TAG_txn_end)
			continue;
		for (unsigned j = 0; j < sizeof(bytes); j++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			bytes[j] = x >> 60 < 12 ? 0 : (uint8_t)(x >> 33) % 5;
		}
		if (x >> 63)
			memset(bytes, 0, 20); /* no slot */
		for (int j = 0; j < 8; j++) /* a root or so */
			bytes[(x >> 40 & 1 ? 20 : 0) + j] =
				(uint8_t)(f->root >> (56 - 8 * j));
		buf_init(&b, 0);
		buf_add(&b, bytes, (size_t)(x >> 50) % sizeof(bytes));
		(void)nsh_send(f->h, m->tag, &b);
		buf_fini(&b);
		if (i % 1000 == 999)
			nsh_end_all(f->h);
	}
	nsh_end_all(f->h);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_s3_order),
		T(test_implicit_dirs_come_and_go),
		T(test_empty_directory_is_a_key),
		T(test_markers),
		T(test_file_beside_directory),
		T(test_posix_errors),
		T(test_exchange),
		T(test_exchange_markers),
		T(test_missing_is_locked),
		T(test_look_is_no_lock),
		T(test_empty_waits),
		T(test_pinned_stays),
		T(test_rename_where_it_leaves),
		T(test_hard_links),
		T(test_open_and_unlinked),
		T(test_open_checks_the_name),
		T(test_put_keeps_owner_and_mode),
		T(test_slots_answer_again),
		T(test_conditions),
		T(test_etags),
		T(test_roots),
		T(test_xattrs),
		T(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
