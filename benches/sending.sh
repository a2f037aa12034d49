#!/usr/bin/env bash
# Sending beside the wire: how many letters a second leave, and how many Postfix's own generator sends to the same receiver in the same minute.
#
#   benches/sending.sh [LETTERS=100000] [sqlite|postgres] [plain|rsa|ed25519|slow] [CUSTOMERS=LETTERS]
#
# Letters of 14 KB in HTML and text with 10 tracked links, the open pixel and one-click headers; the ledger durable (SQLite: WAL, FULL); 100 connections, planned
# before. The generator's letters are as long as ours: both are weighed first, as they arrive. `rsa` and `ed25519` sign them (DKIM). `slow` is a receiver that answers 20 ms after the end of each letter, over 200 connections, and there is
# no generator to compare with. With more CUSTOMERS than LETTERS a run over all of them is planned, and stopped after so many letters.
# RUNS times (5 by default) one after the other; the median stands in the last line. measuring.sh says what is needed and what POSTHASTE and TMPDIR do.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
letters=${1:-100000}
database=${2:-sqlite}
kind=${3:-plain}
people=${4:-$letters}
connections=100
if [ "$kind" = slow ]; then connections=200; fi
port=$(free_port)

fresh "$database"
shop "$work/shop" "$url" "$port" "$connections"
# The generator keeps its connections for the whole run; so do we.
sed -i "s/security: none,/security: none, messages_per_connection: 1000000,/" "$work/shop/posthaste.yaml"
campaign "$work/shop" letter "at: 2027-03-01 10:00" "where: { attribute: points, at_least: 0 }, holdout: 0%" letter
letter "$work/shop/templates/letter.hbs" 4
# A key in one line of .env: PKCS#8 in base64.
secret() { openssl genpkey "$@" -outform DER 2>/dev/null | base64 -w0; }
case $kind in
    rsa) echo "DKIM=$(secret -algorithm RSA -pkeyopt rsa_keygen_bits:2048)" >> "$work/shop/.env"
         echo 'domains: { mail.bench.example: { dkim: { selector: s1, key: "${DKIM}" } } }' >> "$work/shop/posthaste.yaml" ;;
    ed25519) echo "DKIM=$(secret -algorithm ed25519)" >> "$work/shop/.env"
             echo 'domains: { mail.bench.example: { dkim: { selector: s1, ed25519: "${DKIM}" } } }' >> "$work/shop/posthaste.yaml" ;;
esac

# Bytes of a letter as it arrives, without the lines that the receiver adds: of ours, and of what the generator puts around its own.
weigh() { # COMMAND…
    local dump="$work/dump" as=() receiver
    rm -rf "$dump"; mkdir -m 777 "$dump"
    if [ "$(id -u)" = 0 ]; then as=(-u nobody); fi
    (cd "$dump" && exec smtp-sink "${as[@]}" -d "letter." "127.0.0.1:$port" 1000 >/dev/null 2>&1) &
    receiver=$!; until_answered "$port"
    "$@" >/dev/null 2>&1
    kill "$receiver"; wait "$receiver" 2>/dev/null || true
    sed -e '/^X-\(Client\|Helo\|Mail\|Rcpt\)-/d' -e '/^Received: from/,/^\t.*+0000/d' -e 's/$/\r/' "$(find "$dump" -type f | head -1)" | wc -c
}
if [ "$kind" != slow ]; then
    shop "$work/one" "sqlite:$work/one.db" "$port" 1
    cp "$work/shop/posthaste.yaml" "$work/one/posthaste.yaml"; cp "$work/shop/.env" "$work/one/.env"
    sed -i "s#^database:.*#database: \"sqlite:$work/one.db\"#" "$work/one/posthaste.yaml"
    cp "$work/shop/campaigns/letter.yaml" "$work/one/campaigns/"; cp "$work/shop/templates/letter.hbs" "$work/one/templates/"
    customers 1 > "$work/one.csv"
    "$posthaste" --workspace "$work/one" import customers "$work/one.csv" >/dev/null 2>&1
    apply "$work/one" 2027-02-28T10:00:00Z
    ours=$(weigh "$posthaste" --workspace "$work/one" run --until-idle --now 2027-03-01T10:00:00Z)
    around=$(weigh smtp-source -d -s 1 -l 10000 -m 1 -f a@bench.example -t b@bench.example "127.0.0.1:$port")
    length=$((ours - around + 10000))
    echo "a letter has $ours bytes"
