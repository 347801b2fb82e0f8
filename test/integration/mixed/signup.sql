\set v random(1, 2000000000)
insert into customer (name, profile) values ('new ' || :v, default),
	(upper('newer ') || to_char(now(), 'YYYY-MM-DD'), '{"n": 1e3}');
