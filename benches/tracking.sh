#!/usr/bin/env bash
# Opens and clicks over HTTP, each stored before it is answered: alone, and while a run is sent.
#
#   benches/tracking.sh [LETTERS=100000] [SECONDS=10] [DATABASES="sqlite postgres"] [CONNECTIONS=64]
#
# Goals (2 cores, wrk on the same machine): 15,000 hits/s alone; 5,000 with 99 in 100 answered within 25 ms while a run is sent to smtp-sink.
# Sends a letter to LETTERS people, then wrk asks for the open pixel and the first link of each, every request from a network of its own (behind
# X-Forwarded-For); nothing repeats within two seconds. Afterwards the report must have every hit that was answered. While a run is sent: letters
# of 14 KB to as many people as it takes. Needs wrk. measuring.sh says what RUNS, POSTHASTE and TMPDIR do.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
sink_port=$(free_port)
letters=${1:-100000}
lasting=${2:-10}
databases=${3:-sqlite postgres}
connections=${4:-64}

cat > "$work/hits.lua" <<'LUA'
local paths, at, visitor = {}, 0, 0
function init(arguments)
    for line in io.lines(arguments[1]) do paths[#paths + 1] = line end
    at = tonumber(arguments[2]) % #paths
    visitor = tonumber(arguments[2])
end
function request()
    at = at % #paths + 1
    visitor = visitor + 1
    return "GET " .. paths[at] .. " HTTP/1.1\r\nHost: go.bench.example\r\nAccept: */*\r\n"
        .. "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36\r\n"
        .. string.format("X-Forwarded-For: %d.%d.%d.7\r\n\r\n", math.floor(visitor / 62500) % 200 + 1, math.floor(visitor / 250) % 250, visitor % 250)
end
function done(summary, latency)
    local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout
    io.write(string.format("HITS %d %.0f %.1f %.1f %d\n", summary.requests, summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, bad))
end
LUA

# So many seconds of hits: sets hits, rate, middle, slowest (ms of the 50th and the 99th of a hundred), bad.
asked=0
ask() { # SECONDS
    read -r hits rate middle slowest bad < <(wrk -t1 -c"$connections" -d"$1s" -s "$work/hits.lua" "http://127.0.0.1:$port" -- "$work/addresses" "$asked" | sed -n 's/^HITS //p')
    asked=$((asked + hits))
}

repeat_asking() { # LABEL
    local number rates=() slow=() first answered=0 faults=0; first=$(load)
    for ((number = 0; number < runs; number++)); do ask "$lasting"; rates+=("$rate"); slow+=("$slowest"); answered=$((answered + hits)); faults=$((faults + bad)); done
    echo "$1: $(median "${rates[@]}") hits/s (${rates[*]}), 99 in 100 within $(median "${slow[@]}") ms (${slow[*]}), $answered answered, $faults faults, load $first to $(load)"
}

# Hits that the journal still keeps are on their way to the database.
drained() { while compgen -G "$dir/.posthaste/hits/*.hits" >/dev/null; do sleep 0.5; done; sleep 1; }

stored() { "$posthaste" --workspace "$dir" report first --format json | tr -d ' \n' | grep -oE '"responses":\{"opens":\{"all":[0-9]+|"clicks":\{"all":[0-9]+' | grep -oE '[0-9]+$' | head -2 | paste -sd+ | bc; }

start_sink "$sink_port"
for kind in $databases; do
    dir="$work/tracking-$kind"
    fresh "$kind"
    shop "$dir" "$url" "$sink_port" 50
    letter "$dir/templates/letter.hbs" 4
    campaign "$dir" first "at: 2027-03-01 10:00" "where: { attribute: points, at_least: 0 }, holdout: 0%" letter
    campaign "$dir" second "at: 2027-03-01 12:00" "where: { attribute: points, at_least: 0 }, holdout: 0%" letter
    # The second one goes to as many as can be sent meanwhile.
    customers "$letters" > "$work/customers.csv"
    "$posthaste" --workspace "$dir" import customers "$work/customers.csv" >/dev/null 2>&1
    apply "$dir" 2027-02-28T10:00:00Z
    "$posthaste" --workspace "$dir" run --until-idle --now 2027-03-01T10:00:00Z >/dev/null 2>&1
    "${crowd[@]}" addresses "$url" "$signing" first > "$work/addresses"
    customers $((lasting * runs * 9000)) $((letters + 1)) > "$work/others.csv"
    "$posthaste" --workspace "$dir" import customers "$work/others.csv" >/dev/null 2>&1

    port=$(free_port)
    "$posthaste" --workspace "$dir" run --listen "127.0.0.1:$port" --now 2027-03-01T11:00:00Z >/dev/null 2>"$work/engine" &
    engine=$!; started+=($engine); until_answered "$port"
    ask 2
    repeat_asking "tracking alone, $kind"
    start=$(clock); drained; echo "    all in the database $(seconds "$start" "$(clock)") s later"
    kill "$engine"; wait "$engine" 2>/dev/null || true
    echo "    $(stored) stored of $asked answered"

    "$posthaste" --workspace "$dir" run --until-idle --plan-only --now 2027-03-01T12:00:00Z >/dev/null 2>&1
    "$posthaste" --workspace "$dir" run --listen "127.0.0.1:$port" --now 2027-03-01T12:00:00Z >/dev/null 2>"$work/engine" &
    engine=$!; started+=($engine); until_answered "$port"
    before=$("$posthaste" --workspace "$dir" report second --format json | tr -d ' \n' | grep -oE '"accepted":[0-9]+' | head -1 | cut -d: -f2); start=$(clock)
    repeat_asking "tracking while a run is sent, $kind"
    after=$("$posthaste" --workspace "$dir" report second --format json | tr -d ' \n' | grep -oE '"accepted":[0-9]+' | head -1 | cut -d: -f2)
    echo "    sent meanwhile: $(per_second $((after - before)) "$(seconds "$start" "$(clock)")")/s; at the end $(grep VmHWM "/proc/$engine/status" | awk '{ print int($2 / 1024) }') MB"
    start=$(clock); drained; echo "    all in the database $(seconds "$start" "$(clock)") s later"
    kill "$engine"; wait "$engine" 2>/dev/null || true
    echo "    $(stored) stored of $asked answered"
    drop "$url"
done
