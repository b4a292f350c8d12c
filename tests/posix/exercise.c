/*
 * exercise [-n OPS] [-s SEED] [-l BYTES] [-m] [-D] [-r FILE] PATH [PATH2]
 *
 * Makes random operations, runs them, and on a failure cuts them down to the
 * few that still fail, which are printed. -m: with mmap; -D: O_DIRECT now and
 * then; -r: runs the operations of a file (lines as printed). PATH2: the same
 * file through another mount. Exit status 0 clean, 1 failed, 2 wrong usage.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "tests/posix/exercise.h"

#define SHRINK_SECONDS 60
#define MAPS (1u << EX_MAPREAD | 1u << EX_MAPWRITE)

static uint64_t random_state;

/* splitmix64 */
static uint64_t random_next(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random_next() % n);
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "exercise: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* --- making operations --- */

/* Lengths of all sizes: most are short, some near the whole file. */
static uint32_t make_len(uint32_t max)
{
	unsigned bits = 1 + random_below(24);
	uint32_t most = bits >= 24 ? max : 1u << bits;

	return 1 + random_below(most < max ? most : max);
}

/* Every fourth offset lies on a page, where the kernel has its seams. */
static uint32_t make_off(uint32_t max)
{
	uint32_t off = random_below(max);

	return random_below(4) == 0 ? off & ~4095u : off;
}

static unsigned make_kind(unsigned skip)
{
#define EX_WEIGHT(name, text, weight) weight,
	static const unsigned char weights[] = { EX_OPS(EX_WEIGHT) };
	unsigned total = 0, k;

	for (k = 0; k < EX_KINDS; k++)
		total += skip & 1u << k ? 0 : weights[k];
	total = random_below(total);
	for (k = 0; k < EX_KINDS; k++) {
		if (skip & 1u << k)
			continue;
		if (total < weights[k])
			break;
		total -= weights[k];
	}
	return k;
}

static struct ex_op *make_ops(size_t n, uint32_t max, unsigned skip)
{
	struct ex_op *ops = calloc(n, sizeof(*ops));

	if (ops == NULL)
		die("memory");
	for (size_t i = 0; i < n; i++) {
		struct ex_op *op = &ops[i];

		op->kind = (uint8_t)make_kind(skip);
		op->keep = random_below(2) == 0;
		op->off = make_off(max);
		op->len = make_len(max - op->off);
		op->arg = op->kind == EX_COPY ? make_off(max)
					      : (uint32_t)random_next();
	}
	return ops;
}

/* --- cutting down --- */

/* Takes ops [from, from + len) out; false: then it does not fail any more. */
static bool shrink_without(const struct ex_config *config, struct ex_op *ops,
			   size_t *n, size_t from, size_t len,
			   struct ex_fault *fault)
{
	struct ex_op *fewer = calloc(*n + 1, sizeof(*fewer));
	size_t left = *n - len;
	struct ex_fault f;

	if (fewer == NULL)
		die("memory");
	memcpy(fewer, ops, from * sizeof(*ops));
	memcpy(fewer + from, ops + from + len,
	       (*n - from - len) * sizeof(*ops));
	if (ex_run(config, fewer, left, &f)) {
		free(fewer);
		return false;
	}
	*fault = f;
	*n = f.op + 1;
	memcpy(ops, fewer, *n * sizeof(*ops));
	free(fewer);
	return true;
}

static void shrink(const struct ex_config *config, struct ex_op *ops,
		   size_t *n, struct ex_fault *fault)
{
	time_t end = time(NULL) + SHRINK_SECONDS;
	size_t step = *n / 2;

	while (step > 0 && time(NULL) < end) {
		bool shorter = false;

		for (size_t at = 0; at + step < *n && time(NULL) < end;)
			if (shrink_without(config, ops, n, at, step, fault))
				shorter = true;
			else
				at += step;
		if (step == 1 && !shorter)
			break;
		step = step > *n / 2 ? *n / 2 : shorter ? step : step / 2;
	}
}

static void print_failure(const struct ex_op *ops, size_t n,
			  const struct ex_fault *fault)
{
	char line[128];

	for (size_t i = 0; i < n; i++) {
		ex_format(&ops[i], line, sizeof(line));
		printf("%s\n", line);
	}
	printf("# FAILED: %s\n", fault->text);
}

/* --- replay --- */

static struct ex_op *read_ops(const char *path, size_t *ret_n)
{
	FILE *in = fopen(path, "re");
	struct ex_op *ops = NULL;
	char line[128], kind[16];
	size_t n = 0;

	if (in == NULL)
		die(path);
	while (fgets(line, sizeof(line), in) != NULL) {
		struct ex_op op = { .kind = 0 };
		unsigned keep;

		if (sscanf(line, "%15s %" SCNu32 " %" SCNu32 " %" SCNu32 " %u",
			   kind, &op.off, &op.len, &op.arg, &keep) != 5)
			continue;
		op.keep = keep != 0;
		while (op.kind < EX_KINDS && strcmp(kind, ex_name(op.kind)))
			op.kind++;
		if (op.kind == EX_KINDS)
			continue;
		ops = realloc(ops, (n + 1) * sizeof(*ops));
		if (ops == NULL)
			die("memory");
		ops[n++] = op;
	}
	(void)fclose(in);
	*ret_n = n;
	return ops;
}

/* --- main --- */

static _Noreturn void usage(void)
{
	fputs("usage: exercise [-n OPS] [-s SEED] [-l BYTES] [-m] [-D] "
	      "[-r FILE] PATH [PATH2]\n", stderr);
	exit(2);
}

static void print_skipped(unsigned skip)
{
	for (unsigned k = 0; k < EX_KINDS; k++)
		if (skip & 1u << k)
			printf("# without %s\n", ex_name(k));
}

int main(int argc, char **argv)
{
	struct ex_config config = { .max = 256 << 10, .skip = MAPS };
	const char *replay = NULL;
	struct ex_fault fault;
	struct ex_op *ops;
	size_t n = 10000;
	bool ok;
	int opt;

	if (getrandom(&random_state, 4, 0) != 4)
		die("random");
	while ((opt = getopt(argc, argv, "n:s:l:mDr:")) != -1) {
		if (opt == 'n')
			n = strtoul(optarg, NULL, 10);
		else if (opt == 's')
			random_state = strtoull(optarg, NULL, 10);
		else if (opt == 'l')
			config.max = (uint32_t)strtoul(optarg, NULL, 10);
		else if (opt == 'm')
			config.skip &= ~MAPS;
		else if (opt == 'D')
			config.direct = true;
		else if (opt == 'r')
			replay = optarg;
		else
			usage();
	}
	if (argc - optind < 1 || argc - optind > 2 || n == 0 ||
	    config.max == 0)
		usage();
	config.path[0] = argv[optind];
	config.path[1] = argv[optind + 1];
	config.skip |= ex_probe(&config);
	printf("# seed %" PRIu64 "\n", random_state);
	print_skipped(config.skip);
	(void)fflush(stdout);
	ops = replay != NULL ? read_ops(replay, &n)
			     : make_ops(n, config.max, config.skip);
	ok = ex_run(&config, ops, n, &fault);
	if (!ok) {
		printf("# operation %zu: %s\n", fault.op, fault.text);
		n = fault.op + 1;
		if (replay == NULL)
			shrink(&config, ops, &n, &fault);
		print_failure(ops, n, &fault);
	} else {
		printf("# %zu operations\n", n);
	}
	free(ops);
	return ok ? 0 : 1;
}
