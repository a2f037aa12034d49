#!/usr/bin/env bash
# The straight line at size: import, planning, sending. Real processes, the release binary, a real SMTP receiver.
#
#   benches/line.sh [CUSTOMERS=1000000] [SENT=100000] [sqlite|postgres]
#
# Prints one line a figure. Import: CUSTOMERS rows of CSV with seven attributes into an empty base. Planning: one advertising run over all of them. Sending: a
# base of SENT customers, a 14 KB personalised letter in HTML and text with 10 tracked links, the ledger durable (SQLite: WAL, FULL), one-click
# headers on, 50 connections; then smtp-source with the same size and connections against the same sink, for the ratio.
# Each figure is of one run and names the load average at its start: on a busy machine compare processor time, not the clock. measuring.sh says what is
# needed and what POSTHASTE and TMPDIR do; a million customers need about 1 GB there.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
customers=${1:-1000000}
sent=${2:-100000}
database=${3:-sqlite}
connections=50
port=$(free_port)

base() { # DIR CUSTOMERS
    fresh "$database"
    shop "$1" "$url" "$port" "$connections"
    campaign "$1" letter "at: 2027-03-01 10:00" "where: { attribute: points, at_least: 0 }, holdout: 0%" letter
    letter "$1/templates/letter.hbs" 4
    customers "$2" > "$1/customers.csv"
}

big="$work/big"; base "$big" "$customers"
measure "import" "$customers" "$posthaste" --workspace "$big" import customers "$big/customers.csv"
apply "$big" 2027-02-28T10:00:00Z
measure "planning" "$customers" "$posthaste" --workspace "$big" run --until-idle --plan-only --now 2027-03-01T10:00:00Z
drop "$url"

small="$work/small"; base "$small" "$sent"
"$posthaste" --workspace "$small" import customers "$small/customers.csv" >/dev/null 2>&1
apply "$small" 2027-02-28T10:00:00Z
start_sink "$port"
measure "sending" "$sent" "$posthaste" --workspace "$small" run --until-idle --now 2027-03-01T10:00:00Z
start=$(clock); smtp-source -d -s $connections -l 14300 -m "$sent" -f a@bench.example -t b@bench.example "127.0.0.1:$port"; took=$(seconds "$start" "$(clock)")
echo "smtp-source: $sent in $took s = $(per_second "$sent" "$took")/s"
echo "ledger: $("$posthaste" --workspace "$small" report letter --format json --now 2027-03-01T12:00:00Z | tr -d ' \n' | grep -oE '"(selected|messages|uncertain|accepted|failed)":[0-9]+' | head -5 | paste -sd ' ')"
