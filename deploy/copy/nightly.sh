#!/usr/bin/env bash
# The nightly copy of every lake from Forge to Studio, so ordered that what stands at Studio is always whole: first it is
# noted how far the ledger and the catalogue have come, then objects are copied before whatever refers to them, and the
# catalogue's pointers move last, in one transaction. Run it again whenever it broke off.
#
# Needs rclone with the remotes `forge` and `studio`, pg_dump and pg_restore, and:
#   FORGE_CATALOG, STUDIO_CATALOG   postgresql://user:password@host:5432/fuelline
#   BUCKET                          fuelline, the same at both places: tables hold their files' full names
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

# 1. What the ledger refers to exists by now, so its end is noted before anything is copied. Its checkpoints are a cache.
#    It only grows: a source that lacks what Studio has was emptied, or is another one, and would take all of it along.
entries forge >"$work/ledger"
entries studio | LC_ALL=C comm -13 "$work/ledger" - >"$work/lacking"
stop_if_any "$work/lacking" "Forge lacks entries of the ledger that Studio has" \
    "Is forge:$bucket the right bucket, and whole? Nothing was copied"
# 2. So do the files that the catalogue points at.
pg_dump --format=custom --no-owner --no-privileges --file="$work/catalog" "$FORGE_CATALOG"
pg_restore --data-only --table=iceberg_tables --file=- "$work/catalog" |
    awk -F'\t' -v place="s3://$bucket/" '$4 ~ /\.json$/ { print substr($4, length(place) + 1) }' |
    LC_ALL=C sort >"$work/pointers"
# 3. Raw objects, models, tables' data: nothing refers from here to anything later.
copy --filter '- /*/*/ledger/**' --filter '- /*/*/leases/**' --filter '- /*/*/markers/**' \
    --filter '- /*/*/warehouse/*/*/metadata/**' --filter '- /*/*/scratch/**'
# 4. The tables' metadata, and the keys of their commits.
copy --filter '+ /*/*/warehouse/*/*/metadata/**' --filter '+ /*/*/markers/**' --filter '- **'
# 5. The ledger as far as noted; then leases, whose numbers must not lie before the ledger's.
copy --files-from-raw "$work/ledger" --no-traverse
copy --filter '+ /*/*/leases/**' --filter '- **'
# 6. The pointers, if all that they point at came: a table of some fifty commits since they were noted has let go of it.
files "studio:$bucket" --files-from-raw "$work/pointers" | LC_ALL=C comm -13 - "$work/pointers" >"$work/gone"
stop_if_any "$work/gone" "The metadata that the catalogue pointed at were gone before they were copied" "Run it again"
#    Whoever reads at Studio sees last night's tables until this moment, and tonight's from then on.
pg_restore --clean --if-exists --no-owner --no-privileges --single-transaction --dbname="$STUDIO_CATALOG" "$work/catalog"
# 7. What Forge has removed goes here too, but for what a pointer needs: retention beats the copy. Of the ledger
#    nothing ever goes.
{
    sed 's|^|- /|' "$work/pointers"
    printf '+ /*/*/%s/**\n' raw warehouse inbox staged ml/checkpoints ml/tuning
    echo '- **'
} >"$work/removed"
with_rclone sync "forge:$bucket" "studio:$bucket" --filter-from "$work/removed"
