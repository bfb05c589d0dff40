# shellcheck shell=bash
#
# The roles of one service and its database, for psql, as often as you like: infra/postgres/roles.sql for one service on a
# server where we are no superuser.
#
# Runs as: bash -euc "$(< database.sh)", with
#   PGHOST PGPORT PGUSER PGPASSWORD PGSSLMODE …   who administers the server
#   DATABASE                                      the database
#   OWNER OWNER_PASSWORD                          owns it and migrates it
#   ROLE ROLE_PASSWORD                            the service: reads and writes rows
#   MAINTENANCE_DATABASE                          what to connect to while DATABASE may not be there
#
# Where the administrator is the owner itself, as with Neon, its password is left as it is.

sql() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set database="$DATABASE" --set owner="$OWNER" --set role="$ROLE" "$@"
}

# psql puts variables into a script that it reads, and not into -c. Passwords come from its environment: arguments are
# seen by every process.
if [ "$PGUSER" != "$OWNER" ]; then
    sql --dbname "$MAINTENANCE_DATABASE" <<'SQL'
\getenv owner_password OWNER_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', :'owner') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
ALTER ROLE :"owner" PASSWORD :'owner_password';
-- Who makes a database for another has to be a member of it.
SELECT format('GRANT %I TO CURRENT_USER', :'owner') WHERE NOT pg_has_role(current_user, :'owner', 'USAGE') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SQL
fi
sql --dbname "$MAINTENANCE_DATABASE" <<'SQL'
\getenv role_password ROLE_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'role_password';
SQL

PGUSER=$OWNER PGPASSWORD=$OWNER_PASSWORD sql --dbname "$DATABASE" <<'SQL'
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"role";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"role";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"role";
SQL
echo "the database $DATABASE and the roles $OWNER and $ROLE are set up"
