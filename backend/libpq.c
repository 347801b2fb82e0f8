/*
 * libpq.c: libpq, loaded where the proxy itself logs in.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "libpq.h"

#include <dlfcn.h>
#include <string.h>

#include "heritage.h"
#include "log.h"

#define LIBRARY "libpq.so.5"

static struct libpq functions;
static bool loaded;

static bool
load(void)
{
	static const char *const names[] = {
#define LIBPQ_NAME(name) #name,
		LIBPQ_FUNCTIONS(LIBPQ_NAME)
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);

	_Static_assert(
	    sizeof(functions) == sizeof(names), "a pointer for each function");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		void *f = library == NULL ? NULL : dlsym(library, names[i]);

		if (f == NULL)
			return false;
		memcpy((char *)&functions + i * sizeof(f), &f, sizeof(f));
	}
	return true;
}

void
backend_prepare(const struct config *c)
{
	if (loaded || c->auth_method == AUTH_PASSTHROUGH)
		return;
	loaded = load();
	if (!loaded)
		log_error(
		    "libpq", "cannot load " LIBRARY ": clients cannot log in");
}

const struct libpq *
libpq(void)
{
	if (!loaded)
		log_fatal("libpq", "there is no " LIBRARY);
	return &functions;
}
