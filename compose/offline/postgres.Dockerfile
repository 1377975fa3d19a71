# PostgreSQL from the distribution's packages, for machines that reach no image registry. Its entry point understands
# the part of the upstream image's contract that compose.yaml uses.
FROM herdproof/base:dev
RUN apt-get update \
    && install -d /etc/postgresql-common \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get install -y --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/lib/postgresql/*/bin /usr/local/pgsql \
    && install -d -o postgres -g postgres /var/lib/postgresql/data /run/postgresql
COPY postgres-entrypoint.sh /usr/local/bin/
ENV PATH=/usr/local/pgsql:$PATH PGDATA=/var/lib/postgresql/data
USER postgres
STOPSIGNAL SIGINT
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["sh", "/usr/local/bin/postgres-entrypoint.sh"]
CMD ["postgres"]
