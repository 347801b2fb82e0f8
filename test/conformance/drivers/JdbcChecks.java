// JDBC: pgjdbc's own protocol code: unnamed, then named statements in the
// extended protocol, binary transfer, portals by the fetch size, batches.
//
// SPDX-License-Identifier: PostgreSQL
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

public class JdbcChecks {
    static final List<Connection> open = new ArrayList<>();

    static class Failure extends Exception {
        static final long serialVersionUID = 1;

        Failure(String s) { super(s); }
    }

    static String text(Object o) {
        if (o instanceof Object[])
            return Arrays.deepToString((Object[]) o);
        if (o instanceof byte[])
            return Arrays.toString((byte[]) o);
        return String.valueOf(o);
    }

    static void show(Object o) {
        String s = text(o).replace('\n', ' ');
        System.out.println("# " + s.substring(0, Math.min(s.length(), 400)));
    }

    static void equal(Object got, Object want) throws Failure {
        show(got);
        if (!text(got).equals(text(want)))
            throw new Failure("wanted " + text(want));
    }

    interface Action {
        void run() throws Exception;
    }

    static SQLException raises(String want, Action action) throws Exception {
        try {
            action.run();
        } catch (SQLException e) {
            equal(e.getSQLState(), want);
            return e;
        }
        throw new Failure("no error was raised");
    }

    static void waitUntil(String what, Callable<Boolean> condition)
            throws Exception {
        long end = System.nanoTime() + 30_000_000_000L;
        while (!condition.call()) {
            if (System.nanoTime() > end)
                throw new Failure("gave up waiting for " + what);
            Thread.sleep(20);
        }
    }

    static Connection connect(String name, String... options) throws Exception {
        Properties p = new Properties();
        p.setProperty("user", System.getenv("PGUSER"));
        p.setProperty("ApplicationName", "jdbc " + name);
        p.setProperty("sslmode", System.getenv("PGSSLMODE"));
        for (String o : options) {
            String[] kv = o.split("=");
            p.setProperty(kv[0], kv[1]);
        }
        Connection c = DriverManager.getConnection("jdbc:postgresql://"
            + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
            + System.getenv("PGDATABASE"), p);
        open.add(c);
        return c;
    }

    static PreparedStatement bind(Connection c, String sql, Object... values)
            throws SQLException {
        PreparedStatement s = c.prepareStatement(sql);
        for (int i = 0; i < values.length; i++)
            s.setObject(i + 1, values[i]);
        return s;
    }

    static List<List<Object>> rows(ResultSet r) throws SQLException {
        List<List<Object>> all = new ArrayList<>();
        while (r.next()) {
            List<Object> row = new ArrayList<>();
            for (int i = 1; i <= r.getMetaData().getColumnCount(); i++)
                row.add(r.getObject(i));
            all.add(row);
        }
        return all;
    }

    static List<List<Object>> rows(Connection c, String sql, Object... values)
            throws SQLException {
        try (PreparedStatement s = bind(c, sql, values)) {
            return rows(s.executeQuery());
        }
    }

    static int changed(Connection c, String sql, Object... values)
            throws SQLException {
        try (PreparedStatement s = bind(c, sql, values)) {
            return s.executeUpdate();
        }
    }

    // Stores v in a row of its own and reads it again.
    static Object value(String column, Object v, Class<?> type, String cast)
            throws Exception {
        Connection c = connect(column);
        changed(c, "insert into item (id, " + column + ") values (300, ?"
            + cast + ")", v);
        PreparedStatement s = bind(c, "select " + column + " from item where "
            + "id = ?", 300);
        ResultSet r = s.executeQuery();
        r.next();
        Object got = type == null ? r.getObject(1) : r.getObject(1, type);
        equal(changed(c, "update item set " + column + " = null where id = "
            + "300"), 1);
        equal(rows(c, "select " + column + " from item where id = 300"),
            "[[null]]");
        changed(c, "delete from item where id = ?", 300);
        return got;
    }

