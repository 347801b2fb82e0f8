#!/bin/bash
# Runs test/bench/bench.pl where the programs of $BUILD can run: as root, as
# user postgres on copies (as test/run.sh does).  What it reports is kept in
# test/bench/RESULTS if all was measured, else in $BUILD/bench/RESULTS.
#
# SPDX-License-Identifier: PostgreSQL
set -u
src=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$src/$build ;; esac
export PG_BINDIR=${PG_BINDIR:-/usr/lib/postgresql/15/bin}
export PGW_COMMIT=${PGW_COMMIT:-$(git -C "$src" describe --always --dirty \
	2>/dev/null)}

copy_programs()
{
	mkdir -p "$2"
	(cd "$1" && cp -r pgwitness replayd witnessctl pin "$2/")
	[ ! -d "$1/bench" ] || cp -r "$1/bench" "$2/"
}

if [ "$(id -u)" = 0 ]; then
	home=$(mktemp -d "${TMPDIR:-/tmp}/pgw.XXXXXX") && chmod 0755 "$home"
	trap 'cd /; rm -rf "$home"' EXIT
	mkdir "$home/src"
	(cd "$src" && cp -r test etc "$home/src/")
	copy_programs "$build" "$home/src/build"
	if [ -n "${OTHER:-}" ]; then
		copy_programs "$OTHER" "$home/other"
		export OTHER=$home/other
	fi
	chown -R postgres:postgres "$home"
	cd "$home/src" && setpriv --reuid=postgres --regid=postgres \
		--init-groups env HOME="$home" USER=postgres LOGNAME=postgres \
		BUILD="$home/src/build" PGW_TOP="$home" test/bench/bench.sh
	status=$?
	for out in test/bench build/bench; do
		[ "$home/src/$out/RESULTS" -nt "$home/src/etc/deps.sh" ] ||
			continue
		to=$src/test/bench
		[ $out = test/bench ] || to=$build/bench
		cat "$home/src/$out/RESULTS" >"$to/RESULTS"
		echo "written to $to/RESULTS"
	done
	exit $status
fi

. "$src/test/env.sh"
perl -I "$src/test/support" -I "$src/test/bench" "$src/test/bench/bench.pl"
status=$?
rm -rf "$PGW_RUN"
exit $status
