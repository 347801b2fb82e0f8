// node pg, with pg-cursor, pg-query-stream and pg-copy-streams: the extended
// protocol where there are parameters, else the simple one.
//
// SPDX-License-Identifier: PostgreSQL
'use strict';
const { Readable, Writable } = require('stream');
const { pipeline } = require('stream/promises');
const pg = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const copy = require('pg-copy-streams');
const { SLEEPER, equal, main, raises, show, waitUntil } = require('./tap.js');

const open = [];

const ssl = process.env.PGSSLMODE === 'require' && {
    rejectUnauthorized: false };

async function connect(name, options) {
    const c = new pg.Client({ application_name: 'pg ' + name, ssl,
        ...options });
    await c.connect();
    open.push(c);
    return c;
}

async function rows(c, text, ...values) {
    return (await c.query({ text, values, rowMode: 'array' })).rows;
}

async function changed(c, text, ...values) {
    return (await c.query(text, values.length ? values : undefined)).rowCount;
}

// Stores v in a row of its own and reads it again.
async function value(column, v) {
    const c = await connect(column);
    await changed(c, `insert into item (id, ${column}) values (300, $1)`, v);
    const got = await rows(c, `select ${column} from item where id = $1`, 300);
    equal(await changed(c, `update item set ${column} = $1 where id = 300`,
        null), 1);
    equal(await rows(c, `select ${column} from item where id = 300`),
        [[null]]);
    await changed(c, 'delete from item where id = $1', 300);
    return got[0][0];
}

