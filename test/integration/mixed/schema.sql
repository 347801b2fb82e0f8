-- An order-entry schema, for mixed.t.
create table customer (
	id serial primary key,
	name text not null,
	email text unique,
	credit numeric(12,2) not null default 100 check (credit >= -1000000),
	profile jsonb not null default '{}',
	created timestamptz not null default now());
create table product (
	id serial primary key,
	sku varchar(20) not null unique,
	price numeric(10,2) not null check (price > 0),
	stock int not null default 0,
	attrs jsonb);
create table orders (
	id bigserial primary key,
	ref uuid not null default gen_random_uuid() unique,
	customer int not null references customer,
	status text not null default 'new'
		check (status in ('new', 'paid', 'sent', 'cancelled')),
	total numeric(14,2) not null default 0,
	placed timestamptz not null default now(),
	updated timestamptz);
create table order_line (
	orders bigint references orders,
	line int,
	product int not null references product,
	qty int not null check (qty > 0),
	price numeric(10,2) not null,
	amount numeric(14,2) generated always as (qty * price) stored,
	primary key (orders, line));
create table payment (
	id int generated always as identity primary key,
	orders bigint not null references orders,
	amount numeric(14,2) not null,
	method jsonb,
	at timestamptz not null default clock_timestamp());
create index on orders (customer);
create function touch() returns trigger language plpgsql as $$
begin
	new.updated := now();
	return new;
end $$;
create trigger touched before update on orders
	for each row execute function touch();
create table audit (
	id bigserial primary key,
	at timestamptz not null default now(),
	who text not null default current_user,
	op text not null,
	was jsonb,
	became jsonb);
create function audit() returns trigger language plpgsql security definer as $$
begin
	insert into audit (op, was, became) values (tg_op,
		case when tg_op <> 'INSERT' then to_jsonb(old) end,
		case when tg_op <> 'DELETE' then to_jsonb(new) end);
	return null;
end $$;
create trigger audited after insert or update or delete on orders
	for each row execute function audit();
create trigger audited after update on product
	for each row execute function audit();

insert into customer (name, email, profile)
	select 'customer ' || i, i || '@example.org', jsonb_build_object('n', i)
	from generate_series(1, 1000) i;
insert into product (sku, price, stock, attrs)
	select 'sku-' || i, 1 + i % 97 + 0.99, 1000000,
		jsonb_build_object('colour', (array['red', 'green', 'blue'])[1 + i % 3],
		'weights', jsonb_build_array(i, i / 2.0))
	from generate_series(1, 500) i;
insert into orders (customer) select 1 + i % 1000
	from generate_series(1, 1000) i;
insert into order_line (orders, line, product, qty, price)
	select 1 + i % 1000, 1 + i / 1000, 1 + i % 500, 1 + i % 5, 9.99
	from generate_series(0, 2999) i;
analyze;
