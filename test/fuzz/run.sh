#!/bin/sh
# run.sh: libFuzzer on each target in turn (make fuzz).
#
#	T=name		only this target
#	SECONDS=20	for each
#	OUT=DIR		what it learns (DIR/NAME) and findings (DIR/NAME.finding-*);
#			default $BUILD/found; inputs there are used again
#
# A target's corpus/NAME is read, never written.  Exits 1 if something was
# found; the input is kept, and run again with
#	build/fuzz/test/fuzz_NAME FILE
#
# SPDX-License-Identifier: PostgreSQL
set -u
src=$(cd "$(dirname "$0")/../.." && pwd)
cd "$src" || exit 3
out=${OUT:-$BUILD/found}
seconds=${SECONDS:-20}
bad=0
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"

for c in test/fuzz/fuzz_*.c; do
	name=${c##*/fuzz_}
	name=${name%.c}
	[ -z "${T:-}" ] || [ "$T" = "$name" ] || continue
	mkdir -p "$out/$name" || exit 3
	dict=test/fuzz/$name.dict
	[ -e "$dict" ] || dict=
	# A child never frees what lasts as long as its only client.
	leaks=1
	[ "$name" = session ] && leaks=0
	"$BUILD/test/fuzz_$name" -detect_leaks=$leaks \
		-max_total_time="$seconds" -timeout=20 \
		-rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 \
		-artifact_prefix="$out/$name.finding-" ${dict:+-dict="$dict"} \
		"$out/$name" "test/fuzz/corpus/$name" >"$out/$name.log" 2>&1
	status=$?
	executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log")
	if [ "$status" -ne 0 ]; then
		bad=1
		tail -n 60 "$out/$name.log"
	fi
	printf 'fuzz/%-12s %s after %s executions\n' "$name" \
		"$([ "$status" -eq 0 ] && echo clean || echo FOUND SOMETHING)" \
		"${executed:-?}"
done
exit $bad
