#!/bin/sh
# pgsource.sh DIR: PostgreSQL 15's own test suites, from its Debian source
# package, into DIR/postgresql-VERSION; DIR/source is a link to it.
#
# The machine's package sources are used, as deb-src and under DIR/apt: nothing
# outside of DIR is written, and no root is needed.  The version is the
# server's if the archive has its source, else the newest that it has; then
# DIR/client has psql of that version, for another reads the files otherwise.
# Does nothing, quickly, when they are there.
# SPDX-License-Identifier: PostgreSQL
set -eu

package=postgresql-15
[ $# -eq 1 ] || { echo "usage: pgsource.sh DIR" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
[ -d source/src/test/regress ] && exit 0
dir=$(pwd)

fail() {
	echo "pgwitness: $*" >&2
	echo "  Unpack the source of PostgreSQL 15 in $dir/postgresql-15.N" \
		"and make $dir/source a link to it." >&2
	exit 3
}

private_apt() {
	mkdir -p apt/sources apt/lists/partial apt/cache/archives/partial
	cat >apt/conf <<-END
	Dir::Etc::SourceList "/dev/null";
	Dir::Etc::SourceParts "$dir/apt/sources";
	Dir::State::Lists "$dir/apt/lists";
	Dir::Cache "$dir/apt/cache";
	APT::Sandbox::User "";
	END
	export APT_CONFIG="$dir/apt/conf"
}

# Where apt knows the package from, as regular expressions.
origins() {
	apt-cache madison $package | awk -F'|' '{ split($3, w, " "); print w[1] }' |
		sort -u | sed 's/[].[*+?^$(){}|\\]/\\&/g'
}

# Those sources as deb-src.  $1: an expression for their addresses.
as_deb_src() {
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -e "$f" ] && sed -nE "\\!^deb[[:space:]].*($1)!s/^deb/deb-src/p" "$f"
	done >apt/sources/machine.list
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -e "$f" ] && awk -v RS= -v ORS='\n\n' -v want="$1" '
			$0 ~ want {
				gsub(/(^|\n)Types:[^\n]*/, "&\001")
				sub(/Types:[^\001]*\001/, "Types: deb-src")
				print
			}' "$f"
	done >apt/sources/machine.sources
	return 0
}

want=$(origins | paste -sd '|')
[ -n "$want" ] || fail "apt does not know $package; apt-get update?"
installed=$(dpkg-query -W -f '${Version}' $package 2>/dev/null || :)
private_apt
as_deb_src "$want"
apt-get -qq update || fail "cannot read the list of source packages"

versions=$(apt-cache showsrc $package | sed -n 's/^Version: //p' | sort -Vru)
got=
for v in $(printf '%s\n' "$installed" $versions | awk 'NF && !seen[$0]++'); do
	rm -rf apt/download
	mkdir apt/download
	echo "pgwitness: fetching the source of $package $v"
	if (cd apt/download &&
		apt-get -qq source --download-only "$package=$v" >../log 2>&1); then
		got=$(ls apt/download/*.orig.tar.*[!c])
		break
	fi
	sed -n '/404/{s/^E: /  /p;q}' apt/log
done
[ -n "$got" ] || fail "cannot fetch the source of $package"

top=postgresql-${v%%-*}
rm -rf "$top"
mkdir "$top"
tar -xf "$got" -C "$top" --strip-components=1 --no-same-owner --wildcards \
	'*/COPYRIGHT' '*/src/test/regress' '*/src/test/isolation' \
	'*/src/test/modules/libpq_pipeline'
rm -rf client
if [ "$v" != "$installed" ] && (cd apt/download &&
	env -u APT_CONFIG apt-get -qq download postgresql-client-15="$v" \
		>../log 2>&1); then
	dpkg-deb -x apt/download/postgresql-client-15_*.deb apt/client
	mv apt/client/usr/lib/postgresql/15 client
fi
rm -rf apt
ln -sfn "$top" source
