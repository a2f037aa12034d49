#!/usr/bin/env bash
# What a person waits for: check, plan, start-up, and the report of a campaign with many events.
#
#   benches/commands.sh [EVENTS=10000000] [DATABASES="sqlite postgres"]
#
# Goals (2 cores): `check` of 1,000 files in 1 s, `plan` of 100 campaigns over 20,000 customers in 2 s, start-up in 150 ms, the report of a campaign
# with 10 million events in 300 ms. EVENTS=0 leaves the report out: building its base takes minutes. The base of the report: a fifth as many messages as
# events; of the events four in five are opens and clicks, recorded as the server records them, the others purchases that are imported.
# measuring.sh says what is needed and what RUNS, POSTHASTE and TMPDIR do.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
sink_port=$(free_port)
events=${1:-10000000}
databases=${2:-sqlite postgres}

# --- check: 400 campaigns, 400 segments, 199 templates, posthaste.yaml
shop "$work/many" "sqlite:$work/many.db" 2525 1
for ((number = 1; number <= 400; number++)); do
    cat > "$work/many/campaigns/segments/group-$number.yaml" <<YAML
segment: group-$number
title: "Group $number"
where: { all: [ { attribute: points, at_least: $((number * 10)) }, { not: { event: purchase, within: $((number % 60 + 1)) days } } ] }
YAML
    campaign "$work/many" "news-$number" "every: monday and thursday at $(printf %02d $((number % 24))):15" "segment: group-$number, holdout: 10%" "letter-$((number % 199 + 1))"
done
for ((number = 1; number <= 199; number++)); do letter "$work/many/templates/letter-$number.hbs" 1; done
repeat "check of $(find "$work/many" -type f ! -name .env | wc -l) files" "$posthaste" --workspace "$work/many" check

for kind in $databases; do
    # --- plan
    fresh "$kind"
    shop "$work/plan-$kind" "$url" 2525 1
    letter "$work/plan-$kind/templates/letter.hbs" 1
    for ((number = 1; number <= 100; number++)); do
        campaign "$work/plan-$kind" "news-$number" "every: day at $(printf %02d $((number % 24))):15" "where: { attribute: points, at_least: $((number * 20)) }, holdout: 10%" letter
    done
    customers 20000 > "$work/customers.csv"
    "$posthaste" --workspace "$work/plan-$kind" import customers "$work/customers.csv" >/dev/null 2>&1
    repeat "plan of 100 campaigns over 20,000 customers, nothing applied, $kind" "$posthaste" --workspace "$work/plan-$kind" plan --now 2027-02-28T10:00:00Z
    apply "$work/plan-$kind" 2027-02-28T10:00:00Z
    repeat "plan of 100 campaigns over 20,000 customers, all applied, $kind" "$posthaste" --workspace "$work/plan-$kind" plan --now 2027-02-28T10:00:00Z

    # --- start-up: until the first answer over HTTP, with those hundred campaigns
    all=()
    first=$(load)
    for ((number = 0; number < runs; number++)); do
        port=$(free_port); start=$(clock)
        "$posthaste" --workspace "$work/plan-$kind" run --listen "127.0.0.1:$port" --now 2027-02-28T10:00:00Z >/dev/null 2>&1 &
        process=$!
        until_answered "$port"; all+=("$(seconds "$start" "$(clock)")")
        kill "$process"; wait "$process" 2>/dev/null || true
    done
    echo "start-up until it answers, 100 campaigns, $kind: $(median "${all[@]}") s (${all[*]}), load $first to $(load)"
    drop "$url"

    # --- report
    [ "$events" -gt 0 ] || continue
    messages=$((events / 5))
    fresh "$kind"
    shop "$work/report-$kind" "$url" "$sink_port" 50
    letter "$work/report-$kind/templates/letter.hbs" 1
    campaign "$work/report-$kind" letter "at: 2027-03-01 10:00" "where: { attribute: points, at_least: 0 }, holdout: 10%" letter
    customers "$messages" > "$work/customers.csv"
    measure "import, $kind" "$messages" "$posthaste" --workspace "$work/report-$kind" import customers "$work/customers.csv"
    apply "$work/report-$kind" 2027-02-28T10:00:00Z
    [ -n "${sink:-}" ] || { start_sink "$sink_port"; sink=1; }
    measure "sending, $kind" "$messages" "$posthaste" --workspace "$work/report-$kind" run --until-idle --now 2027-03-01T10:00:00Z
    measure "opens and clicks, $kind" $((events * 4 / 5)) "${crowd[@]}" answer "$url" $((events * 4 / 5)) 2027-03-01T12:00:00Z
    awk -v n="$messages" -v count=$((events / 5)) 'BEGIN { print "customer,event,at,id,amount"
        for (i = 0; i < count; i++) printf "K%d,purchase,2027-03-0%dT%02d:%02d:%02dZ,P%d,%d.%02d\n", (i * 7919) % n + 1, 2 + i % 5, i % 24, i % 60, i % 59, i, 5 + i % 200, i % 100 }' > "$work/purchases.csv"
    measure "purchases, $kind" $((events / 5)) "$posthaste" --workspace "$work/report-$kind" import events "$work/purchases.csv" --now 2027-03-08T10:00:00Z
    repeat "report of a campaign with $events events, $kind" "$posthaste" --workspace "$work/report-$kind" report letter --format json --now 2027-03-09T10:00:00Z
    cp "$work/out" "$work/report.json"
    repeat "the same as of an earlier day, $kind" "$posthaste" --workspace "$work/report-$kind" report letter --as-of 2027-03-05T10:30:00Z --format json --now 2027-03-09T10:00:00Z
    tr -d ' \n' < "$work/report.json" | grep -oE '"(selected|messages|accepted|all|conversions|converted)":[0-9]+' | paste -sd ' '
    drop "$url"
done
