\set o random(1, 1000)
begin;
update orders set status = 'sent', total = round(total * 1.0825, 2)
	where id = :o;
insert into payment (orders, amount, method) values
	(:o, 12.5, '{"card": "none", "tries": [1, 2.50, null]}');
end;
