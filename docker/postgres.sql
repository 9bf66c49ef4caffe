-- PostgreSQL's image runs this once, on an empty volume: a database and its owner for each server.
-- psql reads the passwords from files and quotes them as literals.
\set ON_ERROR_STOP on
\set prefect_password `cat /run/secrets/prefect_database`
\set mlflow_password `cat /run/secrets/mlflow_database`

CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE ALL ON DATABASE prefect, mlflow, postgres FROM PUBLIC;
