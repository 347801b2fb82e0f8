set client_min_messages = warning;
truncate t, log, two, uniq, parent, child, checked, serial, ident, typed,
	noisy, wide, kept restart identity;
select setval('seq', 1, false);
insert into t select i, 'row ' || i, i / 4.0 from generate_series(1, 5) i;
insert into two select i, i * 10, 'two ' || i from generate_series(1, 3) i;
insert into uniq select i, i from generate_series(1, 3) i;
insert into parent values (1), (2);
insert into child values (1, 1), (2, 2);
insert into checked values (1, 1, 'one'), (2, 2, null);
insert into noisy values (1, 'a'), (2, 'b');
insert into typed values (1, '\x00ff', '2024-02-29 12:34:56.789+00', 0.1,
	'{1,null,3}', '{"k": [1, "a"]}', true, 1234.5678, '2024-02-29',
	'12345678-9abc-def0-1234-56789abcdef0', 'ab', 9007199254740993);
