#include "fuse/ending.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDING_BIT(sig) (UINT64_C(1) << ((sig) - 1))
/* End a call even where the program handles them. */
#define ENDING_HANDLED \
	(ENDING_BIT(SIGHUP) | ENDING_BIT(SIGINT) | ENDING_BIT(SIGQUIT) | \
	 ENDING_BIT(SIGTERM))
/* Kill nobody who does not handle them: signal(7). */
#define ENDING_HARMLESS \
	(ENDING_BIT(SIGCHLD) | ENDING_BIT(SIGCONT) | ENDING_BIT(SIGSTOP) | \
	 ENDING_BIT(SIGTSTP) | ENDING_BIT(SIGTTIN) | ENDING_BIT(SIGTTOU) | \
	 ENDING_BIT(SIGURG) | ENDING_BIT(SIGWINCH))

/* Is line that of the mask `name` of proc(5)? */
static bool ending_mask(const char *line, const char *name, uint64_t *ret)
{
	size_t n = strlen(name);
	char *end;

	if (strncmp(line, name, n) != 0)
		return false;
	*ret = strtoull(line + n, &end, 16);
	return end != line + n && *end == '\n';
}

/* Who is killed closes its files with that signal still among the shared ones;
 * the KILL that the kernel adds for each of its threads is gone by then. */
enum ending ending_read(FILE *status)
{
	uint64_t own, shared, blocked, caught, pending;
	unsigned found = 0;
	char *line = NULL;
	size_t cap = 0;

	/* by lines: that of a user's groups, before these, may be long */
	while (found < 4 && getline(&line, &cap, status) > 0)
		found += ending_mask(line, "SigPnd:", &own) ||
			 ending_mask(line, "ShdPnd:", &shared) ||
			 ending_mask(line, "SigBlk:", &blocked) ||
			 ending_mask(line, "SigCgt:", &caught);
	free(line);
	if (found < 4)
		return ENDING_MAYBE;
	pending = (own | shared) & ~blocked;
	return (pending & (ENDING_HANDLED | ~(caught | ENDING_HARMLESS))) != 0
		       ? ENDING_YES
		       : ENDING_NO;
}

enum ending ending_of(pid_t tid)
{
	enum ending ending;
	char path[32];
	FILE *f;

	if (tid <= 0)
		return ENDING_MAYBE;
	snprintf(path, sizeof path, "/proc/%ld/status", (long)tid);
	f = fopen(path, "re");
	if (f == NULL)
		return ENDING_MAYBE;
	ending = ending_read(f);
	fclose(f);
	return ending;
}
