# psycopg 3: libpq, the extended protocol, binary values, pipeline mode.
#
# SPDX-License-Identifier: PostgreSQL
import datetime
from decimal import Decimal

import psycopg
from psycopg.types.json import Jsonb

import tap
from tap import equal, show

UTC = datetime.timezone.utc


def connect(name, autocommit=True):
    c = psycopg.connect(application_name='psycopg3 ' + name,
                        autocommit=autocommit)
    c.prepare_threshold = None
    return c


def rows(c, sql, *args, **how):
    """Rows of a query, else the number of rows changed."""
    cur = c.execute(sql, args or None, **how)
    return cur.fetchall() if cur.description else cur.rowcount


def raises(want, action):
    return tap.raises(action, lambda e: e.sqlstate, want)


def check_connect():
    c = connect('connect')
    equal(rows(c, 'show application_name'), [('psycopg3 connect',)])
    equal(c.info.encoding, 'utf-8')
    equal(c.info.parameter_status('TimeZone'), 'UTC')
    equal(c.info.transaction_status.name, 'IDLE')
    assert rows(c, 'select pg_backend_pid()') == [(c.info.backend_pid,)]
    rows(c, "set client_encoding to 'LATIN1'")
    equal(c.info.encoding, 'iso8859-1')
    equal(rows(c, 'select %s', 'grün'), [('grün',)])


def check_crud():
    c = connect('crud')
    equal(rows(c, 'insert into item (id, name, qty) values (%s, %s, %s)',
               100, "O'Neil \\ é €", 1), 1)
    equal(rows(c, 'insert into item (id, name) values (101, %s), (102, %s)',
               'b', 'c'), 2)
    equal(rows(c, 'update item set qty = qty + %s where id = %s', 5, 100), 1)
    equal(rows(c, 'update item set qty = 0 where id = %s', 199), 0)
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


def value(column, v, **how):
    """Stores v in a row of its own and reads it again."""
    c = connect(column)
    rows(c, f'insert into item (id, {column}) values (300, %s)', v)
    got = rows(c, f'select {column} from item where id = %s', 300, **how)[0][0]
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
    equal(value('made', t), t)


def check_bytea():
    b = bytes(range(256))
    equal(value('data', b), b)


def check_jsonb():
    d = {'a': [1, None, 'ü"\\'], 'b': {'c': 1.5}}
    equal(value('doc', Jsonb(d)), d)


def check_array():
    tags = ['a', None, 'x,y', '"q"', '']
    equal(value('tags', tags), tags)
    equal(value('nums', [1, None, -3]), [1, None, -3])


def check_binary():
    c = connect('binary')
    t = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, UTC)
    full = (320, 'é', -5, Decimal('1.50'), t, b'\0\1\xff', {'k': [1]},
            ['a', None], [1, 2], True, 1 << 60, 0.1)
    given = full[:6] + (Jsonb(full[6]),) + full[7:]
    put = 'insert into item values (' + ', '.join(['%b'] * 12) + ')'
    equal(rows(c, put, *given), 1)
    equal(rows(c, 'select * from item where id = %b', 320, binary=True),
          [full])
    equal(rows(c, 'update item set ratio = %b, big = %t where id = %b '
               'returning ratio', 2.5, 7, 320, binary=True), [(2.5,)])


def check_prepared():
    c = connect('prepared')
    c.prepare_threshold = 2
    for i in range(400, 407):
        equal(rows(c, 'insert into item (id, name) values (%s, %s)', i,
                   f'p{i}'), 1)
        equal(rows(c, 'select name from item where id = %s', i), [(f'p{i}',)])
    equal(rows(c, 'update item set qty = %s where id = 400', 3, prepare=True),
          1)
    equal(rows(c, 'update item set qty = %s where id = 400', 4, prepare=True),
          1)
    equal(rows(c, 'select count(*) from pg_prepared_statements',
               prepare=False), [(3,)])
    c.prepared_max = 1
    for n in (1, 2, 3):
        rows(c, f'update item set qty = %s + {n} where id = 400', 4,
             prepare=True)
    show(rows(c, 'select count(*) from pg_prepared_statements',
              prepare=False))
    equal(rows(c, 'select qty from item where id = 400', prepare=True),
          [(7,)])


