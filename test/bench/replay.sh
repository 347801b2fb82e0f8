#!/bin/bash
# Runs replay_bench of $BUILD where PostgreSQL can run: as root, as user
# postgres on copies.  JOBS=100000, KEEP=1 keeps its directory.
#
# SPDX-License-Identifier: PostgreSQL
set -u
src=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$src/$build ;; esac

home=$(mktemp -d "${TMPDIR:-/tmp}/pgw.XXXXXX") && chmod 0755 "$home"
trap 'cd /; [ -n "${KEEP:-}" ] && echo "kept $home" || rm -rf "$home"' EXIT
mkdir "$home/build" "$home/run"
cp -r "$build"/{pgwitness,replayd,witnessctl,pin,bench} "$home/build/"

as=()
if [ "$(id -u)" = 0 ]; then
	chown -R postgres:postgres "$home"
	as=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
cd "$home" || exit 3
"${as[@]}" build/pgwitness --init -D "$home/run/data" >/dev/null &&
	"${as[@]}" build/bench/replay_bench "$home/run" ${JOBS:-}