fi

customers "$people" > "$work/customers.csv"
"$posthaste" --workspace "$work/shop" import customers "$work/customers.csv" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
rm "$work/customers.csv"
apply "$work/shop" 2027-02-28T10:00:00Z
measure "planned" "$people" "$posthaste" --workspace "$work/shop" run --until-idle --plan-only --now 2027-03-01T10:00:00Z

if [ "$kind" = slow ]; then
    receiver=("${RECEIVER:-}")
    if [ -z "${RECEIVER:-}" ]; then receiver=(cargo bench --locked --quiet --bench receiver --); fi
    "${receiver[@]}" "$port" 20 &
    started+=($!)
    until_answered "$port"
else
    start_sink "$port"
    sink=${started[-1]}
fi
# The processor time of the receiver so far, in hundredths of a second.
received() { if [ "$kind" = slow ]; then echo 0; else awk '{ print $14 + $15 }' "/proc/$sink/stat"; fi }

accepted() { "$posthaste" --workspace "$work/shop" report letter --format json --now 2027-03-01T12:00:00Z | tr -d ' \n' | grep -oE '"accepted":[0-9]+' | head -1 | cut -d: -f2; }

keep
ratios=() rates=() memories=() costs=()
for ((number = 0; number < runs; number++)); do
    take_again
    before=$(received)
    if [ "$people" = "$letters" ]; then
        once "$posthaste" --workspace "$work/shop" run --until-idle --now 2027-03-01T10:00:00Z
        sent=$letters
    else
        # The letters are counted where they are kept; the signal is a person's Ctrl-C.
        load=$(load); start=$(clock)
        /usr/bin/time -f '%M %U %S' -o "$work/time" timeout --signal=INT "${SECONDS_A_RUN:-30}" "$posthaste" --workspace "$work/shop" run --until-idle --now 2027-03-01T10:00:00Z >"$work/out" 2>"$work/err" || true
        took=$(seconds "$start" "$(clock)")
        read -r memory user system < <(tail -1 "$work/time"); memory=$((memory / 1024)); processor="$user + $system"
        sent=$(accepted)
    fi
    after=$(received)
    rate=$(per_second "$sent" "$took")
    cost=$(awk "BEGIN { printf \"%.1f\", ($processor) / $sent * 1e6 }")
    whole=$(awk "BEGIN { printf \"%.1f\", ($processor + ($after - $before) / 100) / $sent * 1e6 }")
    rates+=("$rate") memories+=("$memory") costs+=("$whole")
    if [ "$kind" = slow ]; then
        echo "$sent in $took s = $rate/s, $memory MB, $cost us of processor a letter, load $load"
        continue
    fi
    start=$(clock); smtp-source -d -s $connections -l "$length" -m "$sent" -f a@bench.example -t b@bench.example "127.0.0.1:$port"; wire=$(seconds "$start" "$(clock)")
    ratio=$(awk "BEGIN { printf \"%.3f\", $wire / $took }")
    ratios+=("$ratio")
    echo "$sent in $took s = $rate/s, $memory MB, $cost us of processor a letter ($whole with the receiver's), load $load; smtp-source: $wire s = $(per_second "$sent" "$wire")/s; ratio $ratio"
done
echo "ledger: accepted $(accepted)"
echo "$database $kind, median of $runs: $(median "${rates[@]}")/s, $(median "${memories[@]}") MB, $(median "${costs[@]}") us of processor a letter, receiver included${ratios[0]:+, ratio $(median "${ratios[@]}")}"
