-- The databases and roles of Fuelline, each with the least privileges that it needs. Run once as an administrator:
--   psql "$ADMINISTRATOR" -v tasks=... -v lake=... -v gateway=... -v streaming=... -v copy=... -v trino=... \
--       -v mlflow=... -f deploy/postgres/roles.sql
-- where each value is the role's new password.
\set ON_ERROR_STOP on
CREATE ROLE fuelline LOGIN PASSWORD :'tasks';                -- tasks: the catalogue, Feast's registry
CREATE ROLE fuelline_lake LOGIN PASSWORD :'lake';            -- steward, lake consumer: commits to tables
CREATE ROLE fuelline_gateway LOGIN PASSWORD :'gateway';      -- reads Feast's registry
CREATE ROLE fuelline_streaming LOGIN PASSWORD :'streaming';  -- reads Feast's registry
CREATE ROLE fuelline_copy LOGIN PASSWORD :'copy';            -- reads everything, at night
CREATE ROLE fuelline_trino LOGIN PASSWORD :'trino';          -- reads the catalogue's pointers
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';                 -- MLflow's server, or the mirror itself without one
CREATE DATABASE fuelline OWNER fuelline;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE ALL ON DATABASE fuelline, mlflow FROM PUBLIC;
GRANT CONNECT ON DATABASE fuelline
    TO fuelline_lake, fuelline_gateway, fuelline_streaming, fuelline_copy, fuelline_trino;
-- The owner creates the tables at first use, and these roles may read them. A commit updates a row of the catalogue and
-- a new Iceberg table inserts one, so a role that commits needs no right to create, drop or truncate anything here.
\connect fuelline
ALTER DEFAULT PRIVILEGES FOR ROLE fuelline IN SCHEMA public
    GRANT SELECT ON TABLES TO fuelline_gateway, fuelline_streaming, fuelline_copy, fuelline_trino;
ALTER DEFAULT PRIVILEGES FOR ROLE fuelline IN SCHEMA public GRANT SELECT, INSERT, UPDATE ON TABLES TO fuelline_lake;
ALTER DEFAULT PRIVILEGES FOR ROLE fuelline IN SCHEMA public GRANT SELECT ON SEQUENCES TO fuelline_copy;