    static void connect() throws Exception {
        Connection c = connect("connect");
        equal(rows(c, "show application_name"), "[[jdbc connect]]");
        equal(rows(c, "show client_encoding"), "[[UTF8]]");
        equal(rows(c, "select pg_backend_pid()").get(0).get(0).equals(
            c.unwrap(PGConnection.class).getBackendPID()), true);
        equal(c.getMetaData().getDatabaseMajorVersion(), 15);
        equal(c.isValid(5), true);
        c.setClientInfo("ApplicationName", "jdbc connected");
        equal(rows(c, "show application_name"), "[[jdbc connected]]");
        equal(rows(c.getMetaData().getPrimaryKeys(null, "public", "item"))
            .get(0).get(3), "id");
    }

    static void crud() throws Exception {
        Connection c = connect("crud");
        String odd = "O'Neil \\ é €";
        equal(changed(c, "insert into item (id, name, qty) values (?, ?, ?)",
            100, odd, 1), 1);
        equal(changed(c, "insert into item (id, name) values (101, ?), "
            + "(102, ?)", "b", "c"), 2);
        equal(changed(c, "update item set qty = qty + ? where id = ?", 5, 100),
            1);
        try (Statement s = c.createStatement()) {
            equal(s.executeUpdate("update item set qty = 0 where id = 199"), 0);
            equal(s.executeUpdate("delete from item where id = 102"), 1);
        }
        equal(rows(c, "select id, name, qty from item where id between ? and "
            + "? order by id", 100, 199), "[[100, " + odd + ", 6], "
            + "[101, b, null]]");
    }

    static void returning() throws Exception {
        Connection c = connect("returning");
        equal(rows(c, "insert into item (id, qty) values (200, ?) returning "
            + "id, qty * 2", 7), "[[200, 14]]");
        PreparedStatement s = c.prepareStatement("insert into item (id, qty) "
            + "values (?, 1)", Statement.RETURN_GENERATED_KEYS);
        s.setInt(1, 201);
        equal(s.executeUpdate(), 1);
        equal(rows(s.getGeneratedKeys()).get(0).subList(0, 3),
            "[201, null, 1]");
        equal(rows(c, "delete from item where id in (?, ?) returning id", 200,
            201), "[[200], [201]]");
    }

    static void nulls() throws Exception {
        Connection c = connect("null");
        PreparedStatement s = c.prepareStatement("insert into item (id, name, "
            + "qty, tags) values (310, ?, ?, ?)");
        s.setNull(1, Types.VARCHAR);
        s.setNull(2, Types.INTEGER);
        s.setNull(3, Types.ARRAY);
        equal(s.executeUpdate(), 1);
        changed(c, "insert into item (id, name) values (311, ?)", "");
        equal(rows(c, "select name, qty, tags from item where id in (310, "
            + "311) order by id"), "[[null, null, null], [, null, null]]");
    }

    static void numeric() throws Exception {
        for (String v : new String[] {"12345678901234567890.123456789",
                "-0.00001", "1E+30"})
            equal(((BigDecimal) value("price", new BigDecimal(v),
                BigDecimal.class, "")).compareTo(new BigDecimal(v)), 0);
    }

    static void timestamptz() throws Exception {
        OffsetDateTime t = OffsetDateTime.of(2024, 2, 29, 23, 59, 59,
            123456000, ZoneOffset.UTC);
        equal(value("made", t, OffsetDateTime.class, ""), t);
    }

    static byte[] bytes(int n) {
        byte[] b = new byte[n];
        for (int i = 0; i < n; i++)
            b[i] = (byte) i;
        return b;
    }

    static void bytea() throws Exception {
        equal(value("data", bytes(256), null, ""), bytes(256));
    }

    static void jsonb() throws Exception {
        PGobject o = new PGobject();
        o.setType("jsonb");
        o.setValue("{\"a\": [1, null, \"ü\\\"\\\\\"], \"b\": {\"c\": 1.5}}");
        equal(value("doc", o, null, ""), o);
        equal(value("doc", "{\"x\": 1}", null, "::jsonb"),
            "{\"x\": 1}");
    }

