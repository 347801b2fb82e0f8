# pg8000: a driver in Python alone; each statement is a named one, with Flush
# after every message, and each result a named portal.
#
# SPDX-License-Identifier: PostgreSQL
import datetime
import io
import os
from decimal import Decimal

import pg8000

import tap
from tap import Skip, equal, show

UTC = datetime.timezone.utc


def connect(name, autocommit=True):
    # It cannot send application_name with the startup message.
    c = pg8000.connect(os.environ['PGUSER'], host=os.environ['PGHOST'],
                       port=int(os.environ['PGPORT']),
                       database=os.environ['PGDATABASE'],
                       ssl=os.environ['PGSSLMODE'] == 'require')
    c.autocommit = True
    rows(c, f"set application_name to 'pg8000 {name}'")
    c.autocommit = autocommit
    return c


def rows(c, sql, *args):
    """Rows of a query, else the number of rows changed."""
    cur = c.cursor()
    cur.execute(sql, args)
    return [tuple(r) for r in cur.fetchall()] if cur.description \
        else cur.rowcount


def raises(want, action):
    return tap.raises(action, lambda e: e.args[2], want)


def check_connect():
    c = connect('connect')
    equal(rows(c, 'show application_name'), [('pg8000 connect',)])
    equal(rows(c, 'show client_encoding'), [('UTF8',)])
    rows(c, "set client_encoding to 'LATIN1'")
    equal(rows(c, 'select %s', 'grün'), [('grün',)])


def check_crud():
    c = connect('crud')
    equal(rows(c, 'insert into item (id, name, qty) values (%s, %s, %s)',
               100, "O'Neil \\ é €", 1), 1)
    equal(rows(c, 'insert into item (id, name) values (101, %s), (102, %s)',
               'b', 'c'), 2)
    equal(rows(c, 'update item set qty = qty + %s where id = %s', 5, 100), 1)
    equal(rows(c, 'update item set qty = 0 where id = 199'), 0)
    equal(rows(c, 'delete from item where id = %s', 102), 1)
    equal(rows(c, 'select id, name, qty from item where id between %s and %s '
               'order by id', 100, 199),
          [(100, "O'Neil \\ é €", 6), (101, 'b', None)])


def check_returning():
    c = connect('returning')
    equal(rows(c, 'insert into item (id, qty) values (200, %s) returning id, '
               'qty * 2', 7), [(200, 14)])
    equal(rows(c, 'update item set qty = %s where id = 200 returning qty', 8),
          [(8,)])
    equal(rows(c, 'delete from item where id = %s returning *', 200)[0][:3],
          (200, None, 8))


def value(column, v, cast=''):
    """Stores v in a row of its own and reads it again."""
    c = connect(column)
    rows(c, f'insert into item (id, {column}) values (300, %s{cast})', v)
    got = rows(c, f'select {column} from item where id = %s', 300)[0][0]
    equal(rows(c, f'update item set {column} = %s where id = 300', None), 1)
    assert rows(c, f'select {column} from item where id = 300') == [(None,)]
    rows(c, 'delete from item where id = %s', 300)
    return got


def check_null():
    c = connect('null')
    rows(c, 'insert into item (id, name, qty, tags) values (310, %s, %s, %s)',
         None, None, None)
    rows(c, 'insert into item (id, name) values (311, %s)', '')
    equal(rows(c, 'select name, qty, tags from item where id in (310, 311) '
               'order by id'), [(None, None, None), ('', None, None)])


def check_numeric():
    for v in ('12345678901234567890.123456789', '-0.00001', '1e30', 'NaN'):
        got = value('price', Decimal(v))
        show(got)
        assert str(got) == str(Decimal(v)) or got == Decimal(v)


def check_timestamptz():
    t = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)
    equal(value('made', t).astimezone(UTC), t)


def check_bytea():
    b = bytes(range(256))
    equal(value('data', pg8000.Binary(b)), b)


