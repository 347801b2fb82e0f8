/*
 * notify.h: tells systemd how far we are (sd_notify(3)'s protocol).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef POSTMASTER_NOTIFY_H
#define POSTMASTER_NOTIFY_H

/* "READY=1" ...; nothing without $NOTIFY_SOCKET.  Errors are ignored. */
void notify_send(const char *state);

#endif
