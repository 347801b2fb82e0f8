#!/bin/sh
# install.sh: "make install" and "make uninstall".
#
# uninstall keeps /var/lib/pgwitness and the user: the evidence stays.
# SPDX-License-Identifier: PostgreSQL
set -eu

SBINDIR=${SBINDIR:-/usr/local/sbin}
BINDIR=${BINDIR:-/usr/local/bin}
LIBDIR=${LIBDIR:-/usr/local/lib/pgwitness}
DOCDIR=${DOCDIR:-/usr/local/share/doc/pgwitness}
SYSCONFDIR=${SYSCONFDIR:-/etc}
DESTDIR=${DESTDIR:-}
INIT=$DESTDIR$SYSCONFDIR/init.d/pgwitness
UNIT=$DESTDIR/lib/systemd/system/pgwitness.service
SAMPLE=$DESTDIR$SYSCONFDIR/pgwitness/pgwitness.conf.sample

fill() {
	sed "s|@SBINDIR@|$SBINDIR|g; s|@DOCDIR@|$DOCDIR|g" "$1"
}

# The programs find each other, and pin/, beside themselves: they lie together
# in LIBDIR and are linked to from where people look.
do_install() {
	top=$(dirname "$0")
	install -d "$DESTDIR$SBINDIR" "$DESTDIR$BINDIR" "$DESTDIR$LIBDIR/pin" \
		"${INIT%/*}" "${UNIT%/*}" "${SAMPLE%/*}"
	for p in pgwitness replayd witnessctl; do
		install -m 755 "$BUILD/$p" "$DESTDIR$LIBDIR/$p"
	done
	install -m 755 "$BUILD/pin/pgwitness_pin.so" "$DESTDIR$LIBDIR/pin/"
	ln -sf "$LIBDIR/pgwitness" "$DESTDIR$SBINDIR/pgwitness"
	ln -sf "$LIBDIR/replayd" "$DESTDIR$SBINDIR/replayd"
	ln -sf "$LIBDIR/witnessctl" "$DESTDIR$BINDIR/witnessctl"
	install -m 644 "$top/pgwitness.conf.sample" "$SAMPLE"
	# The first one names the others by their folders.
	for f in README backend/README replayd/README LICENSE; do
		install -D -m 644 "$top/../$f" "$DESTDIR$DOCDIR/$f"
	done
	fill "$top/pgwitness.init" >"$INIT"
	chmod 755 "$INIT"
	fill "$top/pgwitness.service" >"$UNIT"
	chmod 644 "$UNIT"
	if [ -z "$DESTDIR" ] && [ "$(id -u)" -eq 0 ]; then
		make_user
		echo "pgwitness: installed; next, as user pgwitness:" \
			"pgwitness --init -D /var/lib/pgwitness ($DOCDIR/README)"
	fi
}

make_user() {
	getent passwd pgwitness >/dev/null ||
		useradd --system --user-group --home-dir /var/lib/pgwitness \
			--no-create-home --shell /usr/sbin/nologin pgwitness
	install -d -m 700 -o pgwitness -g pgwitness /var/lib/pgwitness
}

do_uninstall() {
	rm -f "$DESTDIR$SBINDIR/pgwitness" "$DESTDIR$SBINDIR/replayd" \
		"$DESTDIR$BINDIR/witnessctl" "$INIT" "$UNIT" "$SAMPLE"
	rm -rf "$DESTDIR$LIBDIR/pin"
	rm -f "$DESTDIR$LIBDIR/pgwitness" "$DESTDIR$LIBDIR/replayd" \
		"$DESTDIR$LIBDIR/witnessctl"
	for f in README backend/README replayd/README LICENSE; do
		rm -f "$DESTDIR$DOCDIR/$f"
	done
	rmdir "$DESTDIR$DOCDIR/backend" "$DESTDIR$DOCDIR/replayd" \
		"$DESTDIR$DOCDIR" "$DESTDIR$LIBDIR" "${SAMPLE%/*}" 2>/dev/null || :
	echo "pgwitness: kept /var/lib/pgwitness and the user pgwitness"
}

case ${1:-} in
install) do_install ;;
uninstall) do_uninstall ;;
*)
	echo "usage: install.sh install|uninstall" >&2
	exit 2
	;;
esac
