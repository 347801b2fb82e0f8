#!/bin/sh
# layers.sh: "make lint": the laws of the tree that a compiler cannot check.
#
# Prints each offender and exits 1 if there is one.
# SPDX-License-Identifier: PostgreSQL
set -u
cd "$(dirname "$0")/.." || exit 3
bad=0

# offend LAW: every line on stdin is an offender.
offend() {
	while read -r line; do
		echo "$1: $line"
		echo x >&3
	done
}
offenders=$(mktemp)
trap 'rm -f "$offenders"' EXIT
exec 3>"$offenders"

sources() { find "$@" -name '*.[ch]' 2>/dev/null; }

# Headers that a folder keeps for itself; nobody else includes them.
law_includes() {
	for from in common backend replayd postmaster; do
		for to in common backend replayd postmaster; do
			[ "$from" = "$to" ] && continue
			for h in $(find "$to" -name '*.h' -printf '%P\n'); do
				# A name of both is its own.
				[ -e "$from/$h" ] && continue
				[ -e "include/$h" ] && continue
				sources "$from" | xargs -r grep -nE \
					"#include \"($to/|\.\./$to/)?$h\""
			done
		done
	done | offend "a folder includes another's header"
	sources common backend replayd postmaster include | xargs -r grep -nE \
		'#include "(\.\./|common/|backend/|replayd/|postmaster/)' |
		offend "an include with a folder"
}

# only LAW PATTERN ALLOWED-REGEX: PATTERN occurs only in files that match.
only() {
	sources common backend replayd postmaster include |
		grep -vE "$3" | xargs -r grep -nE "$2" | offend "$1"
}

law_libraries() {
	only "pg_query belongs to backend/analyze*" \
		'#include <pg_query' '^backend/analyze[a-z_]*\.[ch]$'
	only "libinih belongs to common/config.c" \
		'#include <ini\.h>' '^common/config\.c$'
	only "EVP belongs to common/merkle.c" \
		'#include <openssl/' \
		'^common/merkle\.c$|^backend/(auth|scram|userlist|tls|tls_files)\.c$|^backend/tls_int\.h$'
	only "SSL belongs to backend/tls*.c" \
		'#include ("tls_int\.h"|<openssl/ssl\.h>)' \
		'^backend/tls(_files)?\.c$|^backend/tls_int\.h$'
	only "Landlock belongs to common/sandbox.c" \
		'#include <linux/landlock\.h>' '^common/sandbox\.c$'
	only "semaphores belong to common/shmq*" \
		'#include (<semaphore\.h>|"shmq_int\.h")' \
		'^common/shmq(_producer|_consumer)?\.c$|^common/shmq_int\.h$'
	only "mmap belongs to common/shmq.c and shcache.c" '[^a-z_]mmap\(' \
		'^common/(shmq|shcache)\.c$|^postmaster/child\.c$|^replayd/record[a-z]*\.c$|^replayd/pin/'
	n=$(sources common backend replayd postmaster include |
		xargs -r grep -l '#include <sodium' | wc -l)
	[ "$n" -le 1 ] || sources common backend replayd postmaster |
		xargs -r grep -n '#include <sodium' |
		offend "libsodium belongs to one file"
	sources common backend postmaster include |
		xargs -r grep -n '#include <sodium' |
		offend "libsodium belongs to replayd"
}

law_top_level() {
	git ls-files --cached --others --exclude-standard | cut -d/ -f1 |
		sort -u | grep -vE '^(\..*|Makefile|README|LICENSE|postmaster|backend|replayd|common|include|test|etc)$' |
		offend "not a top-level entry of this tree"
}

law_text() {
	find common backend replayd postmaster include test etc -type f \
		! -path etc/layers.sh -print0 |
		xargs -0 grep -nIE '\b(TODO|FIXME|XXX)\b' |
		offend "unfinished"
	sources common backend replayd postmaster include test | xargs -r \
		grep -L 'SPDX-License-Identifier: PostgreSQL' |
		offend "no SPDX line"
}

# replayd/README and include/reason.h have the same reasons.
law_reasons() {
	sed -n '/^Reasons of a verdict/,/^Speed/p' replayd/README |
		sed -nE 's/^    ([a-z]+[a-z_]*( [a-z_]+)*)(  .*)?$/\1/p' |
		tr ' ' '\n' | sort -u >"$offenders.readme"
	sed -nE 's/^\tREASON_([A-Z_]+),?.*$/\1/p' include/reason.h |
		tr 'A-Z' 'a-z' | grep -v '^none$' | sort -u >"$offenders.code"
	sed -nE 's/^\t\[REASON_([A-Z_]+)\] = "(.*)",$/\1 \2/p' \
		common/reason.c | tr 'A-Z' 'a-z' |
		awk '$1 != $2 && $1 != "none"' |
		offend "common/reason.c names it otherwise"
	diff "$offenders.readme" "$offenders.code" | grep '^[<>]' |
		offend "a reason is not in both replayd/README (<) and include/reason.h (>)"
	sed -nE 's/^\t\[REASON_([A-Z_]+)\] = .*$/\1/p' common/reason.c |
		tr 'A-Z' 'a-z' | grep -v '^none$' | sort |
		diff - "$offenders.code" | grep '^[<>]' |
		offend "common/reason.c (<) and include/reason.h (>) differ"
	rm -f "$offenders.readme" "$offenders.code"
}

# Each class of the statement matrix is explained: why a capture is not exact by
# backend/README, why an exact one is not verified by replayd/README.
law_matrix() {
	sed -n '/^Statement matrix/,$p' test/README |
		sed -nE 's/^\t[^\t]+\t+([a-z].*)$/\1/p' >"$offenders.matrix"
	[ -s "$offenders.matrix" ] || echo test/README | offend "no matrix"
	sed -n '/^capture_reason/,/^Unverifiable from/p' backend/README |
		grep -oE '[a-z_]+' | sort -u >"$offenders.capture"
	grep -oE '[a-z_]+:[a-z_]+' "$offenders.matrix" | sed 's/.*://' | sort -u |
		comm -23 - "$offenders.capture" |
		offend "test/README has a capture_reason that backend/README has not"
	sed -nE 's/^\tREASON_([A-Z_]+),?.*$/\1/p' include/reason.h |
		tr 'A-Z' 'a-z' | sort -u >"$offenders.code"
	grep -oE 'exact [a-z_]+' "$offenders.matrix" | sed 's/exact //' |
		grep -vE '^(verified|aborted)$' | sort -u |
		comm -23 - "$offenders.code" |
		offend "test/README has a reason that include/reason.h has not"
	rm -f "$offenders.matrix" "$offenders.capture" "$offenders.code"
}

law_includes
law_libraries
law_matrix
law_reasons
law_top_level
law_text
if [ -s "$offenders" ]; then
	bad=1
	echo "$(wc -l <"$offenders") offenders" >&2
fi
exit $bad
