#include "fuse/ending.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The mask behind "\nNAME:" of proc(5); false: there is none. */
static bool ending_mask(const char *status, const char *name, uint64_t *ret)
{
	const char *at = strstr(status, name);
	char *end;

	if (at == NULL)
		return false;
	at += strlen(name);
	*ret = strtoull(at, &end, 16);
	return end != at;
}

/* Who is killed closes its files with that signal still among the shared ones;
 * the KILL that the kernel adds for each of its threads is gone by then. */
enum ending ending_of(pid_t tid)
{
	char path[32], status[4096];
	uint64_t own, shared, blocked, caught, pending;
	ssize_t n;
	int fd;

	if (tid <= 0)
		return ENDING_MAYBE;
	snprintf(path, sizeof path, "/proc/%ld/status", (long)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ENDING_MAYBE;
	n = read(fd, status, sizeof status - 1);
	close(fd);
	if (n < 0)
		return ENDING_MAYBE;
	status[n] = '\0';
	if (!ending_mask(status, "\nSigPnd:", &own) ||
	    !ending_mask(status, "\nShdPnd:", &shared) ||
	    !ending_mask(status, "\nSigBlk:", &blocked) ||
	    !ending_mask(status, "\nSigCgt:", &caught))
		return ENDING_MAYBE;
	pending = (own | shared) & ~blocked;
	return (pending & (ENDING_HANDLED | ~(caught | ENDING_HARMLESS))) != 0
		       ? ENDING_YES
		       : ENDING_NO;
}
