#!/bin/bash
# Runs the tests: unit (cmocka programs in $BUILD/test), the fuzz targets over
# their corpora, then test/integration/*.t and test/conformance/*.t on real
# PostgreSQL.  The last line is "N passed, N failed"; the exit status is 0 only
# if none failed.
#
#	BUILD=build	where the programs are
#	T=name		only this one: test_merkle or merkle, crud or crud.t,
#			fuzz_wire, fuzz (all targets)
#	KEEP=1		keep a failed test's directory and say where it is
#	UNIT_ONLY=1	no integration tests
#	TESTS=dir	instead of all that, dir/*.t (as test/conformance/drivers)
#	JOBS=2		integration tests at a time
#	V=1		show each assertion and note
#
# As root everything runs as user postgres, on copies that it can reach.
#
# SPDX-License-Identifier: PostgreSQL
set -u
shopt -s nullglob

src=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$src/$build ;; esac
[ -d "$build" ] || { echo "run.sh: $build is not there: make all tests" >&2; exit 3; }
export T=${T:-} KEEP=${KEEP:-} UNIT_ONLY=${UNIT_ONLY:-} JOBS=${JOBS:-2}
export TESTS=${TESTS:-}
export PG_BINDIR=${PG_BINDIR:-/usr/lib/postgresql/15/bin}

as_postgres()
{
	mkdir "$home/src" "$home/src/build"
	for d in test etc; do
		[ -d "$src/$d" ] && cp -r "$src/$d" "$home/src/"
	done
	(cd "$build" && tar -cf - --exclude=obj --exclude='*.a' \
		--exclude=./clang --exclude=./sanitize --exclude=./fuzz .) |
		tar -xf - -C "$home/src/build"
	chown -R postgres:postgres "$home"
	# Not exec: $home is removed at the end.
	cd "$home/src" && setpriv --reuid=postgres --regid=postgres \
		--init-groups env HOME="$home" USER=postgres LOGNAME=postgres \
		BUILD="$home/src/build" PGW_TOP="$home" test/run.sh
}

if [ "$(id -u)" = 0 ]; then
	id postgres >/dev/null 2>&1 || {
		echo "run.sh: root cannot run PostgreSQL and there is no user" \
			"postgres: apt-get install postgresql-15" >&2
		exit 3
	}
	home=$(mktemp -d "${TMPDIR:-/tmp}/pgw.XXXXXX") && chmod 0755 "$home"
	status=130
	trap 'cd /; [ -n "$KEEP" ] && [ $status -ne 0 ] || rm -rf "$home"' EXIT
	as_postgres
	status=$?
	exit $status
fi

. "$src/test/env.sh"
trap '[ -n "$KEEP" ] && [ "$failed" -gt 0 ] || rm -rf "$PGW_RUN"' EXIT
passed=0
failed=0
matched=

stem=${T%.t}
stem=${stem#test_}

for program in "$build"/test/test_*; do
	name=${program##*/test_}
	case $name in *.*) continue ;; esac
	[ -z "$T" ] || [ "$name" = "$stem" ] || continue
	[ -z "$TESTS" ] || continue
	matched=1
	timeout -k 10 900 "$program" >"$PGW_RUN/out" 2>"$PGW_RUN/err" \
		</dev/null
	status=$?
	ok=$(grep -c '^\[       OK \]' "$PGW_RUN/out")
	bad=$(grep -c '^\[  FAILED  \]' "$PGW_RUN/out")
	# A program that crashed, hung or said nothing is one failure.
	[ $status -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
	passed=$((passed + ok))
	failed=$((failed + bad))
	if [ "$bad" -gt 0 ]; then
		printf 'unit/%-24s FAILED (%d of %d, exit status %d)\n' "$name" \
			"$bad" $((ok + bad)) $status
		grep -v '^\[ RUN\|^\[       OK' "$PGW_RUN/out" | tail -n 40
		tail -n 60 "$PGW_RUN/err"
	else
		printf 'unit/%-24s ok (%d)\n' "$name" "$ok"
	fi
done

# Each input of a fuzz target's corpus is one test (make fuzz finds new ones).
for program in "$build"/test/fuzz_*; do
	name=${program##*/}
	case $name in *.*) continue ;; esac
	[ -z "$TESTS" ] || continue
	[ -z "$T" ] || [ "$stem" = fuzz ] || [ "$stem" = "$name" ] || continue
	matched=1
	timeout -k 10 900 "$program" "$src/test/fuzz/corpus/${name#fuzz_}" \
		>"$PGW_RUN/out" 2>"$PGW_RUN/err" </dev/null
	status=$?
	ok=$(grep -c '^ok ' "$PGW_RUN/out")
	passed=$((passed + ok))
	if [ $status -ne 0 ] || [ "$ok" -eq 0 ]; then
		failed=$((failed + 1))
		printf 'fuzz/%-24s FAILED behind "%s", exit status %d\n' \
			"${name#fuzz_}" "$(tail -n 1 "$PGW_RUN/out")" $status
		tail -n 60 "$PGW_RUN/err"
	else
		printf 'fuzz/%-24s ok (%d)\n' "${name#fuzz_}" "$ok"
	fi
done

if [ -z "$UNIT_ONLY" ]; then
	tests=()
	for dir in ${TESTS:-test/integration test/conformance}; do
		for t in "$src/$dir"/*.t; do
			name=${t##*/}
			[ -z "$T" ] || [ "${name%.t}" = "$stem" ] || continue
			tests+=("$t")
		done
	done
	if [ ${#tests[@]} -gt 0 ]; then
		matched=1
		perl "$src/test/support/prove.pl" "$PGW_RUN/count" "${tests[@]}"
		read -r p f <"$PGW_RUN/count" || { p=0 f=1; }
		passed=$((passed + p))
		failed=$((failed + f))
	fi
fi

if [ -z "$matched" ]; then
	echo "run.sh: no test is called '${T:-}' in $build/test or ${TESTS:-test/integration, test/conformance}" >&2
	failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
