#ifndef FUSE_DIRCUR_H
#define FUSE_DIRCUR_H
/*
 * Where an open directory stands: pages of entries as the shard gave them,
 * numbered from 0 in listing order. Pure; decodes, never sends.
 *
 * The listing goes on *by name*: a page is asked for behind the last name of
 * the one before, so entries made or removed elsewhere neither repeat nor
 * hide others. The newest DIRCUR_PAGES pages are kept whole; of older ones
 * only their first number and the name before it, which is enough to fetch
 * them again after a seekdir().
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/wire/wire.h"

#define DIRCUR_PAGES 4
#define DIRCUR_PAGE_MAX 1000 /* entries asked for at once */

struct dircur_entry {
	struct wire_bytes row; /* raw row name, with slash for directories */
	uint64_t ino;
	uint32_t mode;
	bool shadowed;
	bool has_attr;
	struct wire_attr attr;
};

struct dircur_page;
struct dircur_mark;

struct dircur {
	struct dircur_page *page[DIRCUR_PAGES]; /* newest first, owned */
	struct dircur_mark *mark; /* sorted by first */
	unsigned n_marks, cap_marks;
	uint64_t end;   /* number behind the last entry, if ended */
	bool ended;
};

/* What to ask for. */
struct dircur_want {
	uint64_t first;          /* number its first entry will get */
	struct wire_bytes after; /* borrowed until the next dircur_add() */
};

enum dircur_state { DIRCUR_FOUND, DIRCUR_MISSING, DIRCUR_END };

void dircur_init(struct dircur *c);
void dircur_clear(struct dircur *c); /* forgets all: rewinddir */
/*
 * FOUND: *ret_entry (strings borrowed until the next add or clear), *ret_stamp
 * what dircur_add() was given. The number may be moved up over a gap that a
 * shrunken page left: *number is where the entry is. MISSING: *ret_want.
 */
enum dircur_state dircur_get(struct dircur *c, uint64_t *number,
			     struct dircur_entry *ret_entry,
			     uint64_t *ret_stamp, struct dircur_want *ret_want);
/*
 * Adds the reply to a want. list is copied. 0, -EBADMSG, -ENOMEM (nothing
 * changed). A page without entries that is not the end is -EBADMSG.
 */
int dircur_add(struct dircur *c, uint64_t first, struct wire_bytes list,
	       bool plus, bool eof, uint64_t stamp);

#endif
