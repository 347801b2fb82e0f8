/*
 * attr.h: compiler attributes under short names.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ATTR_H
#define PGW_ATTR_H

#define PGW_MUSTCHECK __attribute__((warn_unused_result))
#define PGW_NORETURN __attribute__((noreturn))
#define PGW_PRINTF(f, a) __attribute__((format(printf, f, a)))

#endif