def check_jsonb():
    equal(value('doc', '{"a": [1, null, "ü\\"\\\\"], "b": {"c": 1.5}}',
                '::jsonb'), {'a': [1, None, 'ü"\\'], 'b': {'c': 1.5}})


def check_array():
    tags = ['a', None, 'x,y', 'z']
    equal(value('tags', tags), tags)
    equal(value('nums', [1, None, -3]), [1, None, -3])


def check_binary():
    c = connect('binary')
    t = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, UTC)
    rows(c, 'insert into item (id, qty, made, data, nums, ok, big, ratio) '
         'values (%s, %s, %s, %s, %s, %s, %s, %s)', 320, -5, t,
         pg8000.Binary(b'\0\1\xff'), [1, 2], True, 1 << 60, 0.1)
    (qty, made, *rest), = rows(c, 'select qty, made, data, nums, ok, big, '
                               'ratio from item where id = %s', 320)
    equal((qty, made.astimezone(UTC), *rest),
          (-5, t, b'\0\1\xff', [1, 2], True, 1 << 60, 0.1))


def check_prepared():
    c = connect('prepared')
    for i in range(400, 407):
        equal(rows(c, 'insert into item (id, name) values (%s, %s)', i,
                   f'p{i}'), 1)
        equal(rows(c, 'select name from item where id = %s', i), [(f'p{i}',)])
    show(rows(c, 'select count(*) from pg_prepared_statements'))
    rows(c, 'prepare up (int) as update item set qty = qty + 1 where id = $1')
    show(rows(c, 'execute up (400)'), rows(c, 'execute up (400)'))
    rows(c, 'deallocate up')


def check_batch():
    c = connect('batch')
    cur = c.cursor()
    cur.executemany('insert into item (id, qty) values (%s, %s)',
                    [(i, i) for i in range(500, 600)])
    equal(cur.rowcount, 100)
    equal(rows(c, 'select count(*), sum(qty) from item where id between 500 '
               'and 599'), [(100, sum(range(500, 600)))])


def check_transaction():
    c = connect('transaction', autocommit=False)
    rows(c, 'insert into account values (1, %s), (2, %s)', 100, 50)
    c.commit()
    rows(c, 'update account set balance = balance - %s where id = 1', 30)
    rows(c, 'update account set balance = balance + %s where id = 2', 30)
    c.commit()
    rows(c, 'update account set balance = %s', 0)
    rows(c, 'delete from account where id = %s', 2)
    c.rollback()
    raises('23514', lambda: rows(c, 'update account set balance = %s', -1))
    raises('25P02', lambda: rows(c, 'select 1'))
    c.rollback()
    equal(rows(c, 'select * from account order by id'),
          [(1, Decimal('70.00')), (2, Decimal('80.00'))])
    c.rollback()
    rows(c, 'set transaction isolation level serializable, read only')
    raises('25006', lambda: rows(c, 'delete from account'))
    c.rollback()


def check_savepoint():
    c = connect('savepoint', autocommit=False)
    rows(c, 'insert into item (id, qty) values (620, %s)', 1)
    rows(c, 'savepoint a')
    rows(c, 'update item set qty = %s where id = 620', 2)
    rows(c, 'savepoint b')
    rows(c, 'insert into item (id) values (621)')
    raises('23505', lambda: rows(c, 'insert into item (id) values (621)'))
    rows(c, 'rollback to b')
    rows(c, 'insert into item (id) values (%s)', 622)
    rows(c, 'release a')
    rows(c, 'savepoint a')
    rows(c, 'delete from item where id = %s', 620)
    rows(c, 'rollback to a')
    c.commit()
    equal(rows(c, 'select id, qty from item where id between 620 and 699 '
               'order by id'), [(620, 2), (622, None)])


def check_cursor():
    c = connect('cursor', autocommit=False)
    cur = c.cursor()
    # A hundred rows at a time, by a portal that is suspended.
    cur.execute('select i from generate_series(1, %s) i', (1000,))
    first = cur.fetchone()
    rows(c, 'insert into line values (9000, %s)', 'between')
    equal(first[0] + sum(i for i, in cur), 500500)
    c.commit()
    rows(c, 'declare cur cursor with hold for select i from '
         'generate_series(1, 100) i')
    rows(c, 'move 50 in cur')
    c.commit()
    equal(rows(c, 'fetch 3 from cur'), [(51,), (52,), (53,)])
    rows(c, 'close cur')
    c.commit()


