#!/bin/bash
# run.sh: "make run": pgwitness and a PostgreSQL server of its own, in the
# foreground until Ctrl-C.
#
#	BUILD=build DIR= PORT= etc/run.sh
#
# DIR is pgwitness's data directory; the server's cluster is DIR/backend.  As
# root all runs as user postgres, from copies of the programs it can reach.
# SPDX-License-Identifier: PostgreSQL
set -eu
umask 077

PGBIN=${PGBIN:-/usr/lib/postgresql/15/bin}
PORT=${PORT:-6432}
[ -n "$PORT" ] || PORT=6432
BUILD=$(realpath "${BUILD:-build}")

say() { echo "pgwitness: $*"; }
die() {
	say "$*" >&2
	exit 2
}

# --- as root: become postgres ---

run_as_postgres() {
	local dir=${DIR:-/var/lib/pgwitness-run}
	dir=$(realpath -m "$dir")
	local bin=$dir-bin
	# Not under our umask: postgres goes through what is above.
	(umask 022 && mkdir -p "$(dirname "$dir")")
	mkdir -p "$dir" "$bin"
	chmod 755 "$bin"
	cp -rf "$BUILD/pgwitness" "$BUILD/replayd" "$BUILD/witnessctl" \
		"$BUILD/pin" "$bin/"
	cp "$0" "$bin/run.sh"
	chmod -R a+rX "$bin"
	chown -R postgres: "$dir"
	chmod 700 "$dir"
	setpriv --reuid=postgres --regid=postgres --init-groups \
		test -x "$bin/pgwitness" ||
		die "user postgres cannot reach $bin; choose another DIR"
	cd /
	exec env BUILD="$bin" DIR="$dir" PORT="$PORT" PGBIN="$PGBIN" HOME="$dir" \
		setpriv --reuid=postgres --regid=postgres --init-groups \
		bash "$bin/run.sh"
}
[ "$(id -u)" -ne 0 ] || run_as_postgres

# --- the data directory ---

DIR=$(realpath -m "${DIR:-var}")
CONF=$DIR/pgwitness.conf
SERVER=$DIR/backend
SOCKETS=$SERVER
made_sockets=
# A unix socket's path has at most 107 bytes.
if [ ${#SOCKETS} -gt 88 ]; then
	SOCKETS=$(mktemp -d /tmp/pgwitness-XXXXXX)
	made_sockets=$SOCKETS
fi

# conf_set KEY VALUE: in [backend].
conf_set() {
	awk -v key="$1" -v value="$2" '
		/^\[/ { here = ($0 == "[backend]") }
		here && !done && $0 ~ "^#?" key " *=" {
			print key " = " value; done = 1; next
		}
		{ print }' "$CONF" >"$CONF.new"
	mv "$CONF.new" "$CONF"
}

make_data_directory() {
	[ -f "$CONF" ] && return
	mkdir -p "$(dirname "$DIR")"
	"$BUILD/pgwitness" --init -D "$DIR" >/dev/null
}

make_server() {
	[ -f "$SERVER/PG_VERSION" ] && return
	say "making the server's cluster in $SERVER"
	rm -rf "$SERVER.new"
	"$PGBIN/initdb" -D "$SERVER.new" -U postgres --auth=trust -E UTF8 \
		--locale=C.UTF-8 >"$DIR/log/initdb.log" 2>&1 ||
		die "initdb failed; see $DIR/log/initdb.log"
	mv "$SERVER.new" "$SERVER"
}

start_server() {
	"$PGBIN/pg_ctl" -D "$SERVER" status >/dev/null 2>&1 && stop_server
	"$PGBIN/pg_ctl" -D "$SERVER" -w -s -l "$DIR/log/backend.log" \
		-o "-c listen_addresses= -c unix_socket_directories=$SOCKETS -p 5432" \
		start || die "the server did not start; see $DIR/log/backend.log"
}

stop_server() {
	"$PGBIN/pg_ctl" -D "$SERVER" -w -s -m fast stop >/dev/null 2>&1 || :
}

make_witness_role() {
	"$PGBIN/psql" -X -q -v ON_ERROR_STOP=1 -h "$SOCKETS" -p 5432 \
		-U postgres postgres <<'SQL'
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgwitness') THEN
		CREATE ROLE pgwitness LOGIN;
		GRANT pg_read_all_data, pg_monitor TO pgwitness;
	END IF;
END $$;
SQL
}

# --- running ---

witness=
finish() {
	trap '' INT TERM
	if [ -n "$witness" ]; then
		kill -INT "$witness" 2>/dev/null || :
		wait "$witness" 2>/dev/null || :
	fi
	stop_server
	[ -z "$made_sockets" ] || rm -rf "$made_sockets"
}

wait_for_port() {
	until "$PGBIN/pg_isready" -q -t 5 -h 127.0.0.1 -p "$PORT"; do
		kill -0 "$witness" 2>/dev/null || return 1
		sleep 0.1
	done
}

greet() {
	cat <<TEXT

pgwitness runs.  Connect with
    psql -h 127.0.0.1 -p $PORT -U postgres postgres
evidence log  $DIR/log/evidence-*.jsonl
operator log  $DIR/log/pgwitness.log
server log    $DIR/log/backend.log
status        $BUILD/witnessctl -D $DIR status
Ctrl-C stops everything.
TEXT
}

(exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null &&
	die "port $PORT on 127.0.0.1 is in use; choose another: make run PORT=..."

make_data_directory
make_server
trap 'exit 0' INT TERM
trap 'status=$?; finish; exit $status' EXIT
start_server
make_witness_role
conf_set host "$SOCKETS"
conf_set port 5432
conf_set user pgwitness

"$BUILD/pgwitness" -D "$DIR" -p "$PORT" &
witness=$!
wait_for_port && greet
status=0
wait "$witness" || status=$?
witness=
exit "$status"
