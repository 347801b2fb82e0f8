/*
 * driver.c: main() of a fuzz target without libFuzzer: runs it once over each
 * file that it is given, and over each file of a directory.
 *
 * Prints one line "ok FILE" for each; a target that finds something aborts.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/stat.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "fuzz.h"
#include "ioutil.h"

#define MAX_INPUT_BYTES ((size_t)16 * 1024 * 1024)

/* path has a slash. */
static void
run_file(const char *path)
{
	struct buf b = { 0 };
	uint8_t *exact;

	if (!io_read_file(path, &b, MAX_INPUT_BYTES)) {
		perror(path);
		exit(1);
	}
	/* Its own length exactly, so that a sanitizer sees a byte too much. */
	exact = malloc(b.len + (b.len == 0));
	if (exact == NULL)
		exit(1);
	if (b.len > 0)
		memcpy(exact, b.data, b.len);
	fuzz_accepted = 0;
	(void)LLVMFuzzerTestOneInput(exact, b.len);
	if (strncmp(strrchr(path, '/') + 1, "good", 4) == 0)
		must(fuzz_accepted);
	free(exact);
	buf_free(&b);
	printf("ok %s\n", path);
	fflush(stdout);
}

static void
run_one(const char *name)
{
	char file[4096];

	io_path(file, sizeof(file), "%s%s",
	    strchr(name, '/') == NULL ? "./" : "", name);
	run_file(file);
}

static void
run_directory(const char *path)
{
	struct dirent **list;
	char file[4096];
	int n = scandir(path, &list, NULL, alphasort);

	if (n < 0) {
		perror(path);
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			io_path(
			    file, sizeof(file), "%s/%s", path, list[i]->d_name);
			run_file(file);
		}
		free(list[i]);
	}
	free(list);
}

int
main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) != 0) {
			perror(argv[i]);
			return 1;
		}
		if (S_ISDIR(st.st_mode))
			run_directory(argv[i]);
		else
			run_one(argv[i]);
	}
	return 0;
}
