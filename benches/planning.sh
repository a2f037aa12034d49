#!/usr/bin/env bash
# Planning one run for everybody, with everything that is looked at: an attribute, a count of events, consent, caps.
#
#   benches/planning.sh [CUSTOMERS=1000000] [EVENTS_EACH=5] [DATABASES="sqlite postgres"]
#
# Goals (2 cores): a million customers with five events each planned in 4 s on SQLite and 6 s on PostgreSQL. Each of RUNS plans the same base again: the base
# is brought in once and taken anew. measuring.sh says what is needed and what POSTHASTE and TMPDIR do; a million customers need about 5 GB there.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
count=${1:-1000000}
each=${2:-5}
databases=${3:-sqlite postgres}

customers "$count" > "$work/customers.csv"
events "$count" "$each" > "$work/events.csv"
for kind in $databases; do
    fresh "$kind"
    dir="$work/planning-$kind"
    shop "$dir" "$url" 2525 1
    cat >> "$dir/posthaste.yaml" <<'YAML'
policy:
  caps:
    - { class: advertising, channel: email, at_most: 1, per: day }
    - { class: advertising, at_most: 3, in: 7 days }
YAML
    letter "$dir/templates/letter.hbs" 4
    campaign "$dir" letter "at: 2027-03-01 10:00" \
        "where: { all: [ { attribute: points, at_least: 10 }, { event: visit, within: 365 days, at_least: 2 } ] }, holdout: 10%" letter
    measure "import of customers, $kind" "$count" "$posthaste" --workspace "$dir" import customers "$work/customers.csv"
    measure "import of events, $kind" $((count * each)) "$posthaste" --workspace "$dir" import events "$work/events.csv"
    apply "$dir" 2027-02-28T10:00:00Z
    keep
    all=()
    for ((number = 0; number < runs; number++)); do
        take_again
        measure "planning, $kind" "$count" "$posthaste" --workspace "$dir" run --until-idle --plan-only --now 2027-03-01T10:00:00Z
        all+=("$took")
    done
    "$posthaste" --workspace "$dir" report letter --format json --now 2027-03-01T12:00:00Z | tr -d ' \n' | grep -oE '"(selected|messages|held_out)":[0-9]+' | head -3 | paste -sd ' '
    echo "planning a run over $count customers with $each events each, $kind: median $(median "${all[@]}") s"
    forget; drop "$url"
done
