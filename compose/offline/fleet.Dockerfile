# The fleet's image from binaries that were built on the host: the context is a folder that `herd` fills with the
# programs and the empty folders data/ and runs/. Needs neither a registry nor BuildKit.
FROM scratch
COPY --chown=65532:65532 . /
USER 65532:65532
