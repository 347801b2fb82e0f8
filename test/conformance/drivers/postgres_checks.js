// postgres.js: the extended protocol, named statements, queries of one
// connection pipelined as they come.
//
// SPDX-License-Identifier: PostgreSQL
'use strict';
const { Readable, Writable } = require('stream');
const { pipeline } = require('stream/promises');
const postgres = require('postgres');
const { SLEEPER, Skip, equal, main, raises, show, waitUntil } =
    require('./tap.js');

const open = [];

function connect(name, options) {
    const sql = postgres({ max: 1, fetch_types: false, onnotice() {},
        ssl: process.env.PGSSLMODE === 'require' && 'require',
        connection: { application_name: 'postgres ' + name }, ...options });
    open.push(sql);
    return sql;
}

const values = async query => (await query).map(row => Object.values(row));

// Stores v in a row of its own and reads it again.
async function value(column, v, options) {
    const sql = connect(column, options);
    const name = sql(column);
    await sql`insert into item (id, ${name}) values (300, ${v})`;
    const got = await values(sql`select ${name} from item where id = ${300}`);
    equal((await sql`update item set ${name} = ${null} where id = 300`).count,
        1);
    equal(await values(sql`select ${name} from item where id = 300`),
        [[null]]);
    await sql`delete from item where id = ${300}`;
    return got[0][0];
}