def check_copy_in():
    c = connect('copy_in')
    text = ''.join(f'{i}\tv{i}\t\\N\n' for i in range(1, 5001)).encode()
    c.cursor().execute('copy line from stdin', stream=io.BytesIO(text))
    equal(rows(c, 'select count(*), max(v) from line where id < 6000'),
          [(5000, 'v999')])


def check_copy_out():
    c = connect('copy_out')
    out = io.BytesIO()
    c.cursor().execute("copy (select i, null, repeat('x', 3) from "
                       "generate_series(1, 100000) i) to stdout csv",
                       stream=out)
    equal(len(out.getvalue()), 1088895)


def check_copy_fail():
    c = connect('copy_fail')

    def copy(text):
        c.cursor().execute('copy line from stdin', stream=io.BytesIO(text))
    raises('22P02', lambda: copy(b'7001\ta\t1\nseven\tb\t2\n'))
    raises('23505', lambda: copy(b'7001\ta\t1\n' * 3000))
    equal(rows(c, 'select count(*) from line where id between 7000 and 7999'),
          [(0,)])


def check_notify():
    c, d = connect('notify'), connect('notify other')
    rows(c, 'listen tidings')
    rows(d, "notify tidings, 'while idle'")
    # It reads what came only together with the next answer.
    tap.wait_until('a notification', lambda: rows(c, 'select 1')
                   and c.notifies)
    equal([n[1] for n in c.notifies], ['tidings'])
    del c.notifies[:]
    rows(c, "notify tidings, 'to self'")
    tap.wait_until('a notification', lambda: rows(c, 'select 1')
                   and c.notifies)
    equal([n[1] for n in c.notifies], ['tidings'])


def check_notice():
    c = connect('notice')
    got = []

    def listener(m):
        got.append((m[b'S'], m[b'M']))
    c.NoticeReceived += listener
    rows(c, 'select give_notice(%s), give_notice(%s)', 'one', 'two')
    equal(got, [(b'NOTICE', b'notice: one'), (b'NOTICE', b'notice: two')])


def check_cancel():
    raise Skip('it has no cancel')


def check_error():
    c = connect('error')
    e = raises('42601', lambda: rows(c, 'select id form item wehre'))
    equal(e.args[3:5], ('syntax error at or near "item"', '16'))
    raises('42703', lambda: rows(c, 'update item set nane = %s', 1))
    raises('42883', lambda: rows(c, "insert into item (id, qty) values "
                                 "(810, nosuch(%s))", 5))
    rows(c, 'insert into item (id) values (%s)', 810)
    e = raises('23505', lambda: rows(c, 'insert into item values (%s)', 810))
    show(e.args)
    raises('22012', lambda: rows(c, 'update item set qty = 1 / (id - 810) '
                                 'where id = %s', 810))
    raises('42P01', lambda: rows(c, 'delete from absent where id = %s', 1))
    equal(rows(c, 'select count(*) from item where id = 810'), [(1,)])


def check_large():
    c = connect('large')
    t, b = 'é' * (6 << 20), bytes(range(256)) * (40 << 10)
    equal(rows(c, 'insert into blob values (1, %s, %s)', t,
               pg8000.Binary(b)), 1)
    (got_t, got_b), = rows(c, 'select t, b from blob where id = 1')
    assert got_t == t and got_b == b
    equal(rows(c, "update blob set t = t || %s where id = 1", 'x'), 1)
    equal(rows(c, 'select length(t), length(b) from blob where id = 1'),
          [((6 << 20) + 1, 10 << 20)])


def check_pipeline():
    raise Skip('it waits for each answer')


tap.main('pg8000 ' + pg8000.__version__, globals())
