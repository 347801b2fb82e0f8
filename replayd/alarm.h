/*
 * alarm.h: a state that whoever asks for the status has to know of.
 *
 * It is a lock that is held as long as the state lasts: that needs no space on
 * a full disk, and goes with the process that says so.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ALARM_H
#define PGW_ALARM_H

#include <stdbool.h>

/* By the names of the events in the operator log that say why. */
#define ALARM_SPOOL "spool_stalled"
#define ALARM_RECORDER "recorder_ended"
#define ALARM_SERVER "server_unreachable"

/* A descriptor to close, -1: nobody will see it. */
int alarm_open(const char *data_dir, const char *name);
void alarm_set(int fd, bool on);
/* Asked from outside. */
bool alarm_is_on(const char *data_dir, const char *name);

#endif
