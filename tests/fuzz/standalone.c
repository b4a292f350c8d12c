/*
 * Runs a fuzz target over the files of the folders named, without an engine:
 * the corpus as an ordinary test. Each file is also run with bytes changed.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1u << 20)
#define ROUNDS 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From a block of the exact size, so that a read too far is seen. */
static void run_one(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size == 0 ? 1 : size);

	if (copy == NULL)
		exit(99);
	memcpy(copy, data, size);
	(void)LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void run_file(const char *path)
{
	static uint8_t data[INPUT_MAX], other[INPUT_MAX];
	FILE *f = fopen(path, "rb");
	size_t size;

	if (f == NULL) {
		perror(path);
		exit(1);
	}
	size = fread(data, 1, sizeof(data), f);
	(void)fclose(f);
	run_one(data, size);
	for (int i = 0; i < ROUNDS && size > 0; i++) {
		memcpy(other, data, size);
		for (long n = random() % 4; n >= 0; n--) {
			size_t at = (size_t)random() % size;
			size_t from = (size_t)random() % size;

			other[at] = random() % 2 != 0 ? (uint8_t)random() :
							data[from];
		}
		run_one(other, random() % 4 != 0 ? size :
						   (size_t)random() % size);
	}
}

static unsigned run_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	unsigned n = 0;

	if (d == NULL) {
		perror(dir);
		exit(1);
	}
	while ((de = readdir(d)) != NULL) {
		char path[4096];

		if (de->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		run_file(path);
		n++;
	}
	(void)closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	unsigned seed = 1, n = 0;

	printf("1..1\n# seed %u\n", seed);
	srandom(seed);
	for (int i = 1; i < argc; i++)
		n += run_dir(argv[i]);
	printf("%s 1 - %u inputs\n", n > 0 ? "ok" : "not ok", n);
	return n > 0 ? 0 : 1;
}