    static void array() throws Exception {
        Object[] tags = {"a", null, "x,y", "\"q\"", ""};
        Connection c = connect("array");
        equal(((Array) value("tags", c.createArrayOf("text", tags),
            Array.class, "")).getArray(), tags);
        equal(((Array) value("nums", c.createArrayOf("int4", new Integer[] {1,
            null, -3}), Array.class, "")).getArray(), "[1, null, -3]");
    }

    static void binary() throws Exception {
        // From the first execution on: named statements, binary results.
        Connection c = connect("binary", "prepareThreshold=-1");
        OffsetDateTime t = OffsetDateTime.of(2024, 2, 29, 12, 0, 0, 5000,
            ZoneOffset.UTC);
        equal(changed(c, "insert into item (id, qty, made, data, nums, ok, "
            + "big, ratio, price) values (?, ?, ?, ?, ?, ?, ?, ?, ?)", 320,
            -5, t, new byte[] {0, 1, -1}, c.createArrayOf("int4",
            new Integer[] {1, 2}), true, 1L << 60, 0.1,
            new BigDecimal("1.50")), 1);
        for (int i = 0; i < 2; i++) {
            PreparedStatement s = bind(c, "select qty, made, data, nums, ok, "
                + "big, ratio, price from item where id = ?", 320);
            ResultSet r = s.executeQuery();
            r.next();
            equal(new Object[] {r.getInt(1), r.getObject(2,
                OffsetDateTime.class), r.getBytes(3), r.getArray(4).getArray(),
                r.getBoolean(5), r.getLong(6), r.getDouble(7),
                r.getBigDecimal(8)}, "[-5, 2024-02-29T12:00:00.000005Z, "
                + "[0, 1, -1], [1, 2], true, 1152921504606846976, 0.1, 1.50]");
        }
    }

    static void prepared() throws Exception {
        Connection c = connect("prepared", "prepareThreshold=3",
            "preparedStatementCacheQueries=2");
        PreparedStatement put = c.prepareStatement("insert into item (id, "
            + "name) values (?, ?)");
        PreparedStatement seek = c.prepareStatement("select name from item "
            + "where id = ?");
        for (int i = 400; i < 410; i++) {
            put.setInt(1, i);
            put.setString(2, "p" + i);
            equal(put.executeUpdate(), 1);
            seek.setInt(1, i);
            equal(rows(seek.executeQuery()), "[[p" + i + "]]");
        }
        equal(put.unwrap(PGStatement.class).isUseServerPrepare(), true);
        equal(put.getParameterMetaData().getParameterType(1), Types.INTEGER);
        equal(rows(c, "select count(*) from pg_prepared_statements"), "[[2]]");
        put.close();
        // Another type of parameter: it is prepared again.
        for (int i = 0; i < 4; i++) {
            equal(changed(c, "update item set ratio = ? where id = ?", 1, 400),
                1);
            equal(changed(c, "update item set ratio = ? where id = ?", 2.5,
                400), 1);
        }
        try (Statement s = c.createStatement()) {
            s.execute("deallocate all");
            seek.setInt(1, 400);
            equal(rows(seek.executeQuery()), "[[p400]]");
            s.execute("discard all");
        }
        equal(rows(seek.executeQuery()), "[[p400]]");
    }

    static void batch() throws Exception {
        Connection c = connect("batch");
        PreparedStatement s = c.prepareStatement("insert into item (id, qty) "
            + "values (?, ?)");
        for (int i = 500; i < 600; i++) {
            s.setInt(1, i);
            s.setInt(2, i);
            s.addBatch();
        }
        equal(Arrays.stream(s.executeBatch()).sum(), 100);
        for (int i : new int[] {610, 500, 611}) {
            s.setInt(1, i);
            s.setInt(2, i);
            s.addBatch();
        }
        try {
            s.executeBatch();
            throw new Failure("no error");
        } catch (BatchUpdateException e) {
            equal(e.getSQLState(), "23505");
            show(Arrays.toString(e.getUpdateCounts()));
        }
        c.setAutoCommit(false);
        Statement mixed = c.createStatement();
        mixed.addBatch("update item set qty = 1 where id = 500");
        mixed.addBatch("delete from item where id = 501");
        equal(Arrays.toString(mixed.executeBatch()), "[1, 1]");
        c.commit();
        Connection d = connect("batch", "reWriteBatchedInserts=true");
        s = d.prepareStatement("insert into item (id, qty) values (?, ?)");
        for (int i = 700; i < 770; i++) {
            s.setInt(1, i);
            s.setInt(2, i);
            s.addBatch();
        }
        show(Arrays.toString(s.executeBatch()));
        equal(rows(c, "select count(*) from item where id between 500 and "
            + "799"), "[[169]]");
    }

