#!/bin/sh
# deps.sh: installs the Debian packages that building and testing need.
#
#	deps.sh		what make run and make check need
#	deps.sh fuzz	and what make fuzz needs
#	deps.sh ci	and what continuous integration needs
#	deps.sh drivers	and what make drivers needs
#	deps.sh conformance	and what make suites needs (and etc/pgsource.sh)
#	deps.sh bench	and what make bench needs
#
# Does nothing, quickly, when all are there.  Without root or sudo it lists
# what is missing and exits 2.
# SPDX-License-Identifier: PostgreSQL
set -eu

PACKAGES="gcc libc6-dev make pkg-config libpq-dev libsodium-dev
	libpg-query-dev libprotobuf-c-dev libjansson-dev libcmocka-dev
	libssl-dev libinih-dev postgresql-15 postgresql-client-15
	postgresql-server-dev-15 perl libdbd-pg-perl
	libio-socket-ssl-perl openssl jq"
for step; do
	case $step in
	fuzz) PACKAGES="$PACKAGES clang libclang-rt-14-dev" ;;
	ci) PACKAGES="$PACKAGES clang libclang-rt-14-dev clang-format" ;;
	bench) PACKAGES="$PACKAGES pgbouncer" ;;
	conformance) PACKAGES="$PACKAGES bzip2 xz-utils" ;;
	drivers)
		PACKAGES="$PACKAGES g++ default-jdk-headless
			libpostgresql-jdbc-java libpqxx-dev php-cli php-pgsql python3
			python3-asyncpg python3-pg8000 python3-psycopg
			python3-psycopg2 ruby ruby-pg"
		# Another packaging of nodejs may bring npm and refuse Debian's.
		command -v npm >/dev/null || PACKAGES="$PACKAGES nodejs npm"
		;;
	*)
		echo "deps.sh: no step is called '$step'" >&2
		exit 2
		;;
	esac
done

missing=
installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${binary:Package} ' \
	2>/dev/null | sed 's/:[a-z0-9]* / /g') "
for p in $PACKAGES; do
	case $installed in
	*"ii $p "*) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root=sudo
else
	echo "pgwitness: missing Debian packages; install them as root with" >&2
	echo "  apt-get install --no-install-recommends$missing" >&2
	exit 2
fi

# A first postgresql-15 would make and start a cluster of its own.  A file of
# ours beside the package's conffile asks no questions at installation.
no_cluster() {
	$as_root mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' |
		$as_root tee /etc/postgresql-common/createcluster.d/pgwitness.conf \
			>/dev/null
}
case $missing in
*" postgresql-15"*) no_cluster ;;
esac

# A first pgbouncer would start as a service, on our port.
policy=/usr/sbin/policy-rc.d
case $missing in
*" pgbouncer"*)
	if [ ! -e $policy ]; then
		trap '$as_root rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
		$as_root chmod 755 $policy
	fi
	;;
esac

install() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		--no-install-recommends $missing
}

echo "pgwitness: installing$missing"
# Package lists may be absent or too old to fetch from.
install || { $as_root apt-get update -q && install; } || {
	echo "pgwitness: cannot install$missing" >&2
	exit 2
}
