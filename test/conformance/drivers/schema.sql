-- The tables of the drivers' checks.
create table item (id int primary key, name text, qty int, price numeric,
	made timestamptz, data bytea, doc jsonb, tags text[], nums int[],
	ok bool, big bigint, ratio float8);
create table account (id int primary key,
	balance numeric(12,2) not null check (balance >= 0));
create table line (id int primary key, v text, n numeric);
create table blob (id int primary key, t text, b bytea);
create function give_notice(text) returns void language plpgsql as
	$$ begin raise notice 'notice: %', $1; end $$;
