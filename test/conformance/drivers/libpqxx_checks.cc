// libpqxx: libpq, statements with parameters in the extended protocol, its
// pipeline and transactors in the simple one.
//
// SPDX-License-Identifier: PostgreSQL
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <pqxx/pqxx>
#include <sstream>
#include <thread>

using check = std::function<void()>;

struct skip : std::runtime_error {
	using std::runtime_error::runtime_error;
};

static void
show(std::string s)
{
	std::replace(s.begin(), s.end(), '\n', ' ');
	std::cout << "# " << s.substr(0, 400) << "\n";
}

template <typename A, typename B>
static void
equal(const A &got, const B &want)
{
	std::ostringstream g, w;

	g << got;
	w << want;
	show(g.str());
	if (g.str() != w.str())
		throw std::runtime_error("wanted " + w.str());
}

template <typename F>
static std::string
raises(const char *want, F action)
{
	try {
		action();
	} catch (const pqxx::sql_error &e) {
		equal(e.sqlstate(), want);
		return e.what();
	}
	throw std::runtime_error("no error was raised");
}

static std::unique_ptr<pqxx::connection>
dial(const std::string &name)
{
	return std::make_unique<pqxx::connection>(
	    "application_name='libpqxx " + name + "'");
}

// Rows as (a,b),(c,null).
static std::string
text(const pqxx::result &r)
{
	std::string all;

	for (const auto &row : r) {
		all += all.empty() ? "(" : ",(";
		for (const auto &f : row)
			all += (f.num() ? "," : "") +
			    std::string(f.is_null() ? "null" : f.c_str());
		all += ")";
	}
	return all;
}

// In autocommit.
template <typename... A>
static pqxx::result
run(pqxx::connection &c, const std::string &sql, A... values)
{
	pqxx::nontransaction t(c);

	return t.exec_params(sql, values...);
}

static pqxx::result
simple(pqxx::connection &c, const std::string &sql)
{
	pqxx::nontransaction t(c);

	return t.exec(sql);
}

// Stores v in a row of its own and reads it again.
template <typename T>
static pqxx::result
value(const std::string &column, const T &v)
{
	auto c = dial(column);

	run(*c, "insert into item (id, " + column + ") values (300, $1)", v);
	auto got = run(*c, "select " + column + " from item where id = $1", 300);
	equal(run(*c, "update item set " + column + " = $1 where id = 300",
		  nullptr).affected_rows(), 1);
	equal(text(run(*c, "select " + column + " from item where id = 300")),
	    "(null)");
	run(*c, "delete from item where id = $1", 300);
	return got;
}

static void
check_connect()
{
	auto c = dial("connect");

	equal(text(simple(*c, "show application_name")), "(libpqxx connect)");
	equal(c->get_variable("client_encoding"), "UTF8");
	equal(c->server_version() / 10000, 15);
	equal(run(*c, "select pg_backend_pid()")[0][0].as<int>() ==
	    c->backendpid(), true);
	c->set_client_encoding("LATIN1");
	equal(text(run(*c, "select $1::text = chr(252)", "\xfc")), "(t)");
}

static void
check_crud()
{
	auto c = dial("crud");
	const std::string odd = "O'Neil \\ é €";

	equal(run(*c, "insert into item (id, name, qty) values ($1, $2, $3)",
		  100, odd, 1).affected_rows(), 1);
	equal(run(*c, "insert into item (id, name) values (101, $1), (102, $2)",
		  "b", "c").affected_rows(), 2);
	equal(run(*c, "update item set qty = qty + $1 where id = $2", 5, 100)
		  .affected_rows(), 1);
	equal(simple(*c, "update item set qty = 0 where id = 199")
		  .affected_rows(), 0);
	equal(simple(*c, "delete from item where id = 102").affected_rows(), 1);
	equal(text(run(*c, "select id, name, qty from item where id between $1 "
		  "and $2 order by id", 100, 199)),
	    "(100," + odd + ",6),(101,b,null)");
}

static void
check_returning()
{
	auto c = dial("returning");

	equal(text(run(*c, "insert into item (id, qty) values (200, $1) "
		  "returning id, qty * 2", 7)), "(200,14)");
	equal(text(run(*c, "update item set qty = $1 where id = 200 returning "
		  "qty", 8)), "(8)");
	equal(text(run(*c, "delete from item where id = $1 returning id, qty",
		  200)), "(200,8)");
}

static void
check_null()
{
	auto c = dial("null");

	run(*c, "insert into item (id, name, qty, tags) values (310, $1, $2, "
	    "$3)", nullptr, nullptr, nullptr);
	run(*c, "insert into item (id, name) values (311, $1)", "");
	equal(text(simple(*c, "select name, qty, tags from item where id in "
		  "(310, 311) order by id")), "(null,null,null),(,null,null)");
}

