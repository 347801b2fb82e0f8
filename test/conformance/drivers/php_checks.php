<?php
/*
 * PHP's PDO: libpq, named statements of the extended protocol; and, where PDO
 * has nothing of the kind (cancel, notices), the pgsql extension beside it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
class Skip extends Exception {}

function show(...$values)
{
    echo '# ', implode(' ', array_map(fn ($v) => substr(json_encode($v,
        JSON_UNESCAPED_UNICODE | JSON_PARTIAL_OUTPUT_ON_ERROR), 0, 400),
        $values)), "\n";
}

function equal($got, $want)
{
    show($got);
    if ($got !== $want)
        throw new Exception('wanted ' .
            substr(var_export($want, true), 0, 200));
}

function raises($want, $action)
{
    try {
        $action();
    } catch (PDOException $e) {
        equal($e->errorInfo[0], $want);
        return $e->errorInfo[2];
    }
    throw new Exception('no error was raised');
}

function wait_until($what, $condition)
{
    for ($end = microtime(true) + 30; !$condition(); usleep(20000)) {
        if (microtime(true) > $end)
            throw new Exception("gave up waiting for $what");
    }
}

function target($name)
{
    return sprintf('host=%s port=%s dbname=%s user=%s ' .
        "application_name='php %s'", getenv('PGHOST'), getenv('PGPORT'),
        getenv('PGDATABASE'), getenv('PGUSER'), $name);
}

function connect($name, $options = [])
{
    return new PDO('pgsql:' . target($name), null, null, $options + [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_NUM]);
}

function query($c, $sql, ...$values)
{
    $s = $c->prepare($sql);
    $s->execute($values);
    return $s;
}

function rows($c, $sql, ...$values)
{
    return query($c, $sql, ...$values)->fetchAll();
}

function changed($c, $sql, ...$values)
{
    return query($c, $sql, ...$values)->rowCount();
}

// Stores v in a row of its own and reads it again.
function value($column, $v, $type = PDO::PARAM_STR)
{
    $c = connect($column);
    $put = $c->prepare("insert into item (id, $column) values (300, :v)");
    $put->bindValue(':v', $v, $type);
    $put->execute();
    $got = rows($c, "select $column from item where id = ?", 300)[0][0];
    equal(changed($c, "update item set $column = ? where id = 300", null), 1);
    equal(rows($c, "select $column from item where id = 300"), [[null]]);
    changed($c, 'delete from item where id = ?', 300);
    return is_resource($got) ? stream_get_contents($got) : $got;
}

$checks = [
    'connect' => function () {
        $c = connect('connect');
        equal(rows($c, 'show application_name'), [['php connect']]);
        equal(rows($c, 'show client_encoding'), [['UTF8']]);
        equal($c->query('select pg_backend_pid()')->fetchColumn()
            === $c->pgsqlGetPid(), true);
        equal(substr($c->getAttribute(PDO::ATTR_SERVER_VERSION), 0, 2), '15');
    },
    'crud' => function () {
        $c = connect('crud');
        $odd = "O'Neil \\ é €";
        equal(changed($c, 'insert into item (id, name, qty) values (?, ?, ?)',
            100, $odd, 1), 1);
        equal(changed($c, 'insert into item (id, name) values (101, ?), ' .
            '(102, ?)', 'b', 'c'), 2);
        equal(changed($c, 'update item set qty = qty + ? where id = ?', 5,
            100), 1);
        equal($c->exec('update item set qty = 0 where id = 199'), 0);
        equal($c->exec('delete from item where id = 102'), 1);
        equal(rows($c, 'select id, name, qty from item where id between ? ' .
            'and ? order by id', 100, 199),
            [[100, $odd, 6], [101, 'b', null]]);
    },
    'returning' => function () {
        $c = connect('returning');
        equal(rows($c, 'insert into item (id, qty) values (200, ?) returning ' .
            'id, qty * 2', 7), [[200, 14]]);
        equal(rows($c, 'update item set qty = ? where id = 200 returning qty',
            8), [[8]]);
        equal(array_slice(rows($c, 'delete from item where id = ? returning *',
            200)[0], 0, 3), [200, null, 8]);
    },
    'null' => function () {
        $c = connect('null');
        changed($c, 'insert into item (id, name, qty, tags) values (310, ?, ' .
            '?, ?)', null, null, null);
        changed($c, 'insert into item (id, name) values (311, ?)', '');
        equal(rows($c, 'select name, qty, tags from item where id in (310, ' .
            '311) order by id'), [[null, null, null], ['', null, null]]);
    },
    'numeric' => function () {
        foreach (['12345678901234567890.123456789', '-0.00001', 'NaN'] as $v)
            equal(value('price', $v), $v);
    },
    'timestamptz' => function () {
        equal(value('made', '2024-02-29 23:59:59.123456+00'),
            '2024-02-29 23:59:59.123456+00');
    },
    'bytea' => function () {
        $b = implode('', array_map('chr', range(0, 255)));
        equal(value('data', $b, PDO::PARAM_LOB) === $b, true);
    },
    'jsonb' => function () {
        $d = ['a' => [1, null, "ü\"\\"], 'b' => ['c' => 1.5]];
        equal(json_decode(value('doc', json_encode($d)), true), $d);
    },
    'array' => function () {
        equal(value('tags', '{a,NULL,"x,y","\"q\"",""}'),
            '{a,NULL,"x,y","\"q\"",""}');
        equal(value('nums', '{1,NULL,-3}'), '{1,NULL,-3}');
    },
    'binary' => function () {
        // Only bytea is sent so; results are text.
        $c = connect('binary');
        $put = $c->prepare('insert into item (id, data) values (320, ?)');
        $put->bindValue(1, "\0\1\xff", PDO::PARAM_LOB);
        equal($put->execute(), true);
        equal(bin2hex(stream_get_contents(rows($c, 'select data from item ' .
            'where id = ?', 320)[0][0])), '0001ff');
    },
    'prepared' => function () {
        $c = connect('prepared');
        $put = $c->prepare('insert into item (id, name) values (:id, :name)');
        $seek = $c->prepare('select name from item where id = ?');
        for ($i = 400; $i < 407; $i++) {
            $put->execute(['id' => $i, 'name' => "p$i"]);
            equal($put->rowCount(), 1);
            $seek->execute([$i]);
            equal($seek->fetchAll(), [["p$i"]]);
        }
        equal(rows($c, 'select count(*) from pg_prepared_statements'), [[3]]);
        $put = null;
        equal($c->query('select count(*) from pg_prepared_statements')
            ->fetchColumn(), 2);
        $c = connect('prepared', [PDO::ATTR_EMULATE_PREPARES => true]);
        equal(changed($c, 'update item set qty = ? where id = ?', 1, 400), 1);
        $c = connect('prepared', [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]);
        equal(changed($c, 'update item set qty = ? where id = ?', 2, 400), 1);
    },
    'batch' => function () {
        $c = connect('batch');
        equal($c->exec('insert into item (id) values (500), (501); update ' .
            'item set qty = 1 where id = 500'), 1);
        $all = implode(', ', array_fill(0, 100, '(?, ?)'));
        $values = [];
        foreach (range(510, 609) as $i)
            array_push($values, $i, $i);
        equal(changed($c, "insert into item (id, qty) values $all", ...$values),
            100);
    },
    'transaction' => function () {
        $c = connect('transaction');
        $c->beginTransaction();
        changed($c, 'insert into account values (1, ?), (2, ?)', 100, 50);
        $c->commit();
        $c->beginTransaction();
        changed($c, 'update account set balance = balance - ? where id = 1',
            30);
        changed($c, 'update account set balance = balance + ? where id = 2',
            30);
        $c->commit();
        $c->beginTransaction();
        changed($c, 'update account set balance = ?', 0);
        $c->exec('delete from account where id = 2');
        equal($c->inTransaction(), true);
        $c->rollBack();
        $c->beginTransaction();
        raises('23514', fn () => changed($c, 'update account set balance = ?',
            -1));
        raises('25P02', fn () => rows($c, 'select 1'));
        $c->rollBack();
        equal(rows($c, 'select * from account order by id'),
            [[1, '70.00'], [2, '80.00']]);
        $c->beginTransaction();
        $c->exec('set transaction isolation level serializable, read only');
        raises('25006', fn () => $c->exec('delete from account'));
        $c->rollBack();
    },
    'savepoint' => function () {
        $c = connect('savepoint');
        $c->beginTransaction();
        changed($c, 'insert into item (id, qty) values (620, ?)', 1);
        $c->exec('savepoint a');
        changed($c, 'update item set qty = ? where id = 620', 2);
        $c->exec('savepoint b');
        $c->exec('insert into item (id) values (621)');
        raises('23505', fn () => changed($c, 'insert into item (id) values ' .
            '(?)', 621));
        $c->exec('rollback to b');
        changed($c, 'insert into item (id) values (?)', 622);
        $c->exec('release a');
        $c->exec('savepoint a');
        changed($c, 'delete from item where id = ?', 620);
        $c->exec('rollback to a');
        $c->commit();
        equal(rows($c, 'select id, qty from item where id between 620 and ' .
            '699 order by id'), [[620, 2], [622, null]]);
    },
    'cursor' => function () {
        $c = connect('cursor');
        $c->beginTransaction();
        $s = $c->prepare('select i from generate_series(1, 1000) i',
            [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
        $s->execute();
        $sum = 0;
        while ($row = $s->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_NEXT))
            $sum += $row[0];
        equal($sum, 500500);
        equal($s->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_ABS, 7), [7]);
        $s = null;
        $c->commit();
    },
    'copy_in' => function () {
        $c = connect('copy_in');
        equal($c->pgsqlCopyFromArray('line', array_map(fn ($i) =>
            "$i\tv$i\t\\N", range(1, 5000))), true);
        equal(rows($c, 'select count(*), max(v) from line where id < 6000'),
            [[5000, 'v999']]);
    },
    'copy_out' => function () {
        $c = connect('copy_out');
        $c->exec('create temp table out as select i, null::text, ' .
            "repeat('x', 3) from generate_series(1, 100000) i");
        equal(strlen(implode('', $c->pgsqlCopyToArray('out', ','))),
            1088895 + 2 * 100000);
    },
    'copy_fail' => function () {
        $c = connect('copy_fail');
        show(raises('22P02', fn () => $c->pgsqlCopyFromArray('line',
            ["7001\ta\t1", "seven\tb\t2"])));
        raises('23505', fn () => $c->pgsqlCopyFromArray('line',
            array_fill(0, 3000, "7001\ta\t1")));
        equal(rows($c, 'select count(*) from line where id between 7000 and ' .
            '7999'), [[0]]);
    },
    'notify' => function () {
        $c = connect('notify');
        $d = connect('notify other');
        $c->exec('listen tidings');
        query($d, "select pg_notify('tidings', ?)", 'while idle');
        $n = $c->pgsqlGetNotify(PDO::FETCH_ASSOC, 30000);
        equal([$n['message'], $n['payload']], ['tidings', 'while idle']);
        $c->exec("notify tidings, 'to self'");
        $n = $c->pgsqlGetNotify(PDO::FETCH_ASSOC, 30000);
        equal([$n['message'], $n['payload']], ['tidings', 'to self']);
    },
    'notice' => function () {
        $c = pg_connect(target('notice'));
        pg_query_params($c, 'select give_notice($1), give_notice($2)',
            ['one', 'two']);
        equal(pg_last_notice($c, PGSQL_NOTICE_ALL),
            ['NOTICE:  notice: one', 'NOTICE:  notice: two']);
        pg_close($c);
    },
    'cancel' => function () {
        $c = pg_connect(target('cancel'));
        $d = connect('cancel watcher');
        pg_query($c, 'insert into item (id, qty) values (800, 0)');
        foreach (['select pg_sleep($1)', 'update item set qty = 1 where id ' .
            '= 800 and pg_sleep($1) is not null'] as $sql) {
            pg_send_query_params($c, $sql, [60]);
            wait_until('the statement to run', fn () => rows($d, 'select ' .
                "count(*) from pg_stat_activity where wait_event = 'PgSleep' " .
                "and application_name = 'php cancel'") === [[1]]);
            equal(pg_cancel_query($c), true);
        }
        equal(pg_fetch_all(pg_query($c, 'select qty from item where id = ' .
            '800')), [['qty' => '0']]);
        pg_close($c);
    },
    'error' => function () {
        $c = connect('error');
        show(raises('42601', fn () => rows($c, 'select id form item wehre')));
        show(raises('42703', fn () => changed($c, 'update item set nane = ?',
            1)));
        show(raises('42883', fn () => changed($c, 'insert into item (id, ' .
            'qty) values (810, nosuch(?))', 5)));
        changed($c, 'insert into item (id) values (?)', 810);
        show(raises('23505', fn () => changed($c, 'insert into item values ' .
            '(?)', 810)));
        raises('22012', fn () => changed($c, 'update item set qty = 1 / ' .
            '(id - 810) where id = ?', 810));
        raises('22P02', fn () => changed($c, 'update item set qty = ? where ' .
            'id = 810', 'many'));
        raises('42P01', fn () => $c->exec('delete from absent'));
        equal(rows($c, 'select count(*) from item where id = 810'), [[1]]);
    },
    'large' => function () {
        $c = connect('large');
        $t = str_repeat('é', 6 << 20);
        $b = str_repeat(implode('', array_map('chr', range(0, 255))), 40 << 10);
        $put = $c->prepare('insert into blob values (1, ?, ?)');
        $put->bindValue(1, $t);
        $put->bindValue(2, $b, PDO::PARAM_LOB);
        equal($put->execute(), true);
        [$got_t, $got_b] = rows($c, 'select t, b from blob where id = 1')[0];
        equal([$got_t === $t, stream_get_contents($got_b) === $b],
            [true, true]);
        equal(changed($c, 'update blob set t = t || ? where id = 1', 'x'), 1);
        equal(rows($c, 'select length(t), length(b) from blob where id = 1'),
            [[(6 << 20) + 1, 10 << 20]]);
        // A large object, by the function calls of the protocol.
        $c->beginTransaction();
        $oid = $c->pgsqlLOBCreate();
        $lob = $c->pgsqlLOBOpen($oid, 'w');
        equal(fwrite($lob, str_repeat('0123456789', 1 << 10)), 10 << 10);
        fclose($lob);
        $lob = $c->pgsqlLOBOpen($oid, 'r');
        equal(strlen(stream_get_contents($lob)), 10 << 10);
        fclose($lob);
        $c->commit();
    },
    'pipeline' => function () {
        throw new Skip('it waits for each answer');
    },
];

ini_set('memory_limit', '1G');
$names = array_slice($argv, 1);
$failed = 0;
echo '# PHP ', PHP_VERSION, " PDO\n1..", count($names), "\n";
foreach ($names as $i => $name) {
    $n = $i + 1;
    try {
        $checks[$name]();
        echo "ok $n - $name\n";
    } catch (Skip $e) {
        echo "ok $n - $name # SKIP {$e->getMessage()}\n";
    } catch (Throwable $e) {
        $failed++;
        echo "not ok $n - $name\n";
        fwrite(STDERR, "$e\n");
    }
}
exit($failed ? 1 : 0);