def check_batch():
    c = connect('batch')
    with c.cursor() as cur:
        cur.executemany('insert into item (id, qty) values (%s, %s)',
                        [(i, i) for i in range(500, 600)])
        equal(cur.rowcount, 100)
        cur.executemany('update item set qty = qty + %s where id = %s '
                        'returning id', [(1, i) for i in range(500, 520)],
                        returning=True)
        got = [cur.fetchone()[0]]
        while cur.nextset():
            got.append(cur.fetchone()[0])
        equal(got, list(range(500, 520)))
    equal(rows(c, 'select count(*), sum(qty) from item where id between 500 '
               'and 599'), [(100, sum(range(500, 600)) + 20)])


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
    equal(c.info.transaction_status.name, 'INERROR')
    raises('25P02', lambda: rows(c, 'select 1'))
    c.rollback()
    equal(rows(c, 'select * from account order by id'),
          [(1, Decimal('70.00')), (2, Decimal('80.00'))])
    c.rollback()
    c.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    c.read_only = True
    raises('25006', lambda: rows(c, 'delete from account'))
    c.rollback()


def check_savepoint():
    c = connect('savepoint')
    with c.transaction():
        rows(c, 'insert into item (id, qty) values (%s, 1)', 620)
        with c.transaction():
            rows(c, 'update item set qty = %s where id = 620', 2)

            def twice():
                with c.transaction():
                    rows(c, 'insert into item (id) values (621)')
                    rows(c, 'insert into item (id) values (621)')
            raises('23505', twice)
            rows(c, 'insert into item (id) values (%s)', 622)
        with c.transaction():
            rows(c, 'delete from item where id = %s', 620)
            raise psycopg.Rollback()
    equal(rows(c, 'select id, qty from item where id between 620 and 699 '
               'order by id'), [(620, 2), (622, None)])


def check_cursor():
    c = connect('cursor', autocommit=False)
    with c.cursor('big') as cur:
        cur.itersize = 100
        cur.execute('select i from generate_series(1, %s) i', (1000,))
        equal(sum(i for i, in cur), 500500)
    with c.cursor('back', scrollable=True, withhold=True) as cur:
        cur.execute('select i from generate_series(1, 100) i', binary=True)
        cur.scroll(50)
        equal(cur.fetchmany(3), [(51,), (52,), (53,)])
        c.commit()
        cur.scroll(0, mode='absolute')
        equal(cur.fetchone(), (1,))
    c.commit()
    equal(sum(i for i, in c.cursor().stream(
        'select i from generate_series(1, %s) i', (1000,))), 500500)
    c.commit()


def check_copy_in():
    c = connect('copy_in')
    cur = c.cursor()
    with cur.copy('copy line (id, v) from stdin') as copy:
        for i in range(1, 5001):
            copy.write_row((i, f'v{i}'))
    equal(cur.rowcount, 5000)
    with cur.copy('copy line from stdin (format binary)') as copy:
        copy.set_types(['int4', 'text', 'numeric'])
        for i in range(5001, 5101):
            copy.write_row((i, None, Decimal(i) / 8))
    equal(cur.rowcount, 100)
    equal(rows(c, 'select count(*), max(v), sum(n) from line'),
          [(5100, 'v999', Decimal('63131.250'))])


def check_copy_out():
    c = connect('copy_out')
    cur = c.cursor()
    with cur.copy("copy (select i, null, repeat('x', 3) from "
                  "generate_series(1, 100000) i) to stdout csv") as copy:
        equal(sum(len(data) for data in copy), 1088895)
    with cur.copy('copy (select i, i::numeric from generate_series(1, %s) i) '
                  'to stdout (format binary)', (1000,)) as copy:
        copy.set_types(['int4', 'numeric'])
        equal(sum(n for _, n in copy.rows()), Decimal(500500))


def check_copy_fail():
    c = connect('copy_fail')

    def copy(*data):
        with c.cursor().copy('copy line from stdin') as out:
            for d in data:
                out.write(d)
                if d == '':
                    raise ZeroDivisionError('no more')
    e = raises('22P02', lambda: copy('7001\ta\t1\n', 'seven\tb\t2\n'))
    equal(e.diag.context, 'COPY line, line 2, column id: "seven"')
    raises('23505', lambda: copy(*['7001\ta\t1\n' * 3000] * 40))
    raises('57014', lambda: copy('7001\ta\t1\n', ''))
    equal(rows(c, 'select count(*) from line where id between 7000 and 7999'),
          [(0,)])