static void
check_numeric()
{
	for (const char *v : { "12345678901234567890.123456789", "-0.00001",
		 "NaN" })
		equal(text(value("price", v)), std::string("(") + v + ")");
}

static void
check_timestamptz()
{
	equal(text(value("made", "2024-02-29 23:59:59.123456+00")),
	    "(2024-02-29 23:59:59.123456+00)");
}

static std::string
bytes(size_t n)
{
	std::string b;

	for (size_t i = 0; i < n; i++)
		b += static_cast<char>(i);
	return b;
}

static void
check_bytea()
{
	auto got = value("data", pqxx::binarystring(bytes(256)));

	equal(pqxx::binarystring(got[0][0]).str() == bytes(256), true);
}

static void
check_jsonb()
{
	const char *d = "{\"a\": [1, null, \"ü\\\"\\\\\"], \"b\": {\"c\": 1.5}}";

	equal(text(value("doc", d)), std::string("(") + d + ")");
}

static void
check_array()
{
	auto got = value("tags", "{a,NULL,\"x,y\",\"\\\"q\\\"\",\"\"}");
	auto parser = got[0][0].as_array();
	std::string all;

	for (auto item = parser.get_next();
	     item.first != pqxx::array_parser::done; item = parser.get_next()) {
		if (item.first == pqxx::array_parser::null_value)
			all += "null;";
		if (item.first == pqxx::array_parser::string_value)
			all += item.second + ";";
	}
	equal(all, "a;null;x,y;\"q\";;");
	equal(text(value("nums", "{1,NULL,-3}")), "({1,NULL,-3})");
}

static void
check_binary()
{
	auto c = dial("binary");

	// binarystring is sent in binary format; results are text.
	run(*c, "insert into item (id, data) values (320, $1)",
	    pqxx::binarystring(std::string("\0\1\xff", 3)));
	equal(text(simple(*c, "select data from item where id = 320")),
	    "(\\x0001ff)");
}

static void
check_prepared()
{
	auto c = dial("prepared");

	c->prepare("put", "insert into item (id, name) values ($1, $2)");
	c->prepare("seek", "select name from item where id = $1");
	for (int i = 400; i < 407; i++) {
		pqxx::nontransaction t(*c);

		equal(t.exec_prepared("put", i, "p" + std::to_string(i))
			  .affected_rows(), 1);
		equal(text(t.exec_prepared("seek", i)),
		    "(p" + std::to_string(i) + ")");
	}
	c->unprepare("put");
	equal(text(simple(*c, "select name from pg_prepared_statements")),
	    "(seek)");
}

static void
check_batch()
{
	auto c = dial("batch");
	auto r = simple(*c, "insert into item (id) values (500), (501); update "
	    "item set qty = 1 where id = 500");

	equal(r.affected_rows(), 1);
	pqxx::perform([&c] {
		pqxx::work w(*c);
		for (int i = 510; i < 520; i++)
			w.exec_params("insert into item (id) values ($1)", i);
		w.commit();
	});
	{
		// Keeps a table of its own, to know what became of it.
		pqxx::robusttransaction<> w(*c);
		w.exec_params("insert into item (id) values ($1)", 520);
		w.commit();
	}
	equal(text(simple(*c, "select count(*) from item where id between 500 "
		  "and 599")), "(13)");
}

static void
check_transaction()
{
	auto c = dial("transaction");
	{
		pqxx::work w(*c);
		w.exec_params("insert into account values (1, $1), (2, $2)",
		    100, 50);
		w.commit();
	}
	{
		pqxx::work w(*c);
		w.exec_params("update account set balance = balance - $1 where "
		    "id = 1", 30);
		w.exec_params("update account set balance = balance + $1 where "
		    "id = 2", 30);
		w.commit();
	}
	{
		pqxx::work w(*c);
		w.exec_params("update account set balance = $1", 0);
		w.exec("delete from account where id = 2");
		w.abort();
	}
	{
		pqxx::work w(*c);
		raises("23514", [&w] { w.exec_params("update account set "
		    "balance = $1", -1); });
		raises("25P02", [&w] { w.exec("select 1"); });
	}
	equal(text(simple(*c, "select * from account order by id")),
	    "(1,70.00),(2,80.00)");
	pqxx::transaction<pqxx::isolation_level::serializable,
	    pqxx::read_only> t(*c);
	raises("25006", [&t] { t.exec("delete from account"); });
}

