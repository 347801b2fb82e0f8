-- What the scripts find in the database; reset.sql fills it before each.
create table t (id int primary key, v text, n numeric);
create table log (line text);
create table two (a int, b int, v text, primary key (a, b));
create table uniq (id int primary key,
	u int unique deferrable initially deferred);
create table parent (id int primary key);
create table child (id int primary key,
	parent int references parent deferrable initially deferred);
create table checked (id int primary key, v int not null check (v > 0),
	w varchar(5));
create table serial (id serial primary key, v text);
create table ident (id int generated always as identity primary key, v text);
create table typed (id int primary key, b bytea, ts timestamptz, f float8,
	a int[], j jsonb, bo bool, num numeric, d date, u uuid, c char(4), i8 int8);
create table noisy (id int primary key, v text);
create table wide (id int primary key, v text);
create table kept (id int primary key, v text);
create sequence seq;
create view vt as select id, v from t;

create function say() returns trigger language plpgsql as $$ begin
	raise notice '% % %', tg_when, tg_level, tg_op using hint = tg_name;
	return case when tg_op = 'DELETE' then old else new end;
end $$;
create trigger a before insert or update or delete on noisy
	for each statement execute function say();
create trigger b before insert or update or delete on noisy
	for each row execute function say();
create trigger c after insert or update or delete on noisy
	for each row execute function say();
create trigger d after insert or update or delete on noisy
	for each statement execute function say();

-- A notice from inside a statement on an ordinary table.
create function noted(text) returns text language plpgsql as $$ begin
	raise notice 'noted %', $1;
	return $1;
end $$;
create function deallocates() returns text language plpgsql as $$ begin
	execute 'deallocate all';
	return 'gone';
end $$;
create function bad(int) returns int language plpgsql as $$ begin
	raise exception 'bad %', $1 using errcode = 'XX123', detail = 'some',
		hint = 'none', table = 't', column = 'v', schema = 'public';
end $$;
create procedure commits(n int) language plpgsql as $$ begin
	for i in 1 .. n loop
		insert into log values ('commits ' || i);
		commit;
	end loop;
end $$;
create procedure plain(n int, inout got int) language plpgsql as $$ begin
	update t set v = 'plain' where id <= n;
	got := n * 2;
end $$;
create role reader login;
grant select on t to reader;
create role writer login;
grant select, update (v) on t to writer;
grant insert on log to writer;
