\set o random(1, 1000)
\set l random(1, 3)
delete from order_line where orders = :o and line = :l;