static void
check_savepoint()
{
	auto c = dial("savepoint");
	pqxx::work w(*c);

	w.exec_params("insert into item (id, qty) values (620, $1)", 1);
	{
		pqxx::subtransaction a(w, "a");
		// Only exec() sends the SAVEPOINT, in this version.
		a.exec("update item set qty = 2 where id = 620");
		raises("23505", [&a] {
			pqxx::subtransaction b(a, "b");
			b.exec("insert into item (id) values (621)");
			b.exec_params("insert into item (id) values ($1)", 621);
		});
		a.exec_params("insert into item (id) values ($1)", 622);
		a.commit();
	}
	{
		pqxx::subtransaction a(w, "a");
		a.exec("delete from item where id = 620");
		a.abort();
	}
	w.commit();
	equal(text(simple(*c, "select id, qty from item where id between 620 "
		  "and 699 order by id")), "(620,2),(622,null)");
}

static void
check_cursor()
{
	auto c = dial("cursor");
	pqxx::work w(*c);
	pqxx::icursorstream in(w, "select i from generate_series(1, 1000) i",
	    "cur", 70);
	pqxx::result part;
	int sum = 0;

	while (in >> part)
		for (const auto &row : part)
			sum += row[0].as<int>();
	equal(sum, 500500);
	pqxx::stateless_cursor<pqxx::cursor_base::read_only,
	    pqxx::cursor_base::owned> back(w, "select i from "
	    "generate_series(1, 100) i", "back", false);
	equal(text(back.retrieve(50, 53)), "(51),(52),(53)");
	equal(back.size(), 100);
}

static void
check_copy_in()
{
	auto c = dial("copy_in");
	{
		pqxx::work w(*c);
		pqxx::stream_to to(w, "line", std::vector<std::string>{ "id",
		    "v" });

		for (int i = 1; i <= 5000; i++)
			to << std::make_tuple(i, "v" + std::to_string(i));
		to.complete();
		w.commit();
	}
	equal(text(simple(*c, "select count(*), max(v) from line where id < "
		  "6000")), "(5000,v999)");
}

static void
check_copy_out()
{
	auto c = dial("copy_out");
	pqxx::work w(*c);
	long sum = 0, n = 0;

	w.exec("create temp table out as select i from generate_series(1, "
	    "100000) i");
	pqxx::stream_from from(w, "out", std::vector<std::string>{ "i" });
	for (std::string line; from.get_raw_line(line); n++)
		sum += std::stol(line);
	from.complete();
	equal(n, 100000);
	equal(sum, 5000050000);
}

static void
check_copy_fail()
{
	auto c = dial("copy_fail");

	try {
		pqxx::work w(*c);
		pqxx::stream_to to(w, "line", std::vector<std::string>{ "id",
		    "v" });
		to << std::make_tuple(7001, "a") << std::make_tuple("seven",
		    "b");
		to.complete();
		w.commit();
		throw std::logic_error("no error was raised");
	} catch (const pqxx::failure &e) {
		show(e.what());
	}
	try {
		pqxx::work w(*c);
		pqxx::stream_to to(w, "line", std::vector<std::string>{ "id",
		    "v" });
		for (int i = 0; i < 3000; i++)
			to << std::make_tuple(7001, "a");
		to.complete();
		w.commit();
		throw std::logic_error("no error was raised");
	} catch (const pqxx::failure &e) {
		show(e.what());
	}
	equal(text(simple(*c, "select count(*) from line where id between 7000 "
		  "and 7999")), "(0)");
}

struct receiver : pqxx::notification_receiver {
	std::string got;

	receiver(pqxx::connection &c) : notification_receiver(c, "tidings") {}
	void operator()(const std::string &payload, int) override
	{
		got += payload + ";";
	}
};

static void
check_notify()
{
	auto c = dial("notify"), d = dial("notify other");
	receiver r(*c);

	run(*d, "select pg_notify('tidings', $1)", "while idle");
	equal(c->await_notification(30, 0), 1);
	equal(r.got, "while idle;");
	simple(*c, "notify tidings, 'to self'");
	c->get_notifs();
	equal(r.got, "while idle;to self;");
}

struct collector : pqxx::errorhandler {
	std::string got;

	collector(pqxx::connection &c) : errorhandler(c) {}
	bool operator()(const char s[]) noexcept override
	{
		got += s;
		return false;
	}
};

static void
check_notice()
{
	auto c = dial("notice");
	collector notices(*c);

	run(*c, "select give_notice($1), give_notice($2)", "one", "two");
	equal(notices.got == "NOTICE:  notice: one\nNOTICE:  notice: two\n",
	    true);
}

static void
check_cancel()
{
	auto c = dial("cancel"), d = dial("cancel watcher");

	simple(*c, "insert into item (id, qty) values (800, 0)");
	for (const char *sql : { "select pg_sleep($1)", "update item set qty = "
		 "1 where id = 800 and pg_sleep($1) is not null" }) {
		std::thread other([&] {
			auto end = std::chrono::steady_clock::now() +
			    std::chrono::seconds(30);
			while (text(simple(*d, "select count(*) from "
				   "pg_stat_activity where wait_event = "
				   "'PgSleep' and application_name = "
				   "'libpqxx cancel'")) != "(1)" &&
			    std::chrono::steady_clock::now() < end)
				std::this_thread::sleep_for(
				    std::chrono::milliseconds(20));
			c->cancel_query();
		});
		try {
			raises("57014", [&] { run(*c, sql, 60); });
		} catch (...) {
			other.join();
			throw;
		}
		other.join();
	}
	equal(text(simple(*c, "select qty from item where id = 800")), "(0)");
}

