#!/usr/bin/env bash
# Imports at size: people and events into an empty base, and into a base of a million while a run is sent.
#
#   benches/imports.sh [CUSTOMERS=1000000] [EVENTS_EACH=5] [DATABASES="sqlite postgres"] [WHAT="customers events living"]
#
# Goals (2 cores): customers into an empty base 150,000 rows/s on SQLite and 100,000 on PostgreSQL, events into a base of customers only 150,000 on
# SQLite, customers into a base of a million while a run is sent 15,000. `living` brings in a tenth as many new customers while an engine sends
# the letters of benches/line.sh to everyone. measuring.sh says what is needed and what RUNS, POSTHASTE and TMPDIR do.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
sink_port=$(free_port)
count=${1:-1000000}
each=${2:-5}
databases=${3:-sqlite postgres}
what=" ${4:-customers events living} "

customers "$count" > "$work/customers.csv"
[[ $what != *" events "* ]] || events "$count" "$each" > "$work/events.csv"
[[ $what != *" living "* ]] || customers $((count / 10)) $((count + 1)) > "$work/others.csv"

base() { # DIR: a shop with everybody in it, in a fresh database
    fresh "$kind"
    shop "$1" "$url" "$sink_port" 50
    letter "$1/templates/letter.hbs" 4
    campaign "$1" letter "at: 2027-03-01 10:00" "where: { attribute: points, at_least: 0 }, holdout: 0%" letter
    "$posthaste" --workspace "$1" import customers "$work/customers.csv" >/dev/null 2>&1
}

for kind in $databases; do
    if [[ $what == *" customers "* ]]; then
        all=()
        for ((number = 0; number < runs; number++)); do
            fresh "$kind"; shop "$work/empty-$kind" "$url" "$sink_port" 1
            measure "import of customers into an empty base, $kind" "$count" "$posthaste" --workspace "$work/empty-$kind" import customers "$work/customers.csv"
            all+=("$(per_second "$count" "$took")"); drop "$url"
        done
        echo "import of customers into an empty base, $kind: median $(median "${all[@]}")/s"
    fi

    if [[ $what == *" events "* ]]; then
        all=()
        for ((number = 0; number < runs; number++)); do
            base "$work/events-$kind"
            measure "import of events, $kind" $((count * each)) "$posthaste" --workspace "$work/events-$kind" import events "$work/events.csv"
            all+=("$(per_second $((count * each)) "$took")"); drop "$url"
        done
        echo "import of events, $kind: median $(median "${all[@]}")/s"
    fi

    if [[ $what == *" living "* ]]; then
        all=()
        [ -n "${sink:-}" ] || { start_sink "$sink_port"; sink=1; }
        base "$work/living-$kind"
        apply "$work/living-$kind" 2027-02-28T10:00:00Z
        "$posthaste" --workspace "$work/living-$kind" run --until-idle --plan-only --now 2027-03-01T10:00:00Z >/dev/null 2>&1
        "$posthaste" --workspace "$work/living-$kind" run --listen "127.0.0.1:$(free_port)" --now 2027-03-01T10:00:00Z >/dev/null 2>"$work/engine" &
        engine=$!; started+=($engine); sleep 3
        split -n "l/$runs" -d --additional-suffix .csv "$work/others.csv" "$work/part-"
        for part in "$work"/part-*.csv; do
            grep -q '^external_id' "$part" || sed -i "1i $(head -1 "$work/customers.csv")" "$part"
            rows=$(($(wc -l < "$part") - 1))
            sent=$("$posthaste" --workspace "$work/living-$kind" report letter --format json | tr -d ' \n' | grep -oE '"accepted":[0-9]+' | head -1 | cut -d: -f2); before=$(clock)
            measure "import of customers while a run is sent, $kind" "$rows" "$posthaste" --workspace "$work/living-$kind" import customers "$part"
            now_sent=$("$posthaste" --workspace "$work/living-$kind" report letter --format json | tr -d ' \n' | grep -oE '"accepted":[0-9]+' | head -1 | cut -d: -f2)
            echo "    sent meanwhile: $(per_second $((now_sent - sent)) "$(seconds "$before" "$(clock)")")/s"
            all+=("$(per_second "$rows" "$took")"); rm "$part"
        done
        kill "$engine"; wait "$engine" 2>/dev/null || true
        echo "import of customers while a run is sent, $kind: median $(median "${all[@]}")/s"
        drop "$url"
    fi
done
