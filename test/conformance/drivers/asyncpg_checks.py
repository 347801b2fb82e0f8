# asyncpg: the extended protocol of its own, binary values, cached statements.
#
# SPDX-License-Identifier: PostgreSQL
import asyncio
import datetime
import io
import json
from decimal import Decimal

import asyncpg

import tap
from tap import equal, show

UTC = datetime.timezone.utc


async def connect(name, **options):
    return await asyncpg.connect(server_settings={
        'application_name': 'asyncpg ' + name}, **options)


async def rows(c, sql, *args):
    return [tuple(r) for r in await c.fetch(sql, *args)]


async def raises(want, action):
    """The error that awaiting action raises, which has that SQLSTATE."""
    try:
        await action
    except asyncpg.PostgresError as e:
        equal(e.sqlstate, want)
        return e
    raise AssertionError('no error was raised')


async def check_connect():
    c = await connect('connect')
    equal(await rows(c, 'show application_name'), [('asyncpg connect',)])
    equal(c.get_settings().TimeZone, 'UTC')
    equal(c.get_server_version().major, 15)
    equal(await c.fetchval('select pg_backend_pid()') == c.get_server_pid(),
          True)
    await c.execute("set application_name to 'asyncpg connected'")
    equal(c.get_settings().application_name, 'asyncpg connected')
    await c.reset()
    equal(await rows(c, 'show application_name'), [('asyncpg connect',)])


async def check_crud():
    c = await connect('crud')
    equal(await c.execute('insert into item (id, name, qty) values '
                          '($1, $2, $3)', 100, "O'Neil \\ é €", 1),
          'INSERT 0 1')
    equal(await c.execute('insert into item (id, name) values (101, $1), '
                          '(102, $2)', 'b', 'c'), 'INSERT 0 2')
    equal(await c.execute('update item set qty = qty + $1 where id = $2',
                          5, 100), 'UPDATE 1')
    equal(await c.execute('update item set qty = 0 where id = 199'),
          'UPDATE 0')
    equal(await c.execute('delete from item where id = $1', 102), 'DELETE 1')
    equal(await rows(c, 'select id, name, qty from item where id between $1 '
                     'and $2 order by id', 100, 199),
          [(100, "O'Neil \\ é €", 6), (101, 'b', None)])


async def check_returning():
    c = await connect('returning')
    equal(await rows(c, 'insert into item (id, qty) values (200, $1) '
                     'returning id, qty * 2', 7), [(200, 14)])
    equal(await rows(c, 'update item set qty = $1 where id = 200 returning '
                     'qty', 8), [(8,)])
    equal((await rows(c, 'delete from item where id = $1 returning *',
                      200))[0][:3], (200, None, 8))


async def value(column, v):
    """Stores v in a row of its own and reads it again."""
    c = await connect(column)
    await c.set_type_codec('jsonb', schema='pg_catalog', encoder=json.dumps,
                           decoder=json.loads)
    await c.execute(f'insert into item (id, {column}) values (300, $1)', v)
    got = await c.fetchval(f'select {column} from item where id = $1', 300)
    equal(await c.execute(f'update item set {column} = $1 where id = 300',
                          None), 'UPDATE 1')
    assert await rows(c, f'select {column} from item where id = 300') \
        == [(None,)]
    await c.execute('delete from item where id = $1', 300)
    return got


async def check_null():
    c = await connect('null')
    await c.execute('insert into item (id, name, qty, tags) values '
                    '(310, $1, $2, $3)', None, None, None)
    await c.execute('insert into item (id, name) values (311, $1)', '')
    equal(await rows(c, 'select name, qty, tags from item where id in '
                     '(310, 311) order by id'),
          [(None, None, None), ('', None, None)])


async def check_numeric():
    for v in ('12345678901234567890.123456789', '-0.00001', '1e30', 'NaN'):
        got = await value('price', Decimal(v))
        show(got)
        assert str(got) == str(Decimal(v)) or got == Decimal(v)


async def check_timestamptz():
    t = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)
    equal(await value('made', t), t)


async def check_bytea():
    b = bytes(range(256))
    equal(await value('data', b), b)


async def check_jsonb():
    d = {'a': [1, None, 'ü"\\'], 'b': {'c': 1.5}}
    equal(await value('doc', d), d)


async def check_array():
    tags = ['a', None, 'x,y', '"q"', '']
    equal(await value('tags', tags), tags)
    equal(await value('nums', [1, None, -3]), [1, None, -3])


async def check_binary():
    c = await connect('binary')
    t = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, UTC)
    full = (320, 'é', -5, Decimal('1.50'), t, b'\0\1\xff', '{"k": [1]}',
            ['a', None], [1, 2], True, 1 << 60, 0.1)
    put = 'insert into item values (%s)' % ', '.join(
        f'${i}' for i in range(1, 13))
    equal(await c.execute(put, *full), 'INSERT 0 1')
    equal(await rows(c, 'select * from item where id = $1', 320), [full])


