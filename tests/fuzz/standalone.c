/*
 * Runs a fuzz target without an engine, as an ordinary test: every file of its
 * corpus (the folders named, else tests/fuzz/corpus/NAME for fuzz_NAME), then
 * mutations of them, and some random bytes. SEED and FUZZ_ROUNDS in the
 * environment change the run; it ends after FUZZ_SECONDS. The n-th input of a
 * seed is always the same one; what stops the program is left in the file
 * fuzz_NAME.crash.
 */
#ifndef FUZZ_ENGINE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX (1u << 17)
#define FILES_MAX 1024
#define ROUNDS 100000
#define SECONDS 1

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	char *path;
	uint8_t *data;
	size_t size;
};

static struct input inputs[FILES_MAX];
static unsigned n_inputs;
static uint64_t rng;
static char crash_name[256];
static const uint8_t *now_data; /* what the target runs on */
static size_t now_size;

static uint64_t next(uint64_t n)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return n == 0 ? 0 : (rng >> 33) % n;
}

/* Keeps the input for a debugger; only calls that a handler may make. */
static void on_abort(int sig)
{
	int fd = open(crash_name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd >= 0 && write(fd, now_data, now_size) == (ssize_t)now_size)
		(void)!write(2, "# the input was kept\n", 21);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

/* From a block of the exact size, so that a read too far is seen. */
static void run_one(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size == 0 ? 1 : size);

	if (copy == NULL)
		exit(99);
	if (size > 0)
		memcpy(copy, data, size);
	now_data = copy;
	now_size = size;
	(void)LLVMFuzzerTestOneInput(copy, size);
	now_size = 0;
	free(copy);
}

static void load_file(const char *path)
{
	struct input *in = &inputs[n_inputs];
	FILE *f = fopen(path, "rb");

	if (f == NULL) {
		perror(path);
		exit(1);
	}
	in->path = strdup(path);
	in->data = malloc(INPUT_MAX);
	if (in->path == NULL || in->data == NULL)
		exit(99);
	in->size = fread(in->data, 1, INPUT_MAX, f);
	(void)fclose(f);
	n_inputs++;
}

static void load_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *de;

	if (d == NULL) {
		perror(dir);
		exit(1);
	}
	while ((de = readdir(d)) != NULL && n_inputs < FILES_MAX) {
		char path[4096];

		if (de->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		load_file(path);
	}
	(void)closedir(d);
}

static int by_path(const void *a, const void *b)
{
	const struct input *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static uint8_t odd_byte(void)
{
	static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, ' ', '%', '\n' };

	return next(2) == 0 ? odd[next(sizeof(odd))] : (uint8_t)next(256);
}

/* Changes data[0..size) a little; returns the new size (at most INPUT_MAX). */
static size_t mutate(uint8_t *data, size_t size)
{
	size_t at = next(size + 1), from = next(size + 1), n;

	switch (size == 0 ? 1 : next(7)) {
	case 0: /* cut out */
		n = next(size - at + 1);
		memmove(data + at, data + at + n, size - at - n);
		return size - n;
	case 1: /* insert */
		n = 1 + next(8);
		if (n > INPUT_MAX - size)
			return size;
		memmove(data + at + n, data + at, size - at);
		for (size_t i = 0; i < n; i++)
			data[at + i] = odd_byte();
		return size + n;
	case 2: /* repeat a piece elsewhere */
		n = next((size - at < size - from ? size - at : size - from) +
			 1);
		memmove(data + at, data + from, n);
		return size;
	case 3: /* cut short */
		return at;
	default:
		if (at < size)
			data[at] = next(3) == 0 ?
					   (uint8_t)(data[at] + next(9) - 4) :
					   odd_byte();
		return size;
	}
}

/* The front of one input, the end of another. */
static size_t cross(uint8_t *data, size_t size, const struct input *other)
{
	size_t at = next(size + 1), from = next(other->size + 1);
	size_t n = other->size - from;

	if (n > INPUT_MAX - at)
		n = INPUT_MAX - at;
	memcpy(data + at, other->data + from, n);
	return at + n;
}

/* Made of nothing; two of three bytes are 0, so that lengths are small. */
static size_t fresh(uint8_t *data)
{
	size_t size = 1 + next(512);

	data[0] = (uint8_t)next(256);
	for (size_t i = 1; i < size; i++)
		data[i] = next(3) == 0 ? (uint8_t)next(256) : 0;
	return size;
}

static unsigned run_mutations(unsigned rounds, time_t seconds)
{
	static uint8_t data[INPUT_MAX];
	time_t end = time(NULL) + seconds + 1;
	unsigned i;

	for (i = 0; i < rounds && time(NULL) < end; i++) {
		const struct input *in = &inputs[i % n_inputs];
		size_t size = in->size;

		if (next(8) == 0) {
			run_one(data, fresh(data));
			continue;
		}
		memcpy(data, in->data, size);
		if (next(8) == 0)
			size = cross(data, size, &inputs[next(n_inputs)]);
		for (uint64_t n = 1 + next(4); n > 0; n--)
			size = mutate(data, size);
		run_one(data, size);
	}
	return i;
}

static unsigned from_env(const char *name, unsigned dflt)
{
	const char *text = getenv(name);

	return text == NULL ? dflt : (unsigned)strtoul(text, NULL, 10);
}

/* tests/fuzz/corpus/NAME of the program fuzz_NAME. */
static void load_default(const char *name)
{
	const char *top = getenv("top_srcdir");
	char dir[4096];

	if (strncmp(name, "fuzz_", 5) == 0)
		name += 5;
	(void)snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s",
		       top == NULL ? "." : top, name);
	load_dir(dir);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash == NULL ? argv[0] : slash + 1;
	unsigned seed = from_env("SEED", 1), done;

	printf("1..2\n# seed %u\n", seed);
	(void)snprintf(crash_name, sizeof(crash_name), "%.200s.crash", name);
	(void)signal(SIGABRT, on_abort);
	for (int i = 1; i < argc; i++)
		load_dir(argv[i]);
	if (argc <= 1)
		load_default(name);
	if (n_inputs == 0) {
		printf("not ok 1 - no inputs\nnot ok 2 - no inputs\n");
		return 1;
	}
	qsort(inputs, n_inputs, sizeof(inputs[0]), by_path);
	for (unsigned i = 0; i < n_inputs; i++)
		run_one(inputs[i].data, inputs[i].size);
	printf("ok 1 - %u inputs\n", n_inputs);
	rng = seed;
	done = run_mutations(from_env("FUZZ_ROUNDS", ROUNDS),
			     (time_t)from_env("FUZZ_SECONDS", SECONDS));
	printf("ok 2 - %u mutations\n", done);
	for (unsigned i = 0; i < n_inputs; i++) {
		free(inputs[i].path);
		free(inputs[i].data);
	}
	return 0;
}
#else
extern int standalone_is_empty;
#endif
