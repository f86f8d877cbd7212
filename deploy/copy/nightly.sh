#!/usr/bin/env bash
# The nightly copy of every lake from Forge to Studio. Its order keeps the copy at Studio consistent at all times: first it
# records how far the ledger and the catalogue have come, then it copies objects before the objects that refer to them,
# and last it moves the catalogue's pointers in one transaction. If it fails, run it again.
#
# Needs rclone with the remotes `forge` and `studio`, pg_dump and pg_restore, and:
#   FORGE_CATALOG, STUDIO_CATALOG   postgresql://user:password@host:5432/fuelline
#   BUCKET                          fuelline, the same at both sites: tables hold the full names of their files
#   RCLONE_OPTIONS                  more options for rclone, for example --ca-cert /etc/ssl/home.pem
set -euo pipefail
: "${FORGE_CATALOG:?is not set. Example: FORGE_CATALOG=postgresql://copy:<password>@postgres.forge.svc:5432/fuelline}"
: "${STUDIO_CATALOG:?is not set. Example: STUDIO_CATALOG=postgresql://fuelline:<password>@postgres.studio.svc:5432/fuelline}"
bucket=${BUCKET:-fuelline}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

with_rclone() {
    # shellcheck disable=SC2086 # several options
    rclone --s3-no-check-bucket --fast-list --checksum --retries 3 ${RCLONE_OPTIONS:-} "$@"
}
copy() { with_rclone copy "forge:$bucket" "studio:$bucket" "$@"; }

files() { with_rclone lsf --recursive --files-only "$@" | LC_ALL=C sort; }
entries() { files "$1:$bucket" --filter '- **/checkpoints/**' --filter '+ /*/*/ledger/**' --filter '- **'; }
stop_if_any() {
    if [ -s "$1" ]; then
        echo "nightly: $2, for example $(head -n 1 "$1"). $3" >&2
        exit 1
    fi
}

# 1. All objects that the ledger refers to exist, so its end is recorded before anything is copied. Its checkpoints are a
#    cache. The ledger only grows: a source without entries that Studio has was emptied or is the wrong one, and copying
#    it would delete the copy.
entries forge >"$work/ledger"
entries studio | LC_ALL=C comm -13 "$work/ledger" - >"$work/lacking"
stop_if_any "$work/lacking" "Forge lacks entries of the ledger that Studio has" \
    "Is forge:$bucket the right bucket, and whole? Nothing was copied"
# 2. The files that the catalogue points to exist as well.
pg_dump --format=custom --no-owner --no-privileges --file="$work/catalog" "$FORGE_CATALOG"
pg_restore --data-only --table=iceberg_tables --file=- "$work/catalog" |
    awk -F'\t' -v place="s3://$bucket/" '$4 ~ /\.json$/ { print substr($4, length(place) + 1) }' |
    LC_ALL=C sort >"$work/pointers"
# 3. Raw objects, models, table data: none of them refers to objects that are copied later.
copy --filter '- /*/*/ledger/**' --filter '- /*/*/leases/**' --filter '- /*/*/markers/**' \
    --filter '- /*/*/warehouse/*/*/metadata/**' --filter '- /*/*/scratch/**'
# 4. The metadata of the tables, and the keys of their commits.
copy --filter '+ /*/*/warehouse/*/*/metadata/**' --filter '+ /*/*/markers/**' --filter '- **'
# 5. The ledger up to the recorded end; then leases, whose numbers must not be older than the ledger's.
copy --files-from-raw "$work/ledger" --no-traverse
copy --filter '+ /*/*/leases/**' --filter '- **'
# 6. The pointers, if all their files were copied: a table with about fifty commits since step 2 has dropped them.
files "studio:$bucket" --files-from-raw "$work/pointers" | LC_ALL=C comm -13 - "$work/pointers" >"$work/gone"
stop_if_any "$work/gone" "The metadata that the catalogue pointed at were gone before they were copied" "Run it again"
#    Readers at Studio see last night's tables until this moment, and tonight's from then on.
pg_restore --clean --if-exists --no-owner --no-privileges --single-transaction --dbname="$STUDIO_CATALOG" "$work/catalog"
# 7. Objects that Forge has removed are removed here too, except those that a pointer needs: retention applies to the
#    copy. Entries of the ledger are never removed.
{
    sed 's|^|- /|' "$work/pointers"
    printf '+ /*/*/%s/**\n' raw warehouse inbox staged ml/checkpoints ml/tuning
    echo '- **'
} >"$work/removed"
with_rclone sync "forge:$bucket" "studio:$bucket" --filter-from "$work/removed"
