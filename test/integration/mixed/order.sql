\set customer random(1, 1000)
\set p random(1, 498)
\set q random(1, 9)
begin;
insert into orders (customer) values (:customer) returning id \gset
insert into order_line (orders, line, product, qty, price) values
	(:id, 1, :p, :q, 12.345), (:id, 2, :p + 1, 1, 0.5), (:id, 3, :p + 2, 2, 99);
update product set stock = stock - :q where id = :p;
update product set stock = stock - 1 where id = :p + 1;
update product set stock = stock - 2 where id = :p + 2;
end;
