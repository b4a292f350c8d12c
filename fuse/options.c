#include "fuse/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define OPTIONS_TIMEOUT_MAX 86400u

/* Words of fstab that are for others: mount(8), systemd, the network. */
static const char *const options_ignored[] = {
	"defaults", "auto", "noauto", "user", "nouser", "users", "owner",
	"group", "_netdev", "nofail", "rw", "relatime", "norelatime",
	"strictatime", "nostrictatime", "lazytime", "nolazytime", "atime",
	"diratime", "silent", "loud", "quiet",
};

/* Words that libfuse turns into mount flags. */
static const char *const options_kernel[] = {
	"suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async",
	"noatime", "nodiratime", "dirsync",
};

void mount_options_init(struct mount_options *o, bool is_root)
{
	memset(o, 0, sizeof(*o));
	o->timeout_s = 30;
	o->attr_timeout_s = 1;
	o->entry_timeout_s = 1;
	o->default_permissions = is_root;
	buf_init(&o->kernel, 4096);
}

void mount_options_fini(struct mount_options *o)
{
	mem_free(o->spec);
	mem_free(o->manager);
	mem_free(o->path);
	mem_free(o->mountpoint);
	mem_free(o->fsname);
	mem_free(o->subtype);
	mem_free(o->log);
	mem_free(o->pid_file);
	buf_fini(&o->kernel);
	memset(o, 0, sizeof(*o));
}

int mount_options_spec(struct mount_options *o, const char *spec,
		       const char *cwd, struct errbuf *e)
{
	const char *sock, *colon, *path;
	int sock_len;
	size_t len;

	if (strncmp(spec, "unix:", 5) != 0)
		return errbuf_set(e, -EINVAL,
				  "%.100s: the source must look like "
				  "unix:PATH:/BUCKET or unix:PATH:/", spec);
	sock = spec + 5;
	colon = strstr(sock, ":/");
	if (colon == NULL || colon == sock)
		return errbuf_set(e, -EINVAL,
				  "%.100s: the source lacks ':/' or "
				  "':/BUCKET' behind the socket", spec);
	sock_len = (int)(colon - sock);
	path = colon + 2;
	while (*path == '/')
		path++;
	len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	o->spec = mem_strdup(spec);
	o->manager = sock[0] == '/'
			     ? mem_printf("unix:%.*s", sock_len, sock)
			     : mem_printf("unix:%s/%.*s", cwd, sock_len, sock);
	o->path = mem_dup(path, len);
	if (o->spec == NULL || o->manager == NULL || o->path == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	return 0;
}

static int options_number(const char *name, const char *text, double max,
			  double *ret_value, struct errbuf *e)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || errno != 0 || !isfinite(value) ||
	    value < 0 || value > max)
		return errbuf_set(e, -EINVAL,
				  "option %s=%.40s: not a number of seconds "
				  "from 0 to %.0f", name, text, max);
	*ret_value = value;
	return 0;
}

static int options_text(char **field, const char *text, struct errbuf *e)
{
	char *copy = mem_strdup(text);

	if (copy == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	mem_free(*field);
	*field = copy;
	return 0;
}

static int options_value(struct mount_options *o, const char *name,
			 const char *value, struct errbuf *e)
{
	double seconds;
	int rv;

	if (strcmp(name, "attr_timeout") == 0)
		return options_number(name, value, OPTIONS_TIMEOUT_MAX,
				      &o->attr_timeout_s, e);
	if (strcmp(name, "entry_timeout") == 0)
		return options_number(name, value, OPTIONS_TIMEOUT_MAX,
				      &o->entry_timeout_s, e);
	if (strcmp(name, "timeout") == 0) {
		rv = options_number(name, value, OPTIONS_TIMEOUT_MAX,
				    &seconds, e);
		if (rv == 0 && seconds < 1)
			rv = errbuf_set(e, -EINVAL,
					"option timeout: at least 1 second");
		if (rv == 0)
			o->timeout_s = (uint32_t)seconds;
		return rv;
	}
	if (strcmp(name, "fsname") == 0)
		return options_text(&o->fsname, value, e);
	if (strcmp(name, "subtype") == 0)
		return options_text(&o->subtype, value, e);
	if (strcmp(name, "log") == 0)
		return options_text(&o->log, value, e);
	if (strcmp(name, "comment") == 0)
		return 0;
	return errbuf_set(e, -EINVAL, "unknown option '%.60s='", name);
}

static bool options_is_in(const char *const *words, size_t n,
			  const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i], word) == 0)
			return true;
	return false;
}

#define OPTIONS_IS_IN(words, word) \
	options_is_in((words), sizeof(words) / sizeof(*(words)), (word))

static int options_word(struct mount_options *o, char *word,
			struct errbuf *e)
{
	char *eq = strchr(word, '=');

	if (word[0] == '\0' || strncmp(word, "x-", 2) == 0 ||
	    OPTIONS_IS_IN(options_ignored, word))
		return 0;
	if (eq != NULL) {
		*eq = '\0';
		return options_value(o, word, eq + 1, e);
	}
	if (strcmp(word, "ro") == 0)
		o->read_only = true;
	else if (strcmp(word, "allow_other") == 0)
		o->allow_other = true;
	else if (strcmp(word, "default_permissions") == 0)
		o->default_permissions = true;
	else if (OPTIONS_IS_IN(options_kernel, word))
		buf_printf(&o->kernel, ",%s", word);
	else
		return errbuf_set(e, -EINVAL, "unknown option '%.60s'", word);
	return o->kernel.err == 0
		       ? 0
		       : errbuf_set(e, o->kernel.err, "too many options");
}

int mount_options_list(struct mount_options *o, const char *list,
		       struct errbuf *e)
{
	char *copy = mem_strdup(list);
	char *rest = copy;
	char *word;
	int rv = 0;

	if (copy == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	while (rv == 0 && (word = strsep(&rest, ",")) != NULL)
		rv = options_word(o, word, e);
	mem_free(copy);
	return rv;
}
