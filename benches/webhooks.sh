#!/usr/bin/env bash
# Webhooks of providers over HTTP, each proved and stored before it is answered, then read by the engine.
#
#   benches/webhooks.sh [SECONDS=10] [DATABASES="sqlite postgres"] [CONNECTIONS=64]
#
# wrk posts bounces as Postmark tells them, each of another message and another size, to an address with a secret; afterwards the engine reads what is
# stored, and `posthaste providers` must count every one that was answered. Needs wrk. measuring.sh says what RUNS, POSTHASTE and TMPDIR do.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
lasting=${1:-10}
databases=${2:-sqlite postgres}
connections=${3:-64}
secret=bench-secret-of-the-address-0001

cat > "$work/posts.lua" <<'LUA'
local number = 0
function init(arguments) number = tonumber(arguments[1]) end
function request()
    number = number + 1
    local body = string.format('{"RecordType":"Bounce","ID":%d,"Type":"HardBounce","TypeCode":1,"MessageID":"%08x-0000-4000-8000-%012x","Tag":"",'
        .. '"Description":"The server was unable to deliver your message","Details":"smtp;550 5.1.1 <p%d@example.org>: no such user%s","Email":"p%d@example.org",'
        .. '"BouncedAt":"2027-03-01T12:00:00Z","DumpAvailable":false,"Inactive":true,"CanActivate":true}',
        number, number % 0xffffffff, number, number, string.rep(".", number % 300), number)
    return wrk.format("POST", wrk.path, { ["Content-Type"] = "application/json" }, body)
end
function done(summary, latency)
    local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout
    io.write(string.format("HITS %d %.0f %.1f %d\n", summary.requests, summary.requests / summary.duration * 1e6, latency:percentile(99) / 1000, bad))
end
LUA

for kind in $databases; do
    fresh "$kind"
    dir="$work/webhooks-$kind"
    shop "$dir" "$url" 2525 1
    sed -i "s/^providers: .*/providers: { sink: { channel: email, kind: smtp, host: 127.0.0.1, port: 2525, security: none, webhooks: { of: postmark, secret: \"\${HOOK}\" } } }/" "$dir/posthaste.yaml"
    echo "HOOK=$secret" >> "$dir/.env"
    campaign "$dir" letter "at: 2027-03-01 10:00" "where: { attribute: points, at_least: 0 }, holdout: 0%" letter
    letter "$dir/templates/letter.hbs" 1
    apply "$dir" 2027-02-28T10:00:00Z
    port=$(free_port)
    "$posthaste" --workspace "$dir" run --listen "127.0.0.1:$port" --now 2027-03-01T11:00:00Z >/dev/null 2>"$work/engine" &
    engine=$!; started+=($engine); until_answered "$port"
    asked=0 rates=() slow=() faults=0
    for ((number = 0; number < runs; number++)); do
        read -r hits rate slowest bad < <(wrk -t1 -c"$connections" -d"${lasting}s" -s "$work/posts.lua" "http://127.0.0.1:$port/hooks/sink/$secret" -- "$asked" | sed -n 's/^HITS //p')
        asked=$((asked + hits)); rates+=("$rate"); slow+=("$slowest"); faults=$((faults + bad))
    done
    echo "webhooks, $kind: $(median "${rates[@]}")/s (${rates[*]}), 99 in 100 within $(median "${slow[@]}") ms, $asked answered, $faults faults, $(grep VmHWM "/proc/$engine/status" | awk '{ print int($2 / 1024) }') MB"
    kill "$engine"; wait "$engine" 2>/dev/null || true
    "$posthaste" --workspace "$dir" providers --now 2027-03-01T12:00:00Z
    drop "$url"
done
