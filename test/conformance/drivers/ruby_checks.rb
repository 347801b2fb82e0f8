# ruby pg: libpq, the extended protocol, type maps with binary coders,
# pipeline mode.
#
# SPDX-License-Identifier: PostgreSQL
require 'pg'
require 'json'
require 'bigdecimal'

class Skip < StandardError; end

# BasicTypeMapForQueries would take a Hash for JSON.
BYTEA = PG::BasicTypeMapForQueries::BinaryData

def show(*values)
  puts '# ' + values.map { |v| v.inspect[0, 400] }.join(' ')
end

def equal(got, want)
  show(got)
  raise "wanted #{want.inspect[0, 200]}" if got != want
end

def raises(want)
  yield
rescue PG::Error => e
  equal(e.result.error_field(PG::PG_DIAG_SQLSTATE), want)
  e
else
  raise 'no error was raised'
end

def wait_until(what)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 30
  until yield
    raise "gave up waiting for #{what}" if
      Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.02
  end
end

def connect(name)
  c = PG.connect(application_name: "ruby #{name}")
  ($open ||= []) << c
  results = PG::BasicTypeMapForResults.new(c)
  results.add_coder(PG::TextDecoder::String.new(oid: 2278, name: 'void'))
  c.type_map_for_results = results
  c.type_map_for_queries = PG::BasicTypeMapForQueries.new(c)
  c
end

def rows(c, sql, *values, format: 0)
  c.exec_params(sql, values, format).values
end

def changed(c, sql, *values)
  c.exec_params(sql, values).cmd_tuples
end

# Stores v in a row of its own and reads it again.
def value(column, v, format: 0)
  c = connect(column)
  changed(c, "insert into item (id, #{column}) values (300, $1)", v)
  got = rows(c, "select #{column} from item where id = $1", 300,
             format: format)[0][0]
  equal(changed(c, "update item set #{column} = $1 where id = 300", nil), 1)
  equal(rows(c, "select #{column} from item where id = 300"), [[nil]])
  changed(c, 'delete from item where id = $1', 300)
  got
end