const checks = {
    async connect() {
        const c = await connect('connect');
        equal(await rows(c, 'show application_name'), [['pg connect']]);
        equal(await rows(c, 'show client_encoding'), [['UTF8']]);
        equal((await rows(c, 'select pg_backend_pid()'))[0][0]
            === c.processID, true);
    },

    async crud() {
        const c = await connect('crud');
        const odd = "O'Neil \\ é €";
        equal(await changed(c, 'insert into item (id, name, qty) values ' +
            '($1, $2, $3)', 100, odd, 1), 1);
        equal(await changed(c, 'insert into item (id, name) values (101, ' +
            '$1), (102, $2)', 'b', 'c'), 2);
        equal(await changed(c, 'update item set qty = qty + $1 where id = $2',
            5, 100), 1);
        equal(await changed(c, 'update item set qty = 0 where id = 199'), 0);
        equal(await changed(c, 'delete from item where id = 102'), 1);
        equal(await rows(c, 'select id, name, qty from item where id between ' +
            '$1 and $2 order by id', 100, 199), [[100, odd, 6],
            [101, 'b', null]]);
    },

    async returning() {
        const c = await connect('returning');
        equal(await rows(c, 'insert into item (id, qty) values (200, $1) ' +
            'returning id, qty * 2', 7), [[200, 14]]);
        equal(await rows(c, 'update item set qty = $1 where id = 200 ' +
            'returning qty', 8), [[8]]);
        equal((await rows(c, 'delete from item where id = $1 returning *',
            200))[0].slice(0, 3), [200, null, 8]);
    },

    async null() {
        const c = await connect('null');
        await changed(c, 'insert into item (id, name, qty, tags) values ' +
            '(310, $1, $2, $3)', null, null, null);
        await changed(c, 'insert into item (id, name) values (311, $1)', '');
        equal(await rows(c, 'select name, qty, tags from item where id in ' +
            '(310, 311) order by id'), [[null, null, null], ['', null, null]]);
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
        equal((await value('data', b)).equals(b), true);
    },

    async jsonb() {
        const d = { a: [1, null, 'ü"\\'], b: { c: 1.5 } };
        equal(await value('doc', d), d);
    },

    async array() {
        const tags = ['a', null, 'x,y', '"q"', ''];
        equal(await value('tags', tags), tags);
        equal(await value('nums', [1, null, -3]), [1, null, -3]);
    },

    async binary() {
        const c = await connect('binary');
        await changed(c, 'insert into item (id, data, big) values ($1, $2, ' +
            '$3)', 320, Buffer.from([0, 1, 255]), '1152921504606846976');
        // Values of its own come out wrong of binary rows: seen as bytes.
        const r = await c.query({ text: 'select id, data from item where id ' +
            '= $1', values: [320], rowMode: 'array', binary: true,
        types: { getTypeParser: () => v => Buffer.from(v).toString('hex') } });
        show(r.rows);
        equal(r.fields.map(f => f.format), ['binary', 'binary']);
        equal(await rows(c, 'select data, big from item where id = $1', 320),
            [[Buffer.from([0, 1, 255]), '1152921504606846976']]);
    },

    async prepared() {
        const c = await connect('prepared');
        for (let i = 400; i < 407; i++) {
            equal((await c.query({ name: 'put', text: 'insert into item (id, ' +
                'name) values ($1, $2)', values: [i, `p${i}`] })).rowCount, 1);
            equal((await c.query({ name: 'seek', text: 'select name from ' +
                'item where id = $1', values: [i] })).rows,
            [{ name: `p${i}` }]);
        }
        equal(await rows(c, 'select name from pg_prepared_statements order ' +
            'by name'), [['put'], ['seek']]);
    },

    async batch() {
        const c = await connect('batch');
        const ids = [...Array(100).keys()].map(i => 500 + i);
        equal(await changed(c, 'insert into item (id, qty) values ' +
            ids.map((_, i) => `($${2 * i + 1}, $${2 * i + 2})`).join(),
        ...ids.flatMap(i => [i, i])), 100);
        const all = await c.query('update item set qty = 1 where id = 500; ' +
            'update item set qty = 2 where id = 501; select qty from item ' +
            'where id in (500, 501) order by id');
        equal(all.map(r => [r.command, r.rowCount]), [['UPDATE', 1],
            ['UPDATE', 1], ['SELECT', 2]]);
    },

    async transaction() {
        const c = await connect('transaction');
        const sql = text => changed(c, text);
        await sql('begin');
        await changed(c, 'insert into account values (1, $1), (2, $2)', 100,
            50);
        await sql('commit');
        await sql('begin');
        await changed(c, 'update account set balance = balance - $1 where ' +
            'id = 1', 30);
        await changed(c, 'update account set balance = balance + $1 where ' +
            'id = 2', 30);
        await sql('commit');
        await sql('begin');
        await changed(c, 'update account set balance = $1', 0);
        await sql('delete from account where id = 2');
        await sql('rollback');
        await sql('begin');
        await raises('23514', () => changed(c, 'update account set balance ' +
            '= $1', -1));
        await raises('25P02', () => rows(c, 'select 1'));
        equal((await c.query('commit')).command, 'ROLLBACK');
        equal(await rows(c, 'select * from account order by id'),
            [[1, '70.00'], [2, '80.00']]);
        await sql('begin isolation level serializable read only');
        await raises('25006', () => sql('delete from account'));
        await sql('rollback');
    },

    async savepoint() {
        const c = await connect('savepoint');
        const sql = text => changed(c, text);
        await sql('begin');
        await changed(c, 'insert into item (id, qty) values (620, $1)', 1);
        await sql('savepoint a');
        await changed(c, 'update item set qty = $1 where id = 620', 2);
        await sql('savepoint b');
        await sql('insert into item (id) values (621)');
        await raises('23505', () => changed(c, 'insert into item (id) values ' +
            '($1)', 621));
        await sql('rollback to b');
        await changed(c, 'insert into item (id) values ($1)', 622);
        await sql('release a');
        await sql('savepoint a');
        await changed(c, 'delete from item where id = $1', 620);
        await sql('rollback to a');
        await sql('commit');
        equal(await rows(c, 'select id, qty from item where id between 620 ' +
            'and 699 order by id'), [[620, 2], [622, null]]);
    },

    async cursor() {
        const c = await connect('cursor');
        const cur = c.query(new Cursor('select i from generate_series(1, $1) ' +
            'i', [1000]));
        let sum = 0;
        for (let part; (part = await cur.read(70)).length;)
            sum += part.reduce((n, row) => n + row.i, 0);
        await cur.close();
        equal(sum, 500500);
        const left = c.query(new Cursor('select 1 from generate_series(1, 9)'));
        equal((await left.read(2)).length, 2);
        await left.close();
        sum = 0;
        for await (const row of c.query(new QueryStream('select i from ' +
            'generate_series(1, $1) i', [1000], { batchSize: 50 })))
            sum += row.i;
        equal(sum, 500500);
    },

    async copy_in() {
        const c = await connect('copy_in');
        const lines = [...Array(5000).keys()].map(i =>
            `${i + 1}\tv${i + 1}\t\\N\n`);
        const into = c.query(copy.from('copy line from stdin'));
        await pipeline(Readable.from(lines), into);
        equal(into.rowCount, 5000);
        equal(await rows(c, 'select count(*), max(v) from line where id < ' +
            '6000'), [['5000', 'v999']]);
    },

    async copy_out() {
        const c = await connect('copy_out');
        let bytes = 0;
        const out = c.query(copy.to("copy (select i, null, repeat('x', 3) " +
            'from generate_series(1, 100000) i) to stdout csv'));
        await pipeline(out, new Writable({ write(chunk, _, done) {
            bytes += chunk.length;
            done();
        } }));
        equal([bytes, out.rowCount], [1088895, 100000]);
    },

    async copy_fail() {
        const c = await connect('copy_fail');
        const put = data => pipeline(Readable.from(data),
            c.query(copy.from('copy line from stdin')));
        const e = await raises('22P02', () => put(['7001\ta\t1\n',
            'seven\tb\t2\n']));
        equal(e.where, 'COPY line, line 2, column id: "seven"');
        await raises('23505', () => put(Array(3000).fill('7001\ta\t1\n')));
        async function *broken() {
            yield '7001\ta\t1\n';
            throw new Error('no more');
        }
        // pg-copy-streams sends CopyFail; pipeline() keeps the first error.
        try {
            await put(broken());
        } catch (error) {
            equal(error.message, 'no more');
        }
        equal(await rows(c, 'select count(*)::int from line where id between ' +
            '7000 and 7999'), [[0]]);
    },

    async notify() {
        const c = await connect('notify');
        const d = await connect('notify other');
        const got = [];
        c.on('notification', n => got.push([n.channel, n.payload]));
        await c.query('listen tidings');
        await rows(d, "select pg_notify('tidings', $1)", 'while idle');
        await waitUntil('a notification', () => got.length);
        equal(got.shift(), ['tidings', 'while idle']);
        await c.query("notify tidings, 'to self'");
        await waitUntil('a notification', () => got.length);
        equal(got, [['tidings', 'to self']]);
    },

    async notice() {
        const c = await connect('notice');
        const got = [];
        c.on('notice', n => got.push([n.severity, n.message]));
        await rows(c, 'select give_notice($1), give_notice($2)', 'one', 'two');
        equal(got, [['NOTICE', 'notice: one'], ['NOTICE', 'notice: two']]);
    },

    async cancel() {
        const c = await connect('cancel');
        const d = await connect('cancel watcher');
        await changed(c, 'insert into item (id, qty) values (800, 0)');
        for (const sql of ['select pg_sleep($1)', 'update item set qty = 1 ' +
            'where id = 800 and pg_sleep($1) is not null']) {
            const query = new pg.Query({ text: sql, values: [60] });
            const ended = new Promise((_, fail) => query.once('error', fail));
            ended.catch(() => 0);
            c.query(query);
            await waitUntil('the statement to run', async () => (await
            d.query(SLEEPER('pg cancel'))).rows[0].n === 1);
            new pg.Client({ ssl }).cancel(c, query);
            await raises('57014', () => ended);
        }
        equal(await rows(c, 'select qty from item where id = 800'), [[0]]);
    },

    async error() {
        const c = await connect('error');
        let e = await raises('42601', () => rows(c, 'select id form item ' +
            'wehre'));
        equal([e.position, e.message], ['16',
            'syntax error at or near "item"']);
        e = await raises('42703', () => changed(c, 'update item set nane = ' +
            '$1', 1));
        equal(e.position, '17');
        e = await raises('42883', () => changed(c, 'insert into item (id, ' +
            'qty) values (810, nosuch($1))', 5));
        equal(e.position, '41');
        await changed(c, 'insert into item (id) values ($1)', 810);
        e = await raises('23505', () => changed(c, 'insert into item values ' +
            '($1)', 810));
        equal([e.constraint, e.table, e.detail], ['item_pkey', 'item',
            'Key (id)=(810) already exists.']);
        await raises('22012', () => changed(c, 'update item set qty = 1 / ' +
            '(id - 810) where id = $1', 810));
        await raises('22P02', () => changed(c, 'update item set qty = $1 ' +
            'where id = 810', 'many'));
        await raises('42P01', () => changed(c, 'delete from absent'));
        equal(await rows(c, 'select count(*)::int from item where id = 810'),
            [[1]]);
    },

    async large() {
        const c = await connect('large');
        const t = 'é'.repeat(6 << 20);
        const b = Buffer.alloc(10 << 20, Buffer.from([...Array(256).keys()]));
        equal(await changed(c, 'insert into blob values (1, $1, $2)', t, b), 1);
        const [[gotT, gotB]] = await rows(c, 'select t, b from blob where ' +
            'id = 1');
        equal([gotT === t, gotB.equals(b)], [true, true]);
        equal(await changed(c, 'update blob set t = t || $1 where id = 1',
            'x'), 1);
        equal(await rows(c, 'select length(t), length(b) from blob where ' +
            'id = 1'), [[(6 << 20) + 1, 10 << 20]]);
    },

    async pipeline() {
        const c = await connect('pipeline', { pipeline: true });
        const sent = [];
        for (let i = 8001; i <= 8300; i++)
            sent.push(changed(c, 'insert into line values ($1, $2)', i, 'p'));
        equal((await Promise.all(sent)).reduce((a, n) => a + n, 0), 300);
        const some = await Promise.allSettled([8500, 8001, 8501].map(i =>
            changed(c, "insert into line values ($1, 'q')", i)));
        equal(some.map(s => s.status), ['fulfilled', 'rejected', 'fulfilled']);
        show(some[1].reason.code);
        equal(await rows(c, 'select count(*)::int from line where id between ' +
            '8000 and 8999'), [[302]]);
    },
};

for (const [name, check] of Object.entries(checks)) {
    checks[name] = async () => {
        try {
            await check();
        } finally {
            await Promise.all(open.splice(0).map(c => c.end()));
        }
    };
}
main('pg ' + require('./package.json').dependencies.pg, checks);