async def check_prepared():
    c = await connect('prepared', statement_cache_size=2)
    put = await c.prepare('insert into item (id, name) values ($1, $2)',
                          name='put')
    equal([p.name for p in put.get_parameters()], ['int4', 'text'])
    seek = await c.prepare('select name from item where id = $1')
    for i in range(400, 407):
        await put.fetch(i, f'p{i}')
        equal(put.get_statusmsg(), 'INSERT 0 1')
        equal(await seek.fetchval(i), f'p{i}')
    for i in range(400, 407):
        await c.execute(f'update item set qty = qty + {i}, name = $1 where '
                        'id = $2', 'q', 400)
    equal(await c.fetchval('select name from pg_prepared_statements where '
                           "name = 'put'"), 'put')
    await c.execute('alter table item alter name type varchar')
    await raises('0A000', seek.fetchval(400))
    await c.execute('alter table item alter name type text')
    equal(await seek.fetchval(400), 'q')


async def check_batch():
    c = await connect('batch')
    await c.executemany('insert into item (id, qty) values ($1, $2)',
                        [(i, i) for i in range(500, 600)])
    await c.executemany('update item set qty = qty + $1 where id = $2',
                        [(1, i) for i in range(500, 520)])
    await raises('23505', c.executemany(
        'insert into item (id, qty) values ($1, $2)',
        [(i, i) for i in (600, 601, 500, 602)]))
    equal(await rows(c, 'select count(*), sum(qty) from item where id between '
                     '500 and 619'), [(100, sum(range(500, 600)) + 20)])


async def check_transaction():
    c = await connect('transaction')
    async with c.transaction():
        await c.execute('insert into account values (1, $1), (2, $2)',
                        100, 50)
    async with c.transaction():
        await c.execute('update account set balance = balance - $1 where '
                        'id = 1', 30)
        await c.execute('update account set balance = balance + $1 where '
                        'id = 2', 30)
    t = c.transaction()
    await t.start()
    await c.execute('update account set balance = $1', 0)
    await c.execute('delete from account where id = 2')
    await t.rollback()
    t = c.transaction()
    await t.start()
    await raises('23514', c.execute('update account set balance = $1', -1))
    await raises('25P02', c.fetch('select 1'))
    await t.rollback()
    equal(await rows(c, 'select * from account order by id'),
          [(1, Decimal('70.00')), (2, Decimal('80.00'))])
    async with c.transaction(isolation='serializable', readonly=True,
                             deferrable=True):
        equal(await c.fetchval('select count(*) from account'), 2)
    t = c.transaction(readonly=True)
    await t.start()
    await raises('25006', c.execute('delete from account where id = $1', 1))
    await t.rollback()


async def check_savepoint():
    c = await connect('savepoint')

    async def twice():
        async with c.transaction():
            await c.execute('insert into item (id) values ($1)', 621)
            await c.execute('insert into item (id) values ($1)', 621)
    async with c.transaction():
        await c.execute('insert into item (id, qty) values ($1, 1)', 620)
        async with c.transaction():
            await c.execute('update item set qty = $1 where id = 620', 2)
            await raises('23505', twice())
            await c.execute('insert into item (id) values ($1)', 622)
        t = c.transaction()
        await t.start()
        await c.execute('delete from item where id = $1', 620)
        await t.rollback()
    equal(await rows(c, 'select id, qty from item where id between 620 and '
                     '699 order by id'), [(620, 2), (622, None)])


async def check_cursor():
    c = await connect('cursor')
    async with c.transaction():
        n = 0
        async for i, in c.cursor('select i from generate_series(1, $1) i',
                                 1000, prefetch=50):
            n += i
        equal(n, 500500)
        cur = await c.cursor('select i from generate_series(1, 100) i')
        equal(await cur.forward(50), 50)
        equal([i for i, in await cur.fetch(3)], [51, 52, 53])
        equal(await c.execute('insert into line values (9000, $1)', 'cursor'),
              'INSERT 0 1')
        equal(await cur.fetchrow(), (54,))
    # One row is asked for: the portal of a DML statement is suspended.
    equal(await c.fetchval('insert into line values (9001, $1) returning id',
                           'one row'), 9001)


async def check_copy_in():
    c = await connect('copy_in')
    text = ''.join(f'{i}\tv{i}\t\\N\n' for i in range(1, 5001)).encode()
    equal(await c.copy_to_table('line', source=io.BytesIO(text)),
          'COPY 5000')
    equal(await c.copy_records_to_table('line', records=[
        (i, None, Decimal(i) / 8) for i in range(5001, 5101)]), 'COPY 100')
    equal(await rows(c, 'select count(*), max(v), sum(n) from line where '
                     'id < 6000'), [(5100, 'v999', Decimal('63131.250'))])


