#!/usr/bin/env bash
# The straight line at size: import, planning, sending. Real processes, the release binary, a real SMTP receiver.
#
#   benches/line.sh [CUSTOMERS=1000000] [SENT=100000] [DATABASE=sqlite:…]
#
# Needs Postfix's smtp-sink and smtp-source (Debian: postfix) and GNU time (Debian: time). Prints one line a figure.
# Import: CUSTOMERS rows of CSV with seven attributes into an empty base. Planning: one advertising run over all of them. Sending: a base of
# SENT customers, a 14 KB personalised letter in HTML and text with 10 tracked links, the ledger durable (SQLite: WAL, FULL), one-click
# headers on, 50 connections; then smtp-source with the same size and connections against the same sink, for the ratio.
# Each figure names the load average at its start: on a busy machine compare processor time, not the clock. POSTHASTE=FILE measures a binary that is
# there instead of building one; TMPDIR needs about 1 GB for a million customers.
set -euo pipefail
cd "$(dirname "$0")/.."
customers=${1:-1000000}
sent=${2:-100000}
database=${3:-}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
export PATH="$PATH:/usr/sbin"
posthaste=${POSTHASTE:-}
if [ -z "$posthaste" ]; then
    cargo build --locked --release --quiet
    posthaste=${CARGO_TARGET_DIR:-target}/release/posthaste
fi
posthaste=$(realpath "$posthaste")
sink_as=$([ "$(id -u)" = 0 ] && echo "-u nobody" || true)
connections=50
port=42525

seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b - a }'; }
per_second() { awk -v n="$1" -v s="$2" 'BEGIN { printf "%.0f", n / s }'; }
clock() { date +%s.%N; }

workspace() { # DIR DATABASE CUSTOMERS
    mkdir -p "$1"/{campaigns/segments,templates}
    printf 'POSTHASTE_PEPPER=bench-pepper\nPOSTHASTE_SIGNING=k1:bench-signing-key-of-32-characters\n' > "$1/.env"
    cat > "$1/posthaste.yaml" <<YAML
workspace: bench
public_url: https://go.bench.example
database: "$2"
zone: UTC
languages: [ en ]
currency: EUR
categories: [ retail ]
topics: { offers: { title: "Offers", channels: [ email ], from: shop } }
identities: { shop: { postal_address: "1 Main Street, Springfield", email: { name: "The Shop", address: news@mail.bench.example } } }
providers: { sink: { channel: email, kind: smtp, host: 127.0.0.1, port: $port, security: none, connections: $connections } }
YAML
    cat > "$1/campaigns/letter.yaml" <<'YAML'
campaign: letter
title: "A letter"
owner: ada@bench.example
class: advertising
topic: offers
task: grow
category: retail
goal: { event: purchase, within: 7 days }
audience: { where: { attribute: points, at_least: 0 }, holdout: 0% }
schedule: { at: 2027-03-01 10:00 }
message: { template: letter, subject: "{{first_name}}, something for you" }
YAML
    {
        echo '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>For you</title></head><body><h1>Hello {{first_name}} of {{city}}</h1>'
        for link in 1 2 3 4 5 6 7 8 9 10; do
            echo "<h2>Thing $link</h2><p style=\"font-size:16px;line-height:1.5\">"
            for _ in 1 2 3 4 5 6; do echo "A paragraph about thing $link that stands for what a shop writes of its lamps, rugs, cups and chairs, long enough to weigh what letters weigh."; done
            echo "</p><p><a href=\"https://shop.bench.example/thing/$link\">See thing $link</a></p>"
        done
        echo '<p>You have {{points}} points. {{identity.postal_address}} · <a href="{{unsubscribe_url}}">Unsubscribe</a></p></body></html>'
    } > "$1/templates/letter.hbs"
    awk -v n="$3" 'BEGIN { print "external_id,email,first_name,city,points,tier,birthday,segment,visits,consent.offers"
        for (i = 1; i <= n; i++) printf "K%d,person.%d@mail%d.example,Name%d,City%d,%d,%s,19%02d-%02d-%02d,s%d,%d,email\n", i, i, i % 50, i % 1000, i % 300, i % 5000, i % 3 ? "silver" : "gold", 50 + i % 50, 1 + i % 12, 1 + i % 28, i % 7, i % 90 }' > "$1/customers.csv"
}
measure() { # LABEL ROWS COMMAND…
    local label=$1 rows=$2; shift 2
    local start end load; load=$(cut -d' ' -f1 /proc/loadavg); start=$(clock)
    /usr/bin/time -f '%M %U %S' -o "$work/time" "$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err"; exit 1; }
    end=$(clock)
    local s; s=$(seconds "$start" "$end")
    read -r memory user system < "$work/time"
    echo "$label: $rows in $s s = $(per_second "$rows" "$s")/s, $((memory / 1024)) MB, processor $user + $system s, load $load"
}

big="$work/big"; workspace "$big" "${database:-sqlite:posthaste.db}" "$customers"
measure "import" "$customers" "$posthaste" --workspace "$big" import customers "$big/customers.csv"
"$posthaste" --workspace "$big" apply --yes --now 2027-02-28T10:00:00Z >/dev/null 2>&1
measure "planning" "$customers" "$posthaste" --workspace "$big" run --until-idle --plan-only --now 2027-03-01T10:00:00Z

small="$work/small"; workspace "$small" "sqlite:posthaste.db" "$sent"
"$posthaste" --workspace "$small" import customers "$small/customers.csv" >/dev/null 2>&1
"$posthaste" --workspace "$small" apply --yes --now 2027-02-28T10:00:00Z >/dev/null 2>&1
# shellcheck disable=SC2086
smtp-sink $sink_as -c 127.0.0.1:$port 1000 >"$work/sink" 2>/dev/null &
sleep 1
measure "sending" "$sent" "$posthaste" --workspace "$small" run --until-idle --now 2027-03-01T10:00:00Z
start=$(clock); smtp-source -d -s $connections -l 15000 -m "$sent" -f a@bench.example -t b@bench.example 127.0.0.1:$port; end=$(clock)
s=$(seconds "$start" "$end"); echo "smtp-source: $sent in $s s = $(per_second "$sent" "$s")/s"
echo "ledger: $("$posthaste" --workspace "$small" report letter --format json --now 2027-03-01T12:00:00Z | tr -d ' \n' | grep -oE '"(selected|messages|uncertain|accepted|failed)":[0-9]+' | head -5 | paste -sd ' ')"
