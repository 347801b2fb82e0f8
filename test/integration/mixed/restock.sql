\set p random(1, 490)
update product set stock = stock + 10, attrs = jsonb_set(attrs, '{restocked}',
	to_jsonb(current_date)) where id between :p and :p + 5;
