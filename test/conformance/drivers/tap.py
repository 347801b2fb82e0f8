# What the Python drivers' programs share: TAP, and values worth comparing.
#
# A program is called with the names of the checks to run; check NAME is the
# function check_NAME of its module.  Each check has connections of its own,
# with application_name "DRIVER NAME".
#
# SPDX-License-Identifier: PostgreSQL
import asyncio
import sys
import threading
import time
import traceback

SLEEPER = ("select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
           " and application_name = '%s'")


class Skip(Exception):
    """The driver cannot do this."""


def show(*values):
    print('#', *[ascii(v) for v in values])


def equal(got, want):
    show(got)
    assert got == want, f'wanted {ascii(want)[:200]}'


def raises(action, code_of, want):
    """The error that action raises, which has that SQLSTATE."""
    try:
        action()
    except Exception as e:
        equal(code_of(e), want)
        return e
    raise AssertionError('no error was raised')


def wait_until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('gave up waiting for ' + what)
        time.sleep(0.02)


def meanwhile(action):
    t = threading.Thread(target=action, daemon=True)
    t.start()
    return t


def main(version, functions):
    print('#', version)
    print(f'1..{len(sys.argv) - 1}')
    failed = 0
    for n, name in enumerate(sys.argv[1:], 1):
        try:
            result = functions['check_' + name]()
            if asyncio.iscoroutine(result):
                asyncio.run(result)
            print(f'ok {n} - {name}')
        except Skip as s:
            print(f'ok {n} - {name} # SKIP {s}')
        except BaseException:
            failed += 1
            print(f'not ok {n} - {name}')
            traceback.print_exc()
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
