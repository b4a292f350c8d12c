#ifndef FUSE_ESCAPE_H
#define FUSE_ESCAPE_H
/*
 * Names that POSIX cannot show, and back (DESIGN section 10, Names). Pure.
 *
 * A component is shown as it is unless it is empty, `.`, `..`, starts with
 * `.%`, or is a file hidden by a directory of the same name. Those are shown
 * as `.%` + `f` (file) or `d` (directory) + the component, where every byte
 * outside A-Za-z0-9_- is `%` and two upper-case hex digits. Each row has
 * exactly one shown form: anything else that starts with `.%` is no name.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESCAPE_SHOWN_MAX 1024 /* bytes of a name that FUSE carries */

/* What a shown name means. */
struct escape_name {
	uint8_t how;     /* RPC_NAME_* */
	bool if_hidden;  /* right only if a directory hides this file */
	size_t len;      /* of the component */
	uint8_t comp[ESCAPE_SHOWN_MAX];
};

/*
 * 0; -EINVAL: no row is ever shown like this; -ENAMETOOLONG. The caller
 * checks if_hidden, which only the directory can tell.
 */
int escape_decode(const char *shown, size_t len, struct escape_name *ret_name);

/*
 * Writes the shown form and a NUL to out (ESCAPE_SHOWN_MAX + 1 bytes).
 * hidden: a file whose name a directory has too. Returns its length, or
 * -ENAMETOOLONG when it cannot be shown.
 */
int escape_encode(const uint8_t *comp, size_t len, bool is_dir, bool hidden,
		  char *out);

#endif
