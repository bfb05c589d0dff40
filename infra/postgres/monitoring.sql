-- The role of the metrics exporter: it reads statistics, and not a row of ours.
--
-- For psql as a superuser, once in the life of a server, after roles.sql. It has no password yet.

CREATE ROLE monitoring LOGIN;
GRANT pg_monitor TO monitoring;
GRANT CONNECT ON DATABASE orders, invoices TO monitoring;
