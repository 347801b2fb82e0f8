# Sourced by what runs tests and measurements ($src, $build): nothing of the
# caller's libpq settings, and a directory for this run, PGW_RUN.
#
# SPDX-License-Identifier: PostgreSQL
for v in "${!PG@}"; do
	case $v in PG_* | PGW_*) ;; *) unset "$v" ;; esac
done
export PGW_SRC=$src PGW_BUILD=$build LC_ALL=C.UTF-8 TZ=UTC
PGW_RUN=$(mktemp -d "${PGW_TOP:-${TMPDIR:-/tmp}}/r.XXXXXX") && export PGW_RUN
ulimit -c 0
