-- Passwords for one machine, after roles.sql and monitoring.sql. See README.md.

ALTER ROLE orders_owner PASSWORD 'orders_owner';
ALTER ROLE orders PASSWORD 'orders';
ALTER ROLE invoices_owner PASSWORD 'invoices_owner';
ALTER ROLE invoices PASSWORD 'invoices';
ALTER ROLE monitoring PASSWORD 'monitoring';
