#ifndef FUSE_ENDING_H
#define FUSE_ENDING_H
/*
 * Which signals end a call. The kernel tells of a signal, not of which one; a
 * timer, a child that ended or a window of another size must end no call, as on
 * any other disk. What kills the program does, and HUP, INT, QUIT and TERM even
 * where it handles them.
 */
#include <stdio.h>
#include <sys/types.h>

enum ending {
	ENDING_NO,
	ENDING_MAYBE, /* it cannot be known: a thread of another PID namespace */
	ENDING_YES,
};

/*
 * Of the signals that wait for the thread tid and that it does not block; tid 0:
 * nobody known. Reads /proc/TID/status, which waits for no lock that a thread
 * may hold while it waits for us.
 */
enum ending ending_of(pid_t tid);
/* What such a file says. */
enum ending ending_read(FILE *status);

#endif
