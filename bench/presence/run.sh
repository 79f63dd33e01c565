#!/bin/sh
# Looks up 1,000 digests in a registry 20 ms away, in 1 and in 50 repositories,
# then again from the cache. Fails if three runs in a row are above 1.2 times
# requests / concurrency x round trip, or if the cache lets a request through.
set -eu
cd "$(dirname "$0")/../.."
exec go run ./bench/presence "$@"
