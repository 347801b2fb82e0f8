\set c random(1, 1000)
\set v random(1, 1000000)
update customer set profile = profile || jsonb_build_object('seen', now(),
	'v', :v, 'tags', jsonb_build_array('a', :v % 7)), credit = credit * 1.0001
	where id = :c;
