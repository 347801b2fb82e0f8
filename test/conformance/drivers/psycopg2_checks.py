# psycopg2: libpq, the simple query protocol, values as literals.
#
# SPDX-License-Identifier: PostgreSQL
import datetime
import io
import select
from decimal import Decimal

import psycopg2
import psycopg2.extras

import tap
from tap import Skip, equal, show

UTC = datetime.timezone.utc


def connect(name, autocommit=True):
    c = psycopg2.connect(application_name='psycopg2 ' + name)
    c.autocommit = autocommit
    return c


def rows(c, sql, *args):
    """Rows of a query, else the number of rows changed."""
    with c.cursor() as cur:
        cur.execute(sql, args or None)
        return cur.fetchall() if cur.description else cur.rowcount


def raises(want, action):
    return tap.raises(action, lambda e: e.pgcode, want)


def check_connect():
    c = connect('connect')
    equal(rows(c, 'show application_name'), [('psycopg2 connect',)])
    equal(c.encoding, 'UTF8')
    equal(c.info.parameter_status('TimeZone'), 'UTC')
    assert rows(c, 'select pg_backend_pid()') == [(c.info.backend_pid,)]
    c.set_client_encoding('LATIN1')
    equal(rows(c, 'select %s', 'grün'), [('grün',)])
    equal(c.info.parameter_status('client_encoding'), 'LATIN1')


def check_crud():
    c = connect('crud')
    equal(rows(c, 'insert into item (id, name, qty) values (%s, %s, %s)',
               100, "O'Neil \\ é €", 1), 1)
    equal(rows(c, 'insert into item (id, name) values (101, %s), (102, %s)',
               'b', 'c'), 2)
    equal(rows(c, 'update item set qty = qty + 5 where id = 100'), 1)
    equal(rows(c, 'update item set qty = 0 where id = 199'), 0)
    equal(rows(c, 'delete from item where id = 102'), 1)
    equal(rows(c, 'select id, name, qty from item where id between 100 and '
               '199 order by id'),
          [(100, "O'Neil \\ é €", 6), (101, 'b', None)])


def check_returning():
    c = connect('returning')
    equal(rows(c, 'insert into item (id, qty) values (200, 7) returning id, '
               'qty * 2'), [(200, 14)])
    equal(rows(c, 'update item set qty = 8 where id = 200 returning qty'),
          [(8,)])
    equal(rows(c, 'delete from item where id = 200 returning *')[0][:3],
          (200, None, 8))


def value(column, v):
    """Stores v in a row of its own and reads it again."""
    c = connect(column)
    rows(c, f'insert into item (id, {column}) values (300, %s)', v)
    got = rows(c, f'select {column} from item where id = 300')[0][0]
    rows(c, f'update item set {column} = null where id = 300')
    assert rows(c, f'select {column} from item where id = 300') == [(None,)]
    rows(c, 'delete from item where id = 300')
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
    equal(value('made', t), t)


def check_bytea():
    b = bytes(range(256))
    equal(bytes(value('data', psycopg2.Binary(b))), b)


def check_jsonb():
    d = {'a': [1, None, 'ü"\\'], 'b': {'c': 1.5}}
    equal(value('doc', psycopg2.extras.Json(d)), d)


def check_array():
    equal(value('tags', ['a', None, 'x,y', '"q"', '']),
          ['a', None, 'x,y', '"q"', ''])
    equal(value('nums', [1, None, -3]), [1, None, -3])


def check_binary():
    raise Skip('values are literals')


def check_prepared():
    c = connect('prepared')
    rows(c, 'prepare put (int, text) as insert into item (id, name) '
         'values ($1, $2)')
    rows(c, 'prepare seek (int) as select name from item where id = $1')
    for i in range(400, 407):
        equal(rows(c, 'execute put (%s, %s)', i, f'p{i}'), 1)
        equal(rows(c, 'execute seek (%s)', i), [(f'p{i}',)])
    equal(rows(c, 'select name from pg_prepared_statements order by 1'),
          [('put',), ('seek',)])
    rows(c, 'deallocate put')
    raises('26000', lambda: rows(c, "execute put (409, 'x')"))