CHECKS = {
  'connect' => lambda {
    c = connect('connect')
    equal(rows(c, 'show application_name'), [['ruby connect']])
    equal(c.parameter_status('TimeZone'), 'UTC')
    equal(c.internal_encoding.to_s, 'UTF-8')
    equal(rows(c, 'select pg_backend_pid()')[0][0] == c.backend_pid, true)
    equal(PG::Connection.ping(host: c.host, port: c.port), PG::PQPING_OK)
    c.set_client_encoding('LATIN1')
    equal(rows(c, 'select $1::text', 'grün')[0][0].encode('UTF-8'), 'grün')
    c.reset
    equal(rows(c, 'show client_encoding'), [['UTF8']])
  },
  'crud' => lambda {
    c = connect('crud')
    odd = "O'Neil \\ é €"
    equal(changed(c, 'insert into item (id, name, qty) values ($1, $2, $3)',
                  100, odd, 1), 1)
    equal(changed(c, 'insert into item (id, name) values (101, $1), ' \
                  '(102, $2)', 'b', 'c'), 2)
    equal(changed(c, 'update item set qty = qty + $1 where id = $2', 5, 100),
          1)
    equal(c.exec('update item set qty = 0 where id = 199').cmd_tuples, 0)
    equal(c.exec('delete from item where id = 102').cmd_status, 'DELETE 1')
    equal(rows(c, 'select id, name, qty from item where id between $1 and ' \
               '$2 order by id', 100, 199), [[100, odd, 6], [101, 'b', nil]])
  },
  'returning' => lambda {
    c = connect('returning')
    equal(rows(c, 'insert into item (id, qty) values (200, $1) returning id,' \
               ' qty * 2', 7), [[200, 14]])
    equal(rows(c, 'update item set qty = $1 where id = 200 returning qty', 8),
          [[8]])
    equal(rows(c, 'delete from item where id = $1 returning *', 200)[0][0, 3],
          [200, nil, 8])
  },
  'null' => lambda {
    c = connect('null')
    changed(c, 'insert into item (id, name, qty, tags) values (310, $1, $2, ' \
            '$3)', nil, nil, nil)
    changed(c, 'insert into item (id, name) values (311, $1)', '')
    equal(rows(c, 'select name, qty, tags from item where id in (310, 311) ' \
               'order by id'), [[nil, nil, nil], ['', nil, nil]])
  },
  'numeric' => lambda {
    ['12345678901234567890.123456789', '-0.00001', '1e30'].each do |v|
      equal(value('price', BigDecimal(v)), BigDecimal(v))
    end
  },
  'timestamptz' => lambda {
    t = Time.utc(2024, 2, 29, 23, 59, 59, 123456)
    equal(value('made', t).utc, t)
    equal(value('made', t, format: 1).utc, t)
  },
  'bytea' => lambda {
    b = (0..255).to_a.pack('C*')
    [0, 1].each do |format|
      equal(value('data', BYTEA.new(b), format: format) == b, true)
    end
  },
  'jsonb' => lambda {
    d = { 'a' => [1, nil, "ü\"\\"], 'b' => { 'c' => 1.5 } }
    equal(value('doc', d), d)
  },
  'array' => lambda {
    tags = ['a', nil, 'x,y', '"q"', '']
    equal(value('tags', tags), tags)
    equal(value('nums', [1, nil, -3]), [1, nil, -3])
  },
  'binary' => lambda {
    c = connect('binary')
    c.type_map_for_queries = PG::TypeMapAllStrings.new
    put = 'insert into item (id, qty, big, ok, ratio, data) values ' \
          '($1, $2, $3, $4, $5, $6)'
    c.exec_params(put, [
      { value: [320].pack('N'), type: 23, format: 1 },
      { value: [-5].pack('l>'), type: 23, format: 1 },
      { value: [1 << 60].pack('q>'), type: 20, format: 1 },
      { value: "\1", type: 16, format: 1 },
      { value: [0.1].pack('G'), type: 701, format: 1 },
      { value: "\0\1\xff".b, type: 17, format: 1 }
    ])
    equal(rows(c, 'select id, qty, big, ok, ratio, data from item where id ' \
               '= $1', 320, format: 1),
          [[320, -5, 1 << 60, true, 0.1, "\0\1\xff".b]])
  },
  'prepared' => lambda {
    c = connect('prepared')
    c.prepare('put', 'insert into item (id, name) values ($1, $2)')
    c.prepare('seek', 'select name from item where id = $1', [23])
    (400..406).each do |i|
      equal(c.exec_prepared('put', [i, "p#{i}"]).cmd_tuples, 1)
      equal(c.exec_prepared('seek', [i]).values, [["p#{i}"]])
    end
    described = c.describe_prepared('put')
    equal([described.paramtype(0), described.paramtype(1)], [23, 25])
    raises('42P05') { c.prepare('put', 'select 1') }
    c.exec('deallocate put')
    raises('26000') { c.exec_prepared('put', [409, 'x']) }
    equal(rows(c, 'select name from pg_prepared_statements'), [['seek']])
  },
  'batch' => lambda {
    c = connect('batch')
    c.send_query('update item set qty = 1 where id = 500; insert into item ' \
                 '(id) values (500), (501); select 9 as nine')
    c.block
    status = []
    while (r = c.get_result)
      status << r.cmd_status
    end
    equal(status, ['UPDATE 0', 'INSERT 0 2', 'SELECT 1'])
  },
  'transaction' => lambda {
    c = connect('transaction')
    c.transaction do
      changed(c, 'insert into account values (1, $1), (2, $2)', 100, 50)
    end
    c.transaction do
      changed(c, 'update account set balance = balance - $1 where id = 1', 30)
      changed(c, 'update account set balance = balance + $1 where id = 2', 30)
    end
    c.exec('begin')
    changed(c, 'update account set balance = $1', 0)
    c.exec('delete from account where id = 2')
    c.exec('rollback')
    raises('23514') do
      c.transaction do
        changed(c, 'update account set balance = $1', -1)
      end
    end
    c.exec('begin')
    raises('22012') { rows(c, 'select 1 / $1', 0) }
    equal(c.transaction_status, PG::PQTRANS_INERROR)
    raises('25P02') { rows(c, 'select 1') }
    equal(c.exec('commit').cmd_status, 'ROLLBACK')
    equal(rows(c, 'select id, balance::text from account order by id'),
          [[1, '70.00'], [2, '80.00']])
    c.exec('begin isolation level serializable read only')
    raises('25006') { c.exec('delete from account') }
    c.exec('rollback')
  },
  'savepoint' => lambda {
    c = connect('savepoint')
    c.exec('begin')
    changed(c, 'insert into item (id, qty) values (620, $1)', 1)
    c.exec('savepoint a')
    changed(c, 'update item set qty = $1 where id = 620', 2)
    c.exec('savepoint b')
    c.exec('insert into item (id) values (621)')
    raises('23505') do
      changed(c, 'insert into item (id) values ($1)', 621)
    end
    c.exec('rollback to b')
    changed(c, 'insert into item (id) values ($1)', 622)
    c.exec('release a')
    c.exec('savepoint a')
    changed(c, 'delete from item where id = $1', 620)
    c.exec('rollback to a')
    c.exec('commit')
    equal(rows(c, 'select id, qty from item where id between 620 and 699 ' \
               'order by id'), [[620, 2], [622, nil]])
  },
  'cursor' => lambda {
    c = connect('cursor')
    c.send_query_params('select i from generate_series(1, $1) i', [1000])
    c.set_single_row_mode
    equal(c.get_result.stream_each_row.sum { |i,| i }, 500500)
    c.get_result
    c.transaction do
      c.exec('declare cur cursor for select i from generate_series(1, 100) i')
      c.exec('move 50 in cur')
      equal(c.exec('fetch 3 from cur').values, [[51], [52], [53]])
    end
  },
  'copy_in' => lambda {
    c = connect('copy_in')
    r = c.copy_data('copy line from stdin') do
      (1..5000).each { |i| c.put_copy_data("#{i}\tv#{i}\t\\N\n") }
    end
    equal(r.cmd_tuples, 5000)
    c.copy_data('copy line (id, v) from stdin (format binary)') do
      c.put_copy_data("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".b)
      (5001..5100).each do |i|
        c.put_copy_data([2, 4, i, -1].pack('s>l>l>l>'))
      end
      c.put_copy_data([-1].pack('s>'))
    end
    equal(rows(c, 'select count(*), max(v) from line where id < 6000'),
          [[5100, 'v999']])
  },
  'copy_out' => lambda {
    c = connect('copy_out')
    bytes = 0
    c.copy_data("copy (select i, null, repeat('x', 3) from " \
                'generate_series(1, 100000) i) to stdout csv') do
      while (line = c.get_copy_data)
        bytes += line.bytesize
      end
    end
    equal(bytes, 1088895)
  },
  'copy_fail' => lambda {
    c = connect('copy_fail')
    copy = lambda do |*lines|
      c.copy_data('copy line from stdin') do
        lines.each do |l|
          raise ZeroDivisionError, 'no more' if l.empty?
          c.put_copy_data(l)
        end
      end
    end
    e = raises('22P02') { copy.call("7001\ta\t1\n", "seven\tb\t2\n") }
    equal(e.result.error_field(PG::PG_DIAG_CONTEXT),
          'COPY line, line 2, column id: "seven"')
    raises('23505') { copy.call(*["7001\ta\t1\n"] * 3000) }
    begin
      copy.call("7001\ta\t1\n", '')
    rescue ZeroDivisionError => e
      show(e.message)
    end
    equal(rows(c, 'select count(*) from line where id between 7000 and 7999'),
          [[0]])
  },
  'notify' => lambda {
    c = connect('notify')
    d = connect('notify other')
    c.exec('listen tidings')
    rows(d, "select pg_notify('tidings', $1)", 'while idle')
    got = []
    equal(c.wait_for_notify(30) { |*n| got << n.values_at(0, 2) }, 'tidings')
    equal(got, [['tidings', 'while idle']])
    c.exec("notify tidings, 'to self'")
    n = c.notifies
    equal([n[:relname], n[:extra]], ['tidings', 'to self'])
  },
  'notice' => lambda {
    c = connect('notice')
    got = []
    c.set_notice_receiver do |r|
      got << r.error_field(PG::PG_DIAG_MESSAGE_PRIMARY)
    end
    rows(c, 'select give_notice($1), give_notice($2)', 'one', 'two')
    equal(got, ['notice: one', 'notice: two'])
  },
  'cancel' => lambda {
    c = connect('cancel')
    d = connect('cancel watcher')
    changed(c, 'insert into item (id, qty) values (800, 0)')
    ['select pg_sleep($1)', 'update item set qty = 1 where id = 800 and ' \
      'pg_sleep($1) is not null'].each do |sql|
      c.send_query_params(sql, [60])
      wait_until('the statement to run') do
        rows(d, "select count(*) from pg_stat_activity where wait_event = " \
             "'PgSleep' and application_name = 'ruby cancel'") == [[1]]
      end
      equal(c.cancel, nil)
      raises('57014') { c.get_last_result }
    end
    equal(rows(c, 'select qty from item where id = 800'), [[0]])
  },
  'error' => lambda {
    c = connect('error')
    e = raises('42601') { rows(c, 'select id form item wehre') }
    field = ->(f) { e.result.error_field(f) }
    equal([field[PG::PG_DIAG_STATEMENT_POSITION],
           field[PG::PG_DIAG_MESSAGE_PRIMARY]],
          ['16', 'syntax error at or near "item"'])
    e = raises('42703') { changed(c, 'update item set nane = $1', 1) }
    equal(field[PG::PG_DIAG_STATEMENT_POSITION], '17')
    e = raises('42883') do
      changed(c, 'insert into item (id, qty) values (810, nosuch($1))', 5)
    end
    equal(field[PG::PG_DIAG_STATEMENT_POSITION], '41')
    changed(c, 'insert into item (id) values ($1)', 810)
    e = raises('23505') { changed(c, 'insert into item values ($1)', 810) }
    equal([field[PG::PG_DIAG_CONSTRAINT_NAME], field[PG::PG_DIAG_TABLE_NAME],
           field[PG::PG_DIAG_MESSAGE_DETAIL]],
          ['item_pkey', 'item', 'Key (id)=(810) already exists.'])
    raises('22012') do
      changed(c, 'update item set qty = 1 / (id - 810) where id = $1', 810)
    end
    raises('22P02') do
      changed(c, 'update item set qty = $1 where id = 810', 'many')
    end
    raises('42P01') { changed(c, 'delete from absent where id = $1', 1) }
    equal(rows(c, 'select count(*) from item where id = 810'), [[1]])
  },
  'large' => lambda {
    c = connect('large')
    t = 'é' * (6 << 20)
    b = (0..255).to_a.pack('C*') * (40 << 10)
    equal(changed(c, 'insert into blob values (1, $1, $2)', t,
                  BYTEA.new(b)), 1)
    [0, 1].each do |format|
      (got_t, got_b), = rows(c, 'select t, b from blob where id = 1',
                             format: format)
      equal([got_t == t, got_b == b], [true, true])
    end
    equal(changed(c, 'update blob set t = t || $1 where id = 1', 'x'), 1)
    equal(rows(c, 'select length(t), length(b) from blob where id = 1'),
          [[(6 << 20) + 1, 10 << 20]])
  },
  'pipeline' => lambda {
    c = connect('pipeline')
    put = 'insert into line values ($1, $2)'
    c.enter_pipeline_mode
    (8001..8300).each { |i| c.send_query_params(put, [i, 'p']) }
    c.pipeline_sync
    n = 0
    300.times do
      n += c.get_result.cmd_tuples
      raise 'more than one result' if c.get_result
    end
    equal(n, 300)
    equal(c.get_result.result_status, PG::PGRES_PIPELINE_SYNC)
    [8500, 8001, 8501].each { |i| c.send_query_params(put, [i, 'q']) }
    c.pipeline_sync
    status = []
    while status.last != PG::PGRES_PIPELINE_SYNC
      begin
        r = c.get_result
        status << r.result_status if r
      rescue PG::Error => e
        status << e.result.result_status
      end
    end
    equal(status, [PG::PGRES_COMMAND_OK, PG::PGRES_FATAL_ERROR,
                   PG::PGRES_PIPELINE_ABORTED, PG::PGRES_PIPELINE_SYNC])
    c.exit_pipeline_mode
    equal(rows(c, 'select count(*) from line where id between 8000 and 8999'),
          [[300]])
  }
}.freeze

$stdout.sync = true
puts "# ruby pg #{PG::VERSION}", "1..#{ARGV.size}"
failed = 0
ARGV.each.with_index(1) do |name, n|
  CHECKS.fetch(name).call
  puts "ok #{n} - #{name}"
rescue Skip => e
  puts "ok #{n} - #{name} # SKIP #{e.message}"
rescue StandardError => e
  failed += 1
  puts "not ok #{n} - #{name}"
  warn e.full_message(highlight: false)
ensure
  $open&.each(&:close)
  $open = []
end
exit failed.zero?