const checks = {
    async connect() {
        const sql = connect('connect');
        equal(await values(sql`show application_name`),
            [['postgres connect']]);
        equal(await values(sql`show client_encoding`), [['UTF8']]);
        equal(sql.parameters.TimeZone, 'UTC');
        const r = await sql`select pg_backend_pid() as pid`;
        equal(r[0].pid === r.state.pid, true);
    },

    async crud() {
        const sql = connect('crud');
        const odd = "O'Neil \\ é €";
        equal((await sql`insert into item (id, name, qty) values (${100},
            ${odd}, ${1})`).count, 1);
        equal((await sql`insert into item ${sql([{ id: 101, name: 'b' },
            { id: 102, name: 'c' }])}`).count, 2);
        equal((await sql`update item set qty = qty + ${5} where id = ${100}`)
            .count, 1);
        equal((await sql`update item set qty = 0 where id = 199`).count, 0);
        equal((await sql`delete from item where id = ${102}`).command,
            'DELETE');
        equal(await values(sql`select id, name, qty from item where id between
            ${100} and ${199} order by id`), [[100, odd, 6], [101, 'b', null]]);
    },

    async returning() {
        const sql = connect('returning');
        equal(await values(sql`insert into item (id, qty) values (200, ${7})
            returning id, qty * 2 as twice`), [[200, 14]]);
        equal(await values(sql`update item set qty = ${8} where id = 200
            returning qty`), [[8]]);
        equal((await values(sql`delete from item where id = ${200}
            returning *`))[0].slice(0, 3), [200, null, 8]);
    },

    async null() {
        const sql = connect('null');
        await sql`insert into item (id, name, qty, tags) values (310, ${null},
            ${null}, ${null})`;
        await sql`insert into item (id, name) values (311, ${''})`;
        equal(await values(sql`select name, qty, tags from item where id in
            (310, 311) order by id`), [[null, null, null], ['', null, null]]);
    },

    async numeric() {
        for (const v of ['12345678901234567890.123456789', '-0.00001', 'NaN'])
            equal(await value('price', v), v);
    },

    async timestamptz() {
        const t = new Date(Date.UTC(2024, 1, 29, 23, 59, 59, 123));
        equal((await value('made', t)).toISOString(), t.toISOString());
    },

    async bytea() {
        const b = Buffer.from([...Array(256).keys()]);
        equal(Buffer.from(await value('data', b)).equals(b), true);
    },

    async jsonb() {
        const d = { a: [1, null, 'ü"\\'], b: { c: 1.5 } };
        equal(await value('doc', d), d);
    },

    async array() {
        // It asks the server for the types of arrays.
        const tags = ['a', null, 'x,y', '"q"', ''];
        // A null comes back as the text NULL.
        equal(await value('tags', tags, { fetch_types: true }),
            tags.map(v => v ?? 'NULL'));
        equal(await value('nums', [1, 0, -3], { fetch_types: true }),
            [1, 0, -3]);
    },

    async binary() {
        throw new Skip('it has no binary format');
    },

    async prepared() {
        const sql = connect('prepared');
        for (let i = 400; i < 407; i++) {
            equal((await sql`insert into item (id, name) values (${i},
                ${'p' + i})`).count, 1);
            equal(await values(sql`select name from item where id = ${i}`),
                [['p' + i]]);
        }
        equal(await values(sql`select count(*)::int from
            pg_prepared_statements`), [[3]]);
        const d = await sql`update item set qty = ${1} where id = ${400}`
            .describe();
        equal(d.types, [23, 23]);
        await sql.unsafe('alter table item alter name type varchar');
        equal(await values(sql`select name from item where id = ${400}`),
            [['p400']]);
        await sql.unsafe('alter table item alter name type text');
    },

    async batch() {
        const sql = connect('batch');
        const ids = [...Array(100).keys()].map(i => 500 + i);
        equal((await sql`insert into item ${sql(ids.map(id => ({ id,
            qty: id })))}`).count, 100);
        const all = await sql`update item set qty = 1 where id = 500;
            update item set qty = 2 where id = 501; select qty from item
            where id in (500, 501) order by id`.simple();
        show(all.map(r => [r.command, r.count]));
        equal([...all.at(-1)], [{ qty: 1 }, { qty: 2 }]);
    },

    async transaction() {
        const sql = connect('transaction');
        await sql.begin(t => t`insert into account values (1, ${100}),
            (2, ${50})`);
        // Both are sent before either is answered.
        await sql.begin(t => [
            t`update account set balance = balance - ${30} where id = 1`,
            t`update account set balance = balance + ${30} where id = 2`,
        ]);
        await sql.begin(async t => {
            await t`update account set balance = ${0}`;
            await t`delete from account where id = 2`;
            throw new Error('no');
        }).catch(e => equal(e.message, 'no'));
        await raises('23514', () => sql.begin(async t => {
            await t`update account set balance = ${-1}`.catch(() => 0);
            await t`select 1`.catch(e => equal(e.code, '25P02'));
        }));
        equal(await values(sql`select * from account order by id`),
            [[1, '70.00'], [2, '80.00']]);
        await raises('25006', () => sql.begin('isolation level serializable ' +
            'read only', t => t`delete from account where id = ${1}`));
    },

    async savepoint() {
        const sql = connect('savepoint');
        await sql.begin(async t => {
            await t`insert into item (id, qty) values (620, ${1})`;
            await t.savepoint(async a => {
                await a`update item set qty = ${2} where id = 620`;
                await raises('23505', () => a.savepoint(async b => {
                    await b`insert into item (id) values (${621})`;
                    await b`insert into item (id) values (${621})`;
                }));
                await a`insert into item (id) values (${622})`;
            });
            await t.savepoint(async a => {
                await a`delete from item where id = ${620}`;
                throw new Error('undo');
            }).catch(e => equal(e.message, 'undo'));
        });
        equal(await values(sql`select id, qty from item where id between 620
            and 699 order by id`), [[620, 2], [622, null]]);
    },

    async cursor() {
        const sql = connect('cursor');
        let sum = 0;
        for await (const part of sql`select i from generate_series(1,
            ${1000}) i`.cursor(70))
            sum += part.reduce((n, row) => n + row.i, 0);
        equal(sum, 500500);
        await sql`select 1 as one from generate_series(1, 9)`.cursor(2,
            () => sql.CLOSE);
        sum = 0;
        await sql`select i from generate_series(1, ${1000}) i`.forEach(row => {
            sum += row.i;
        });
        equal(sum, 500500);
    },

    async copy_in() {
        const sql = connect('copy_in');
        const lines = [...Array(5000).keys()].map(i =>
            `${i + 1}\tv${i + 1}\t\\N\n`);
        await pipeline(Readable.from(lines),
            await sql`copy line from stdin`.writable());
        equal(await values(sql`select count(*), max(v) from line where id <
            6000`), [['5000', 'v999']]);
    },

    async copy_out() {
        const sql = connect('copy_out');
        let bytes = 0;
        const out = await sql`copy (select i, null, repeat('x', 3) from
            generate_series(1, 100000) i) to stdout csv`.readable();
        await pipeline(out, new Writable({ write(chunk, _, done) {
            bytes += chunk.length;
            done();
        } }));
        equal(bytes, 1088895);
    },

    async copy_fail() {
        const sql = connect('copy_fail');
        // Nobody is told of the server's error: the next answer shows it.
        const bad = await sql`copy line from stdin`.writable();
        bad.on('error', () => 0);
        bad.end('7001\ta\t1\nseven\tb\t2\n');
        equal(await values(sql`select 1 as one`), [[1]]);
        async function *broken() {
            yield '7001\ta\t1\n';
            throw new Error('no more');
        }
        await pipeline(Readable.from(broken()),
            await sql`copy line from stdin`.writable()).catch(e =>
            equal(e.message, 'no more'));
        equal(await values(sql`select count(*)::int from line where id between
            7000 and 7999`), [[0]]);
    },

    async notify() {
        const sql = connect('notify');
        const other = connect('notify other');
        const got = [];
        await sql.listen('tidings', payload => got.push(payload));
        await other`select pg_notify('tidings', ${'while idle'})`;
        await waitUntil('a notification', () => got.length);
        equal(got.shift(), 'while idle');
        await sql.notify('tidings', 'again');
        await waitUntil('a notification', () => got.length);
        equal(got, ['again']);
    },

    async notice() {
        const got = [];
        const sql = connect('notice', {
            onnotice: n => got.push([n.severity, n.message]) });
        await sql`select give_notice(${'one'}), give_notice(${'two'})`;
        equal(got, [['NOTICE', 'notice: one'], ['NOTICE', 'notice: two']]);
    },

    async cancel() {
        const sql = connect('cancel');
        const other = connect('cancel watcher');
        await sql`insert into item (id, qty) values (800, 0)`;
        for (const query of [sql`select pg_sleep(${60})`,
            sql`update item set qty = 1 where id = 800 and
                pg_sleep(${60}) is not null`]) {
            query.execute().catch(() => 0);
            await waitUntil('the statement to run', async () =>
                (await other.unsafe(SLEEPER('postgres cancel')))[0].n === 1);
            query.cancel();
            await raises('57014', () => query);
        }
        equal(await values(sql`select qty from item where id = 800`), [[0]]);
    },

    async error() {
        const sql = connect('error');
        let e = await raises('42601', () => sql`select id form item wehre`);
        equal([e.position, e.message], ['16',
            'syntax error at or near "item"']);
        e = await raises('42703', () => sql`update item set nane = ${1}`);
        equal(e.position, '17');
        e = await raises('42883', () => sql.unsafe('insert into item (id, ' +
            'qty) values (810, nosuch($1))', [5]));
        equal(e.position, '41');
        await sql`insert into item (id) values (${810})`;
        e = await raises('23505', () => sql`insert into item (id) values
            (${810})`);
        equal([e.constraint_name, e.table_name, e.detail], ['item_pkey',
            'item', 'Key (id)=(810) already exists.']);
        await raises('22012', () => sql`update item set qty = 1 / (id - 810)
            where id = ${810}`);
        await raises('22P02', () => sql`update item set qty = ${'many'}
            where id = 810`);
        await raises('42P01', () => sql`delete from absent`);
        equal(await values(sql`select count(*)::int from item where id =
            810`), [[1]]);
    },

    async large() {
        const sql = connect('large');
        const t = 'é'.repeat(6 << 20);
        const b = Buffer.alloc(10 << 20, Buffer.from([...Array(256).keys()]));
        equal((await sql`insert into blob values (1, ${t}, ${b})`).count, 1);
        const [row] = await sql`select t, b from blob where id = 1`;
        equal([row.t === t, Buffer.from(row.b).equals(b)], [true, true]);
        equal((await sql`update blob set t = t || ${'x'} where id = 1`).count,
            1);
        equal(await values(sql`select length(t) as t, length(b) as b from blob
            where id = 1`), [[(6 << 20) + 1, 10 << 20]]);
    },

    async pipeline() {
        const sql = connect('pipeline');
        const ids = [...Array(300).keys()].map(i => 8001 + i);
        const done = await Promise.all(ids.map(i =>
            sql`insert into line values (${i}, ${'p'})`));
        equal(done.reduce((n, r) => n + r.count, 0), 300);
        const some = await Promise.allSettled([8500, 8001, 8501].map(i =>
            sql`insert into line values (${i}, 'q')`));
        equal(some.map(s => s.status), ['fulfilled', 'rejected', 'fulfilled']);
        show(some[1].reason.code);
        await sql.begin(t => ids.map(i => t`update line set v = ${'r' + i}
            where id = ${i}`));
        equal(await values(sql`select count(*)::int as n, max(v) as v from
            line where id between 8000 and 8999`), [[302, 'r8300']]);
    },
};

for (const [name, check] of Object.entries(checks)) {
    checks[name] = async () => {
        try {
            await check();
        } finally {
            await Promise.all(open.splice(0).map(sql => sql.end()));
        }
    };
}
main('postgres.js ' + require('./package.json').dependencies.postgres, checks);
