/*
 * First start: the cluster, its first user and key, the files that hold them.
 * No default secrets: everything is random and lands in 0600 files.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "managerd/mgr_impl.h"

#define MGR_FIRST_USER "admin"

/* n characters out of set (a power of two long) into out, plus NUL. */
static void mgr_random_text(struct env *env, const char *set, size_t n,
			    char *out)
{
	size_t mask = strlen(set) - 1;
	uint8_t raw[64];

	env_random(env, raw, n);
	for (size_t i = 0; i < n; i++)
		out[i] = set[raw[i] & mask];
	out[n] = '\0';
}

void mgr_make_key(struct env *env, char access[21], char secret[41])
{
	static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	static const char mixed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
				    "qrstuvwxyz0123456789-_";

	memcpy(access, "LEO", 3);
	mgr_random_text(env, upper, 17, access + 3);
	mgr_random_text(env, mixed, 40, secret);
}

/* Writes a 0600 file whole and durably; 0 or -errno. */
static int mgr_write_secret(const char *dir, const char *name,
			    const char *text, struct vfs *vfs)
{
	char *tmp = mem_printf("%s/.%s.tmp", dir, name);
	char *path = mem_printf("%s/%s", dir, name);
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct vfs_file *f = NULL;
	int rv = tmp == NULL || path == NULL ? -ENOMEM : 0;

	if (rv == 0)
		rv = vfs->ops->open(vfs, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600,
				    &f);
	if (rv == 0) {
		rv = vfs->ops->pwritev(f, &iov, 1, 0);
		if (rv == 0)
			rv = vfs->ops->fsync(f);
		vfs->ops->close(f);
	}
	if (rv == 0)
		rv = vfs->ops->rename(vfs, tmp, path);
	if (rv == 0)
		rv = vfs->ops->sync_dir(vfs, dir);
	mem_free(tmp);
	mem_free(path);
	return rv;
}

/* Reads a small file; NULL when it is not there. */
static char *mgr_read_small(const char *dir, const char *name, struct vfs *vfs)
{
	char *path = mem_printf("%s/%s", dir, name), text[257];
	struct vfs_file *f = NULL;
	ssize_t n = -1;

	if (path != NULL &&
	    vfs->ops->open(vfs, path, O_RDONLY, 0, &f) == 0) {
		n = vfs->ops->pread(f, text, sizeof text - 1, 0, 0);
		vfs->ops->close(f);
	}
	mem_free(path);
	if (n <= 0)
		return NULL;
	text[n] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	return mem_strdup(text);
}

int mgr_first_files(struct manager *m, struct errbuf *e)
{
	struct vfs *vfs = m->env->vfs;
	char token[45];
	char *text;
	int rv;

	m->token = mgr_read_small(m->conf_dir, "admin.token", vfs);
	if (m->token != NULL && strlen(m->token) >= 32)
		return 0;
	mem_free(m->token);
	mgr_random_text(m->env,
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			"0123456789-_",
			44, token);
	m->token = mem_strdup(token);
	text = mem_printf("%s\n", token);
	if (m->token == NULL || text == NULL) {
		mem_free(text);
		return errbuf_set(e, -ENOMEM, "out of memory");
	}
	rv = mgr_write_secret(m->conf_dir, "admin.token", text, vfs);
	mem_free(text);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot write %s/admin.token: %s",
				  m->conf_dir, strerror(-rv));
	return 0;
}

int mgr_write_admin_url(struct manager *m, struct errbuf *e)
{
	const char *colon = strrchr(m->admin_addr, ':');
	char *text = mem_printf("http://%.*s:%u\n",
				(int)(colon - m->admin_addr), m->admin_addr,
				manager_admin_port(m));
	int rv = text != NULL ? mgr_write_secret(m->conf_dir, "admin.url",
						 text, m->env->vfs)
			      : -ENOMEM;

	mem_free(text);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot write %s/admin.url: %s",
				  m->conf_dir, strerror(-rv));
	return 0;
}

/* --- the first user and key --- */

struct mgr_first {
	struct mgr_waiter waiter;
	struct manager *m;
	mgr_done_fn done;
	void *arg;
};

static void mgr_first_finish(struct mgr_first *f, uint32_t status)
{
	mgr_done_fn done = f->done;
	void *arg = f->arg;

	mem_free(f);
	done(arg, status, wire_bytes(NULL, 0));
}

/* Writes DIR/credentials for a key of an administrator, if there is one. */
static int mgr_first_credentials(struct manager *m, const struct cluster *c)
{
	for (unsigned i = 0; i < c->n_keys; i++) {
		const struct cluster_key *k = &c->keys[i];
		const struct cluster_user *u = cluster_find_user(c, k->user);
		char *text;
		int rv;

		if (u == NULL || !u->admin || k->disabled)
			continue;
		text = mem_printf("[default]\naws_access_key_id = %.*s\n"
				  "aws_secret_access_key = %.*s\n",
				  (int)k->access.len,
				  (const char *)k->access.p,
				  (int)k->secret.len,
				  (const char *)k->secret.p);
		if (text == NULL)
			return -ENOMEM;
		rv = mgr_write_secret(m->conf_dir, "credentials", text,
				      m->env->vfs);
		mem_free(text);
		return rv;
	}
	return 0;
}

static void mgr_first_on_image(struct mgr_waiter *w, struct mgr_image *image)
{
	struct mgr_first *f = CONTAINER_OF(w, struct mgr_first, waiter);
	char *old = mgr_read_small(f->m->conf_dir, "credentials",
				   f->m->env->vfs);
	struct cluster *c = NULL;
	int rv = 0;

	if (image != NULL && old == NULL) {
		rv = cluster_decode(image->bytes, image->len, &c);
		if (rv == 0)
			rv = mgr_first_credentials(f->m, c);
		cluster_unref(c);
	}
	mem_free(old);
	if (rv != 0)
		log_warn(rv, "cannot write path=%s/credentials",
			 f->m->conf_dir);
	mgr_first_finish(f, rv == 0 ? RPC_STATUS_OK : RPC_STATUS_IO);
}

static void mgr_first_on_init(void *arg, uint32_t status,
			      struct wire_bytes payload)
{
	struct mgr_first *f = arg;

	(void)payload;
	if (status != RPC_STATUS_OK && status != RPC_STATUS_EXIST) {
		mgr_first_finish(f, status);
		return;
	}
	f->waiter.done = mgr_first_on_image;
	mgr_watch_wait(f->m, &f->waiter, UINT64_MAX, 0);
}

void mgr_first_init(struct manager *m, mgr_done_fn done, void *arg)
{
	struct mgr_first *f = mem_zalloc(sizeof *f);
	char access[21], secret[41], canonical[65];
	struct mgr_init cmd;

	if (f == NULL)
		fatal_abort("manager: out of memory");
	f->m = m;
	f->done = done;
	f->arg = arg;
	mgr_make_key(m->env, access, secret);
	mgr_random_text(m->env, "0123456789abcdef", 64, canonical);
	cmd = (struct mgr_init){
		.region = wire_cstr(m->region),
		.user = wire_cstr(MGR_FIRST_USER),
		.canonical = wire_cstr(canonical),
		.access = wire_cstr(access),
		.secret = wire_cstr(secret),
		.inline_max = 65536,
		.durability = m->durability,
	};
	env_random(m->env, &cmd.cluster, sizeof cmd.cluster);
	/* refused with EXIST by a cluster that has been made before */
	MGR_SUBMIT(m, init, &cmd, mgr_first_on_init, f);
}
