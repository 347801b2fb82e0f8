/*
 * advice.h: what a configuration allows, but is seldom meant.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ADVICE_H
#define PGW_ADVICE_H

#include "config.h"
#include "tlsfiles.h"

/* Warns: to stderr before the operator log is open, to both behind that. */
void advice_give(const struct config *c, const struct tls_files *tls);

#endif
