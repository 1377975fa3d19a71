# Prometheus from the distribution's packages, for machines that reach no image registry. Takes the same arguments and
# keeps its data in the same place as the upstream image.
FROM herdproof/base:dev
RUN apt-get update \
    && apt-get install -y --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