async def check_copy_out():
    c = await connect('copy_out')
    out = io.BytesIO()
    equal(await c.copy_from_query(
        "select i, null, repeat('x', 3) from generate_series(1, $1) i",
        100000, output=out, format='csv'), 'COPY 100000')
    equal(len(out.getvalue()), 1088895)


async def check_copy_fail():
    c = await connect('copy_fail')
    e = await raises('22P02', c.copy_to_table('line', source=io.BytesIO(
        b'7001\ta\t1\nseven\tb\t2\n')))
    equal(e.context, 'COPY line, line 2, column id: "seven"')
    await raises('23505', c.copy_to_table('line', source=io.BytesIO(
        b'7001\ta\t1\n' * 120000)))

    async def broken():
        yield b'7001\ta\t1\n'
        raise ZeroDivisionError('no more')
    try:
        await c.copy_to_table('line', source=broken())
        raise AssertionError('no error')
    except ZeroDivisionError as e:
        show(str(e))
    equal(await rows(c, 'select count(*) from line where id between 7000 and '
                     '7999'), [(0,)])


async def check_notify():
    c, d = await connect('notify'), await connect('notify other')
    got = asyncio.Queue()
    await c.add_listener('tidings', lambda _c, _pid, channel, payload:
                         got.put_nowait((channel, payload)))
    await d.execute("select pg_notify('tidings', $1)", 'while idle')
    equal(await asyncio.wait_for(got.get(), 30), ('tidings', 'while idle'))
    await c.execute("notify tidings, 'to self'")
    equal(await asyncio.wait_for(got.get(), 30), ('tidings', 'to self'))


async def check_notice():
    c = await connect('notice')
    got = []
    c.add_log_listener(lambda _c, m: got.append((m.severity, m.message)))
    await c.fetch('select give_notice($1), give_notice($2)', 'one', 'two')
    await asyncio.sleep(0)      # listeners are called soon, not at once
    equal(got, [('NOTICE', 'notice: one'), ('NOTICE', 'notice: two')])


async def check_cancel():
    c, d = await connect('cancel'), await connect('cancel watcher')
    await c.execute('insert into item (id, qty) values (800, 0)')
    for sql in ('select pg_sleep($1)', 'update item set qty = 1 where id = '
                '800 and pg_sleep($1) is not null'):
        task = asyncio.create_task(c.execute(sql, 60))
        while await d.fetchval(tap.SLEEPER % 'asyncpg cancel') != 1:
            await asyncio.sleep(0.02)
        task.cancel()
        try:
            await task
            raise AssertionError('not cancelled')
        except asyncio.CancelledError:
            show('cancelled')
        try:
            await c.fetch('select 1')
        except asyncio.CancelledError:
            pass        # asyncpg 0.27 tells the next one, too
    equal(await rows(c, 'select qty from item where id = 800'), [(0,)])


async def check_error():
    c = await connect('error')
    e = await raises('42601', c.fetch('select id form item wehre'))
    equal(e.position, '16')
    equal(e.message, 'syntax error at or near "item"')
    e = await raises('42703', c.execute('update item set nane = $1', 1))
    equal(e.position, '17')
    e = await raises('42883', c.execute('insert into item (id, qty) values '
                                        '(810, nosuch($1))', 5))
    equal(e.position, '41')
    await c.execute('insert into item (id) values ($1)', 810)
    e = await raises('23505', c.execute('insert into item values ($1)', 810))
    equal((e.constraint_name, e.table_name, e.detail),
          ('item_pkey', 'item', 'Key (id)=(810) already exists.'))
    await raises('22012', c.execute('update item set qty = 1 / (id - 810) '
                                    'where id = $1', 810))
    await raises('42P01', c.execute('delete from absent where id = $1', 1))
    equal(await rows(c, 'select count(*) from item where id = 810'), [(1,)])


async def check_large():
    c = await connect('large')
    t, b = 'é' * (6 << 20), bytes(range(256)) * (40 << 10)
    equal(await c.execute('insert into blob values (1, $1, $2)', t, b),
          'INSERT 0 1')
    equal(await rows(c, 'select t, b from blob where id = 1') == [(t, b)],
          True)
    equal(await c.execute('update blob set t = t || $1 where id = 1', 'x'),
          'UPDATE 1')
    equal(await rows(c, 'select length(t), length(b) from blob where id = 1'),
          [((6 << 20) + 1, 10 << 20)])


async def check_pipeline():
    c = await connect('pipeline')
    await c.executemany('insert into line values ($1, $2)',
                        [(i, 'p' * 5000) for i in range(8001, 8801)])
    equal(await rows(c, 'select count(*), sum(length(v)) from line where id '
                     'between 8000 and 8999'), [(800, 4000000)])


tap.main('asyncpg ' + asyncpg.__version__, globals())
