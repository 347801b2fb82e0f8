/*
 * sandbox.h: a process gives up opening files (Landlock, Linux 5.13).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SANDBOX_H
#define PGW_SANDBOX_H

#include <stdbool.h>

#include "attr.h"

/* The kernel has Landlock and it is switched on. */
PGW_MUSTCHECK bool sandbox_is_available(void);

/*
 * From here on this process and what it starts can open nothing; with `names`
 * nothing but, for reading, what name resolution and libraries need: /etc,
 * /usr, /lib and systemd-resolved's part of /run.  What is open stays so,
 * sockets are as before.  Does nothing where the kernel has no Landlock.
 */
void sandbox_enter(bool names);

#endif