    static void transaction() throws Exception {
        Connection c = connect("transaction");
        c.setAutoCommit(false);
        changed(c, "insert into account values (1, ?), (2, ?)", 100, 50);
        c.commit();
        changed(c, "update account set balance = balance - ? where id = 1", 30);
        changed(c, "update account set balance = balance + ? where id = 2", 30);
        c.commit();
        changed(c, "update account set balance = ?", 0);
        changed(c, "delete from account where id = 2");
        c.rollback();
        raises("23514", () -> changed(c, "update account set balance = ?",
            -1));
        raises("25P02", () -> rows(c, "select 1"));
        c.rollback();
        equal(rows(c, "select * from account order by id"),
            "[[1, 70.00], [2, 80.00]]");
        c.rollback();
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        c.setReadOnly(true);
        raises("25006", () -> changed(c, "delete from account"));
        c.rollback();
    }

    static void savepoint() throws Exception {
        Connection c = connect("savepoint");
        c.setAutoCommit(false);
        changed(c, "insert into item (id, qty) values (620, ?)", 1);
        Savepoint a = c.setSavepoint("a");
        changed(c, "update item set qty = ? where id = 620", 2);
        Savepoint b = c.setSavepoint();
        changed(c, "insert into item (id) values (621)");
        raises("23505", () -> changed(c, "insert into item (id) values (?)",
            621));
        c.rollback(b);
        changed(c, "insert into item (id) values (?)", 622);
        c.releaseSavepoint(a);
        a = c.setSavepoint("a");
        changed(c, "delete from item where id = ?", 620);
        c.rollback(a);
        c.commit();
        Connection d = connect("savepoint", "autosave=always");
        d.setAutoCommit(false);
        changed(d, "update item set qty = 3 where id = ?", 622);
        raises("22012", () -> changed(d, "update item set qty = 1 / ?", 0));
        changed(d, "update item set qty = qty + 1 where id = ?", 622);
        d.commit();
        equal(rows(d, "select id, qty from item where id between 620 and 629 "
            + "order by id"), "[[620, 2], [622, 4]]");
        d.commit();
    }

