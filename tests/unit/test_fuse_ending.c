/* Which signals that wait for a program end its calls: a child that is stopped
 * keeps what it is sent, as one does that waits in a call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/ending.h"

static void on_signal(int sig)
{
	(void)sig;
}

/* A child that handles `handled` and blocks `blocked` (0: none), stopped. */
static pid_t stopped_child(int handled, int blocked)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct sigaction sa = { .sa_handler = on_signal };
		sigset_t set;

		if (handled != 0)
			sigaction(handled, &sa, NULL);
		sigemptyset(&set);
		if (blocked != 0)
			sigaddset(&set, blocked);
		sigprocmask(SIG_SETMASK, &set, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	return pid;
}

/* What is said of it once sig was sent. */
static enum ending sent_to(pid_t pid, int sig)
{
	enum ending ends;

	assert_int_equal(ending_of(pid), ENDING_NO);
	assert_int_equal(kill(pid, sig), 0);
	ends = ending_of(pid);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return ends;
}

static enum ending sent(int sig, int blocked)
{
	return sent_to(stopped_child(sig, blocked), sig);
}

static void test_handled_signals(void **state)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	static const int others[] = { SIGALRM, SIGCHLD, SIGURG,  SIGWINCH,
				      SIGPROF, SIGUSR1, SIGUSR2, SIGPIPE,
				      SIGIO,   SIGTSTP };

	(void)state;
	for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
		assert_int_equal(sent(ending[i], 0), ENDING_YES);
		assert_int_equal(sent(ending[i], ending[i]), ENDING_NO);
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		assert_int_equal(sent(others[i], 0), ENDING_NO);
}

/* What kills nobody ends nothing, without a handler either. */
static void test_harmless_signals(void **state)
{
	static const int harmless[] = { SIGTSTP, SIGTTIN, SIGTTOU };

	(void)state;
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		assert_int_equal(sent_to(stopped_child(0, 0), harmless[i]),
				 ENDING_NO);
}

/* The file of a thread in n groups, for which ALRM and `pending` wait, and which
 * handles both; its last `cut` bytes are not there. */
static enum ending ending_with(unsigned n, unsigned pending, size_t cut)
{
	enum ending ending;
	size_t len;
	char *text;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	fprintf(f, "Name:\tx\nGroups:\t");
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%u ", 4000000000u + i);
	fprintf(f, "\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\n",
		1u << (SIGALRM - 1), pending, 0);
	fprintf(f, "SigIgn:\t%016x\nSigCgt:\t%016x\n", 0,
		1u << (SIGALRM - 1) | pending);
	assert_int_equal(fclose(f), 0);
	f = fmemopen(text, len - cut, "r");
	assert_non_null(f);
	ending = ending_read(f);
	fclose(f);
	free(text);
	return ending;
}

/* The line of the groups, before those of the signals, is of any length. */
static void test_many_groups(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= 70000; n += n < 400 ? 1 : 10000) {
		assert_int_equal(ending_with(n, 0, 0), ENDING_NO);
		assert_int_equal(ending_with(n, 1u << (SIGTERM - 1), 0),
				 ENDING_YES);
	}
}

/* What is cut says nothing. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t cut = 1; cut < 130; cut++)
		assert_int_equal(ending_with(3, 0, cut), ENDING_MAYBE);
}

static void test_nobody_known(void **state)
{
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(ending_of(pid), ENDING_MAYBE);
	assert_int_equal(ending_of(0), ENDING_MAYBE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handled_signals),
		cmocka_unit_test(test_harmless_signals),
		cmocka_unit_test(test_many_groups),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_nobody_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
