#!/bin/bash
# alone.sh torture/torture.pl: runs one program of test/ where those of $BUILD
# can run: as root, as user postgres on copies (as test/run.sh does).
#
# SPDX-License-Identifier: PostgreSQL
set -u
src=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$src/$build ;; esac
export PG_BINDIR=${PG_BINDIR:-/usr/lib/postgresql/15/bin}

if [ "$(id -u)" = 0 ]; then
	home=$(mktemp -d "${TMPDIR:-/tmp}/pgw.XXXXXX") && chmod 0755 "$home"
	status=130
	trap 'cd /; [ -n "${KEEP:-}" ] && [ $status -ne 0 ] || rm -rf "$home"' EXIT
	mkdir "$home/src"
	(cd "$src" && cp -r test etc common backend postmaster replayd \
		"$home/src/")
	mkdir "$home/src/build"
	(cd "$build" && cp -r pgwitness replayd witnessctl pin \
		"$home/src/build/")
	chown -R postgres:postgres "$home"
	cd "$home/src" && setpriv --reuid=postgres --regid=postgres \
		--init-groups env HOME="$home" USER=postgres LOGNAME=postgres \
		BUILD="$home/src/build" PGW_TOP="$home" test/alone.sh "$1"
	status=$?
	exit $status
fi

. "$src/test/env.sh"
perl -I "$src/test/support" "$src/test/$1"
status=$?
[ -n "${KEEP:-}" ] && [ $status -ne 0 ] || rm -rf "$PGW_RUN"
exit $status
