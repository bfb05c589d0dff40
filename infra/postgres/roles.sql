-- The two databases, and for each of them two roles: one that owns it and applies the migrations, and one that the
-- service runs as, which reads and writes rows and changes nothing else.
--
-- For psql as a superuser, once in the life of a server, before the first migration:
--
--     psql --variable ON_ERROR_STOP=1 --file roles.sql postgres
--
-- No role has a password yet: give each its own (\password orders), or nobody logs in with it.
--
-- Afterwards `migration up` runs as orders_owner and invoices_owner, and the services as orders and invoices.

CREATE ROLE orders_owner LOGIN;
CREATE ROLE orders LOGIN;
CREATE DATABASE orders OWNER orders_owner;
REVOKE ALL ON DATABASE orders FROM PUBLIC;
GRANT CONNECT ON DATABASE orders TO orders;

CREATE ROLE invoices_owner LOGIN;
CREATE ROLE invoices LOGIN;
CREATE DATABASE invoices OWNER invoices_owner;
REVOKE ALL ON DATABASE invoices FROM PUBLIC;
GRANT CONNECT ON DATABASE invoices TO invoices;

\connect orders
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO orders_owner;
GRANT USAGE ON SCHEMA public TO orders;
ALTER DEFAULT PRIVILEGES FOR ROLE orders_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO orders;

\connect invoices
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO invoices_owner;
GRANT USAGE ON SCHEMA public TO invoices;
ALTER DEFAULT PRIVILEGES FOR ROLE invoices_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO invoices;
