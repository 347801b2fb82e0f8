// What the Node.js drivers' programs share: TAP, and values worth comparing.
// A program is called with the names of the checks to run.
//
// SPDX-License-Identifier: PostgreSQL
'use strict';
const assert = require('assert');
const util = require('util');

exports.SLEEPER = name => "select count(*)::int as n from pg_stat_activity " +
    `where wait_event = 'PgSleep' and application_name = '${name}'`;

class Skip extends Error {}
exports.Skip = Skip;

function show(...values) {
    console.log('#', values.map(v => util.inspect(v, {
        breakLength: Infinity, depth: 5, maxStringLength: 300 })).join(' '));
}
exports.show = show;

exports.equal = (got, want) => {
    show(got);
    assert.deepStrictEqual(got, want);
};

// The error that the promise of action ends in, which has that SQLSTATE.
exports.raises = async (want, action) => {
    let error;
    try {
        await action();
    } catch (e) {
        error = e;
    }
    assert(error, 'no error was raised');
    exports.equal(error.code, want);
    return error;
};

exports.waitUntil = async (what, condition, seconds = 30) => {
    const end = Date.now() + seconds * 1000;
    while (!await condition()) {
        assert(Date.now() < end, 'gave up waiting for ' + what);
        await new Promise(done => setTimeout(done, 20));
    }
};

exports.main = async (version, checks) => {
    const names = process.argv.slice(2);
    let failed = 0;
    console.log('#', version);
    console.log(`1..${names.length}`);
    for (const [i, name] of names.entries()) {
        try {
            await checks[name]();
            console.log(`ok ${i + 1} - ${name}`);
        } catch (e) {
            if (e instanceof Skip) {
                console.log(`ok ${i + 1} - ${name} # SKIP ${e.message}`);
                continue;
            }
            failed++;
            console.log(`not ok ${i + 1} - ${name}`);
            console.error(e);
        }
    }
    process.exitCode = failed ? 1 : 0;
    process.stdout.write('', () => process.exit());
};
