# Redis from the distribution's packages, for machines that reach no image registry. Takes the same command as the
# upstream image.
FROM herdproof/base:dev
RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o redis -g redis /data
USER redis
WORKDIR /data
VOLUME /data
CMD ["redis-server"]
