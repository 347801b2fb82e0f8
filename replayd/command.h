/*
 * command.h: evidence.checkpoint_command, which takes checkpoints off the
 * host, as archive_command does with WAL.
 *
 * %p is the path of a file with the checkpoint, %s its size in lines, %% a
 * percent sign.  At most one runs at a time; what was signed meanwhile is left
 * out but for the latest.  A non-zero exit is logged and tried again after a
 * while, with whatever is the latest then; one that runs too long is killed
 * with its process group.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COMMAND_H
#define PGW_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

struct command;

/* command "": nothing is ever run. */
struct command *command_new(const char *log_dir, const char *command);
/* What still runs goes on by itself. */
void command_free(struct command *c);

/* log/checkpoint is new and of this size. */
void command_note(struct command *c, uint64_t size);
/* Starts, reaps, kills; never waits. */
void command_step(struct command *c);
/* Until command_step() has something to do; -1: nothing to come. */
int command_wait_ms(const struct command *c);
/* The latest has been taken, or none is to be. */
bool command_is_idle(const struct command *c);

#endif