static void
check_error()
{
	auto c = dial("error");

	show(raises("42601", [&] { run(*c, "select id form item wehre"); }));
	try {
		simple(*c, "select id form item wehre");
	} catch (const pqxx::syntax_error &e) {
		equal(e.error_position, 16);
	}
	show(raises("42703", [&] { run(*c, "update item set nane = $1", 1); }));
	show(raises("42883", [&] { run(*c, "insert into item (id, qty) values "
	    "(810, nosuch($1))", 5); }));
	run(*c, "insert into item (id) values ($1)", 810);
	show(raises("23505", [&] { run(*c, "insert into item values ($1)",
	    810); }));
	raises("22012", [&] { run(*c, "update item set qty = 1 / (id - 810) "
	    "where id = $1", 810); });
	raises("22P02", [&] { run(*c, "update item set qty = $1 where id = "
	    "810", "many"); });
	raises("42P01", [&] { simple(*c, "delete from absent"); });
	equal(text(simple(*c, "select count(*) from item where id = 810")),
	    "(1)");
}

static void
check_large()
{
	auto c = dial("large");
	std::string t, b = bytes(10 << 20);

	for (int i = 0; i < 6 << 20; i++)
		t += "é";
	run(*c, "insert into blob values (1, $1, $2)", t,
	    pqxx::binarystring(b));
	auto r = simple(*c, "select t, b from blob where id = 1");
	equal(r[0][0].c_str() == t, true);
	equal(pqxx::binarystring(r[0][1]).str() == b, true);
	equal(run(*c, "update blob set t = t || $1 where id = 1", "x")
		  .affected_rows(), 1);
	equal(text(simple(*c, "select length(t), length(b) from blob where id "
		  "= 1")), "(6291457,10485760)");
	// A large object, by the function calls of the protocol.
	pqxx::work w(*c);
	pqxx::largeobject lo(w);
	{
		pqxx::olostream to(w, lo);
		to << std::string(10240, 'z');
	}
	pqxx::largeobjectaccess from(w, lo, std::ios::in);
	std::string got(10240, 0);
	equal(from.read(&got[0], 10240), 10240);
	equal(got == std::string(10240, 'z'), true);
	w.commit();
}

static void
check_pipeline()
{
	auto c = dial("pipeline");
	{
		// Many statements in one message.
		pqxx::work w(*c);
		pqxx::pipeline p(w);
		long n = 0;

		p.retain(300);
		for (int i = 8001; i <= 8300; i++)
			p.insert("insert into line values (" +
			    std::to_string(i) + ", 'p')");
		p.complete();
		while (!p.empty())
			n += p.retrieve().second.affected_rows();
		equal(n, 300);
		w.commit();
	}
	equal(text(simple(*c, "select count(*) from line where id between 8000 "
		  "and 8999")), "(300)");
}

int
main(int argc, char **argv)
{
	const std::map<std::string, check> checks = {
		{ "connect", check_connect }, { "crud", check_crud },
		{ "returning", check_returning }, { "null", check_null },
		{ "numeric", check_numeric },
		{ "timestamptz", check_timestamptz }, { "bytea", check_bytea },
		{ "jsonb", check_jsonb }, { "array", check_array },
		{ "binary", check_binary }, { "prepared", check_prepared },
		{ "batch", check_batch }, { "transaction", check_transaction },
		{ "savepoint", check_savepoint }, { "cursor", check_cursor },
		{ "copy_in", check_copy_in }, { "copy_out", check_copy_out },
		{ "copy_fail", check_copy_fail }, { "notify", check_notify },
		{ "notice", check_notice }, { "cancel", check_cancel },
		{ "error", check_error }, { "large", check_large },
		{ "pipeline", check_pipeline },
	};
	int failed = 0;

	std::cout << std::boolalpha << std::unitbuf << "# libpqxx "
		  << PQXX_VERSION << "\n1.." << argc - 1 << "\n";
	for (int n = 1; n < argc; n++) {
		std::string name = argv[n];

		try {
			checks.at(name)();
			std::cout << "ok " << n << " - " << name << "\n";
		} catch (const std::exception &e) {
			failed++;
			std::cout << "not ok " << n << " - " << name << "\n";
			std::cerr << name << ": " << e.what() << "\n";
		}
	}
	return failed ? 1 : 0;
}
