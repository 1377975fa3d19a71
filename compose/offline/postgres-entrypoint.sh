#!/bin/sh
# Makes the database cluster on the first start, as the upstream image does for POSTGRES_USER, POSTGRES_PASSWORD and
# POSTGRES_DB, then becomes the given command.
set -eu
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ "${1:-postgres}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    password_file=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:?a password is needed}" > "$password_file"
    # shellcheck disable=SC2086 # the arguments are a list
    initdb --username="$user" --pwfile="$password_file" --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
    rm -f "$password_file"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        echo "CREATE DATABASE \"$database\";" | postgres --single -jE postgres > /dev/null
    fi
fi
exec "$@"