    static void cursor() throws Exception {
        Connection c = connect("cursor");
        c.setAutoCommit(false);
        PreparedStatement s = bind(c, "select i from generate_series(1, ?) i",
            1000);
        s.setFetchSize(70);
        ResultSet r = s.executeQuery();
        int sum = 0;
        while (r.next()) {
            sum += r.getInt(1);
            if (r.getInt(1) == 500)
                changed(c, "insert into line values (9000, ?)", "between");
        }
        equal(sum, 500500);
        c.commit();
        Statement u = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE,
            ResultSet.CONCUR_UPDATABLE);
        r = u.executeQuery("select id, v from line where id = 9000");
        r.next();
        r.updateString(2, "by the result set");
        r.updateRow();
        c.commit();
        equal(rows(c, "select v from line where id = 9000"),
            "[[by the result set]]");
    }

    static CopyManager copies(Connection c) throws SQLException {
        return c.unwrap(PGConnection.class).getCopyAPI();
    }

    static void copyIn() throws Exception {
        Connection c = connect("copy_in");
        StringBuilder b = new StringBuilder();
        for (int i = 1; i <= 5000; i++)
            b.append(i).append("\tv").append(i).append("\t\\N\n");
        equal(copies(c).copyIn("copy line from stdin",
            new StringReader(b.toString())), 5000);
        equal(rows(c, "select count(*), max(v) from line where id < 6000"),
            "[[5000, v999]]");
    }

    static void copyOut() throws Exception {
        Connection c = connect("copy_out");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        equal(copies(c).copyOut("copy (select i, null, repeat('x', 3) from "
            + "generate_series(1, 100000) i) to stdout csv", out), 100000);
        equal(out.size(), 1088895);
    }

    static void copyFail() throws Exception {
        Connection c = connect("copy_fail");
        String copy = "copy line from stdin";
        SQLException e = raises("22P02", () -> copies(c).copyIn(copy,
            new StringReader("7001\ta\t1\nseven\tb\t2\n")));
        equal(((PSQLException) e).getServerErrorMessage().getWhere(),
            "COPY line, line 2, column id: \"seven\"");
        raises("23505", () -> copies(c).copyIn(copy,
            new StringReader("7001\ta\t1\n".repeat(3000))));
        CopyIn in = copies(c).copyIn(copy);
        byte[] line = "7001\ta\t1\n".getBytes();
        in.writeToCopy(line, 0, line.length);
        in.cancelCopy();
        equal(rows(c, "select count(*) from line where id between 7000 and "
            + "7999"), "[[0]]");
    }

    static void notifications() throws Exception {
        Connection c = connect("notify"), d = connect("notify other");
        PGConnection p = c.unwrap(PGConnection.class);
        changed(c, "listen tidings");
        rows(d, "select pg_notify('tidings', ?)", "while idle");
        PGNotification[] n = p.getNotifications(30000);
        equal(n[0].getName() + " " + n[0].getParameter(),
            "tidings while idle");
        changed(c, "notify tidings, 'to self'");
        n = p.getNotifications(30000);
        equal(n[0].getParameter(), "to self");
    }

    static void notice() throws Exception {
        Connection c = connect("notice");
        PreparedStatement s = bind(c, "select give_notice(?), give_notice(?)",
            "one", "two");
        s.executeQuery();
        SQLWarning w = s.getWarnings();
        equal(w.getMessage() + ", " + w.getNextWarning().getMessage(),
            "notice: one, notice: two");
    }

    static void cancel() throws Exception {
        Connection c = connect("cancel"), d = connect("cancel watcher");
        changed(c, "insert into item (id, qty) values (800, 0)");
        for (String sql : new String[] {"select pg_sleep(?)", "update item "
                + "set qty = 1 where id = 800 and pg_sleep(?) is not null"}) {
            PreparedStatement s = bind(c, sql, 60.0);
            Thread t = new Thread(() -> {
                try {
                    waitUntil("the statement to run", () -> rows(d, "select "
                        + "count(*) from pg_stat_activity where wait_event = "
                        + "'PgSleep' and application_name = 'jdbc cancel'")
                        .toString().equals("[[1]]"));
                    s.cancel();
                } catch (Exception e) {
                    e.printStackTrace();
                }
            });
            t.start();
            raises("57014", () -> s.execute());
            t.join();
        }
        PreparedStatement s = bind(c, "select pg_sleep(?)", 60.0);
        s.setQueryTimeout(1);
        raises("57014", () -> s.execute());
        equal(rows(c, "select qty from item where id = 800"), "[[0]]");
    }

    static void error() throws Exception {
        Connection c = connect("error");
        SQLException e = raises("42601", () -> rows(c, "select id form item "
            + "wehre"));
        equal(((PSQLException) e).getServerErrorMessage().getPosition(), 16);
        e = raises("42703", () -> changed(c, "update item set nane = ?", 1));
        equal(((PSQLException) e).getServerErrorMessage().getPosition(), 17);
        e = raises("42883", () -> changed(c, "insert into item (id, qty) "
            + "values (810, nosuch(?))", 5));
        equal(((PSQLException) e).getServerErrorMessage().getPosition(), 41);
        changed(c, "insert into item (id) values (?)", 810);
        e = raises("23505", () -> changed(c, "insert into item values (?)",
            810));
        equal(((PSQLException) e).getServerErrorMessage().getConstraint(),
            "item_pkey");
        raises("22012", () -> changed(c, "update item set qty = 1 / (id - "
            + "810) where id = ?", 810));
        raises("42804", () -> changed(c, "update item set qty = ? where id = "
            + "810", "many"));
        raises("42P01", () -> changed(c, "delete from absent"));
        equal(rows(c, "select count(*) from item where id = 810"), "[[1]]");
    }

    static void large() throws Exception {
        Connection c = connect("large");
        String t = "é".repeat(6 << 20);
        byte[] b = bytes(10 << 20);
        equal(changed(c, "insert into blob values (1, ?, ?)", t, b), 1);
        List<Object> row = rows(c, "select t, b from blob where id = 1")
            .get(0);
        equal(row.get(0).equals(t), true);
        equal(Arrays.equals((byte[]) row.get(1), b), true);
        equal(changed(c, "update blob set t = t || ? where id = 1", "x"), 1);
        equal(rows(c, "select length(t), length(b) from blob where id = 1"),
            "[[6291457, 10485760]]");
        // A large object, by the function calls of the protocol.
        c.setAutoCommit(false);
        LargeObjectManager m = c.unwrap(PGConnection.class)
            .getLargeObjectAPI();
        long oid = m.createLO();
        LargeObject o = m.open(oid);
        o.write(bytes(10240));
        o.seek(0);
        equal(Arrays.equals(o.read(10240), bytes(10240)), true);
        o.close();
        c.commit();
    }

    static void pipeline() throws Exception {
        // A batch is sent before its answers are read.
        Connection c = connect("pipeline");
        PreparedStatement s = c.prepareStatement("insert into line values "
            + "(?, ?)");
        for (int i = 8001; i <= 8800; i++) {
            s.setInt(1, i);
            s.setString(2, "p".repeat(2000));
            s.addBatch();
        }
        equal(Arrays.stream(s.executeBatch()).sum(), 800);
        Statement many = c.createStatement();
        many.execute("update line set v = 'q' where id = 8001; update line "
            + "set v = 'r' where id = 8002; select v from line where id in "
            + "(8001, 8002) order by id");
        equal(many.getUpdateCount(), 1);
        equal(many.getMoreResults(), false);
        equal(many.getMoreResults(), true);
        equal(rows(many.getResultSet()), "[[q], [r]]");
        equal(rows(c, "select count(*) from line where id between 8000 and "
            + "8999"), "[[800]]");
    }

    static void run(String name) throws Exception {
        switch (name) {
        case "connect": connect(); break;
        case "crud": crud(); break;
        case "returning": returning(); break;
        case "null": nulls(); break;
        case "numeric": numeric(); break;
        case "timestamptz": timestamptz(); break;
        case "bytea": bytea(); break;
        case "jsonb": jsonb(); break;
        case "array": array(); break;
        case "binary": binary(); break;
        case "prepared": prepared(); break;
        case "batch": batch(); break;
        case "transaction": transaction(); break;
        case "savepoint": savepoint(); break;
        case "cursor": cursor(); break;
        case "copy_in": copyIn(); break;
        case "copy_out": copyOut(); break;
        case "copy_fail": copyFail(); break;
        case "notify": notifications(); break;
        case "notice": notice(); break;
        case "cancel": cancel(); break;
        case "error": error(); break;
        case "large": large(); break;
        case "pipeline": pipeline(); break;
        default: throw new Failure("no such check");
        }
    }

    public static void main(String[] names) {
        int n = 0, failed = 0;
        System.out.println("# JDBC "
            + org.postgresql.util.DriverInfo.DRIVER_VERSION);
        System.out.println("1.." + names.length);
        for (String name : names) {
            n++;
            try {
                run(name);
                System.out.println("ok " + n + " - " + name);
            } catch (Exception e) {
                failed++;
                System.out.println("not ok " + n + " - " + name);
                e.printStackTrace();
            }
            for (Connection c : open) {
                try {
                    c.close();
                } catch (SQLException e) {
                    System.out.println("# close: " + e.getSQLState());
                }
            }
            open.clear();
        }
        System.exit(failed == 0 ? 0 : 1);
    }
}
