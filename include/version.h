/*
 * version.h: what --version prints and the Start line of a log holds.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_VERSION_H
#define PGW_VERSION_H

#define PGW_VERSION "0.1.0"

#endif