def check_notify():
    c, d = connect('notify'), connect('notify other')
    got = []
    c.add_notify_handler(lambda n: got.append((n.channel, n.payload)))
    rows(c, 'listen tidings')
    rows(d, "select pg_notify('tidings', %s)", 'while idle')
    for n in c.notifies():
        equal((n.channel, n.payload), ('tidings', 'while idle'))
        break
    got.clear()
    rows(c, "notify tidings, 'to self'")
    equal(got, [('tidings', 'to self')])


def check_notice():
    c = connect('notice')
    got = []
    c.add_notice_handler(lambda d: got.append((d.severity,
                                               d.message_primary)))
    rows(c, 'select give_notice(%s), give_notice(%s)', 'one', 'two')
    equal(got, [('NOTICE', 'notice: one'), ('NOTICE', 'notice: two')])


def check_cancel():
    c, d = connect('cancel'), connect('cancel watcher')
    rows(c, 'insert into item (id, qty) values (800, 0)')

    def cancel():
        tap.wait_until('the statement to run', lambda: rows(
            d, tap.SLEEPER % 'psycopg3 cancel') == [(1,)])
        c.cancel()
    for sql in ('select pg_sleep(%s)', 'update item set qty = 1 where id = '
                '800 and pg_sleep(%s) is not null'):
        t = tap.meanwhile(cancel)
        raises('57014', lambda: rows(c, sql, 60))
        t.join()
    equal(rows(c, 'select qty from item where id = 800'), [(0,)])


def check_error():
    c = connect('error')
    e = raises('42601', lambda: rows(c, 'select id form item wehre'))
    equal(e.diag.statement_position, '16')
    equal(e.diag.message_primary, 'syntax error at or near "item"')
    e = raises('42703', lambda: rows(c, 'update item set nane = %s', 1))
    equal(e.diag.statement_position, '17')
    e = raises('42883', lambda: rows(c, "insert into item (id, qty) values "
                                     "(810, nosuch(%s))", 5))
    equal(e.diag.statement_position, '41')
    rows(c, 'insert into item (id) values (%s)', 810)
    e = raises('23505', lambda: rows(c, 'insert into item values (%s)', 810))
    equal((e.diag.constraint_name, e.diag.table_name, e.diag.message_detail),
          ('item_pkey', 'item', 'Key (id)=(810) already exists.'))
    raises('22012', lambda: rows(c, 'update item set qty = 1 / (id - 810) '
                                 'where id = %s', 810))
    raises('22P02', lambda: rows(c, 'update item set qty = %s where id = 810',
                                 'many'))
    raises('42P01', lambda: rows(c, 'delete from absent where id = %s', 1))
    equal(rows(c, 'select count(*) from item where id = 810'), [(1,)])


def check_large():
    c = connect('large')
    t, b = 'é' * (6 << 20), bytes(range(256)) * (40 << 10)
    equal(rows(c, 'insert into blob values (1, %s, %s)', t, b), 1)
    for binary in (False, True):
        (got_t, got_b), = rows(c, 'select t, b from blob where id = 1',
                               binary=binary)
        assert got_t == t and got_b == b
    equal(rows(c, "update blob set t = t || %s where id = 1", 'x'), 1)
    equal(rows(c, 'select length(t), length(b) from blob where id = 1'),
          [((6 << 20) + 1, 10 << 20)])


def check_pipeline():
    c = connect('pipeline')
    with c.pipeline() as p:
        curs = [c.execute('insert into line values (%s, %s) returning id',
                          (i, 'p')) for i in range(8001, 8301)]
        p.sync()
        equal(sum(cur.fetchone()[0] for cur in curs), sum(range(8001, 8301)))

    def fail():
        with c.pipeline() as p:
            rows_of = [8500, 8501, 8001, 8502]
            for i in rows_of:
                c.execute("insert into line values (%s, 'q')", (i,))
            p.sync()
    raises('23505', fail)
    with c.pipeline(), c.transaction():
        c.execute("insert into line values (%s, 'r')", (8600,))
        c.execute("update line set v = %s where id = 8600", ('s',))
    with c.pipeline() as p:
        for i in range(8700, 8800):
            c.execute('insert into line values (%s, %s)', (i, 't'))
            c.execute('select %s::text', ('y' * 20000,))
    equal(rows(c, 'select v, count(*) from line where id between 8000 and '
               '8999 group by v order by v'), [('p', 300), ('s', 1),
                                               ('t', 100)])


tap.main('psycopg3 ' + psycopg.__version__, globals())
