/*
 * fuzz_config.c: pgwitness.conf: any bytes are a configuration, or an error
 * of one line that names the file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"
#include "ioutil.h"

static void
check_error(const char *error, const char *path)
{
	size_t n = strlen(error);

	must(n > 0 && strncmp(error, path, strlen(path)) == 0);
	must(memchr(error, '\n', n) == NULL);
}

static void
print(const struct config *c)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	if (out == NULL)
		abort();
	config_print(c, out);
	fclose(out);
	must(n > 0 && strstr(text, "[proxy]") != NULL);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("conf", MFD_CLOEXEC);
	char path[64], error[512];
	struct config *c;

	if (fd < 0 || !io_write_all(fd, data, size))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	error[0] = '\0';
	c = config_load("/", path, error, sizeof(error));
	if (c == NULL) {
		check_error(error, path);
	} else {
		fuzz_accepted = 1;
		must(c->port > 0 && c->port < 65536);
		must(c->max_connections > 0);
		print(c);
		config_free(c);
	}
	close(fd);
	return 0;
}