def check_batch():
    c = connect('batch')
    with c.cursor() as cur:
        cur.executemany('insert into item (id, qty) values (%s, %s)',
                        [(i, i) for i in range(500, 510)])
        equal(cur.rowcount, 10)
        psycopg2.extras.execute_values(
            cur, 'insert into item (id, qty) values %s',
            [(i, i) for i in range(510, 610)])
        psycopg2.extras.execute_batch(
            cur, 'update item set qty = qty + %s where id = %s',
            [(1, i) for i in range(500, 520)])
    equal(rows(c, 'select count(*), sum(qty) from item where id between 500 '
               'and 699'), [(110, sum(range(500, 610)) + 20)])


def check_transaction():
    c = connect('transaction', autocommit=False)
    rows(c, 'insert into account values (1, 100), (2, 50)')
    c.commit()
    rows(c, 'update account set balance = balance - 30 where id = 1')
    rows(c, 'update account set balance = balance + 30 where id = 2')
    c.commit()
    rows(c, 'update account set balance = 0')
    rows(c, 'delete from account where id = 2')
    c.rollback()
    raises('23514', lambda: rows(c, 'update account set balance = -1'))
    raises('25P02', lambda: rows(c, 'select 1'))
    c.rollback()
    equal(rows(c, 'select * from account order by id'),
          [(1, Decimal('70.00')), (2, Decimal('80.00'))])
    c.rollback()
    c.set_session(isolation_level='SERIALIZABLE', readonly=True)
    raises('25006', lambda: rows(c, 'delete from account'))
    c.rollback()


def check_savepoint():
    c = connect('savepoint', autocommit=False)
    rows(c, 'insert into item (id, qty) values (620, 1)')
    rows(c, 'savepoint a')
    rows(c, 'update item set qty = 2 where id = 620')
    rows(c, 'savepoint b')
    rows(c, 'insert into item (id) values (621)')
    raises('23505', lambda: rows(c, 'insert into item (id) values (621)'))
    rows(c, 'rollback to b')
    rows(c, 'insert into item (id) values (622)')
    rows(c, 'release a')
    rows(c, 'savepoint a')
    rows(c, 'delete from item where id = 620')
    rows(c, 'rollback to a')
    c.commit()
    equal(rows(c, 'select id, qty from item where id between 620 and 699 '
               'order by id'), [(620, 2), (622, None)])


def check_cursor():
    c = connect('cursor', autocommit=False)
    with c.cursor('big') as cur:
        cur.itersize = 100
        cur.execute('select i from generate_series(1, 1000) i')
        equal(sum(i for i, in cur), 500500)
    with c.cursor('back', scrollable=True, withhold=True) as cur:
        cur.execute('select i from generate_series(1, 100) i')
        cur.scroll(50)
        equal(cur.fetchmany(3), [(51,), (52,), (53,)])
        c.commit()
        cur.scroll(0, mode='absolute')
        equal(cur.fetchone(), (1,))


def check_copy_in():
    c = connect('copy_in')
    text = ''.join(f'{i}\tv{i}\t\\N\n' for i in range(1, 5001))
    with c.cursor() as cur:
        cur.copy_expert('copy line from stdin', io.StringIO(text))
        equal(cur.rowcount, 5000)
        cur.copy_from(io.StringIO('6001,a\n6002,b\n'), 'line', sep=',',
                      columns=('id', 'v'))
        equal(cur.rowcount, 2)
    equal(rows(c, 'select count(*), max(v) from line'), [(5002, 'v999')])


def check_copy_out():
    c = connect('copy_out')
    out = io.StringIO()
    with c.cursor() as cur:
        cur.copy_expert('copy (select i, null, repeat(\'x\', 3) from '
                        'generate_series(1, 100000) i) to stdout csv', out)
        equal(cur.rowcount, 100000)
    equal(len(out.getvalue()), 1088895)


