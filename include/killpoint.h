/*
 * killpoint.h: named places where a test has a process die.
 *
 * Nothing in a normal build.  With `make KILLPOINTS=1` the file that the
 * environment variable PGWITNESS_KILLPOINT names (test/torture/Points.pm)
 * says which point is armed and at which pass SIGKILL strikes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_KILLPOINT_H
#define PGW_KILLPOINT_H

#ifdef PGW_KILLPOINTS
void killpoint(const char *name);
#define KILLPOINT(name) killpoint(name)
#else
#define KILLPOINT(name) ((void)0)
#endif

#endif
