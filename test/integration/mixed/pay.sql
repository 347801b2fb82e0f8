\set o random(1, 1000)
\set c random(1, 1000)
\set cents random(1, 100000)
begin;
insert into payment (orders, amount) values (:o, :cents / 100.0);
update customer set credit = credit + :cents / 100.0 where id = :c;
end;