def check_copy_fail():
    c = connect('copy_fail')
    with c.cursor() as cur:
        e = raises('22P02', lambda: cur.copy_expert(
            'copy line from stdin', io.StringIO('7001\ta\t1\nseven\tb\t2\n')))
        equal(e.diag.context, 'COPY line, line 2, column id: "seven"')
        raises('23505', lambda: cur.copy_expert(
            'copy line from stdin', io.StringIO('7001\ta\t1\n' * 3000)))

        class Broken:
            def read(self, size):
                raise ZeroDivisionError('no more')
        raises('57014', lambda: cur.copy_expert('copy line from stdin',
                                                Broken()))
    equal(rows(c, 'select count(*) from line where id between 7000 and 7999'),
          [(0,)])


def check_notify():
    c, d = connect('notify'), connect('notify other')
    rows(c, 'listen tidings')
    rows(d, "notify tidings, 'while idle'")
    got = []

    def arrived():
        if select.select([c], [], [], 1)[0]:
            c.poll()
            got.extend((n.channel, n.payload) for n in c.notifies)
            del c.notifies[:]
        return got
    tap.wait_until('a notification', arrived)
    equal(got, [('tidings', 'while idle')])
    rows(c, "notify tidings, 'to self'")
    equal([n.payload for n in c.notifies], ['to self'])


def check_notice():
    c = connect('notice')
    rows(c, "select give_notice('one'), give_notice('two')")
    equal(c.notices, ['NOTICE:  notice: one\n', 'NOTICE:  notice: two\n'])


def check_cancel():
    c, d = connect('cancel'), connect('cancel watcher')
    rows(c, 'insert into item (id, qty) values (800, 0)')

    def cancel():
        tap.wait_until('the statement to run', lambda: rows(
            d, tap.SLEEPER % 'psycopg2 cancel') == [(1,)])
        c.cancel()
    for sql in ('select pg_sleep(60)', 'update item set qty = 1 where id = '
                '800 and pg_sleep(60) is not null'):
        t = tap.meanwhile(cancel)
        raises('57014', lambda: rows(c, sql))
        t.join()
    equal(rows(c, 'select qty from item where id = 800'), [(0,)])


def check_error():
    c = connect('error')
    e = raises('42601', lambda: rows(c, 'select id form item wehre'))
    equal(e.diag.statement_position, '16')
    equal(e.diag.message_primary, 'syntax error at or near "item"')
    e = raises('42703', lambda: rows(c, 'update item set nane = 1'))
    equal(e.diag.statement_position, '17')
    e = raises('42883', lambda: rows(c, "insert into item (id, qty) values "
                                     "(810, nosuch(5))"))
    equal(e.diag.statement_position, '41')
    rows(c, 'insert into item (id) values (810)')
    e = raises('23505', lambda: rows(c, 'insert into item values (810)'))
    equal((e.diag.constraint_name, e.diag.table_name, e.diag.message_detail),
          ('item_pkey', 'item', 'Key (id)=(810) already exists.'))
    raises('22012', lambda: rows(c, 'update item set qty = 1 / (id - 810) '
                                 'where id = 810'))
    raises('42P01', lambda: rows(c, 'delete from absent'))
    equal(rows(c, 'select count(*) from item where id = 810'), [(1,)])


def check_large():
    c = connect('large')
    t, b = 'é' * (6 << 20), bytes(range(256)) * (40 << 10)
    equal(rows(c, 'insert into blob values (1, %s, %s)', t,
               psycopg2.Binary(b)), 1)
    (got_t, got_b), = rows(c, 'select t, b from blob where id = 1')
    assert got_t == t and bytes(got_b) == b
    equal(rows(c, "update blob set t = t || 'x' where id = 1"), 1)
    equal(rows(c, 'select length(t), length(b) from blob where id = 1'),
          [((6 << 20) + 1, 10 << 20)])


def check_pipeline():
    c = connect('pipeline')
    sql = ';'.join(f'insert into line values ({i}, \'p\')'
                   for i in range(8001, 8301))
    equal(rows(c, sql), 1)
    raises('23505', lambda: rows(c, "insert into line values (8500, 'x'); "
                                 "insert into line values (8001, 'x'); "
                                 "insert into line values (8501, 'x')"))
    equal(rows(c, 'select count(*) from line where id between 8000 and 8999'),
          [(300,)])


tap.main('psycopg2 ' + psycopg2.__version__.split()[0], globals())
