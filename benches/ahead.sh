#!/usr/bin/env bash
# The coming thirty days of twenty campaigns over a base of PEOPLE, twice: how long, how much memory, and whether both are the same to the byte.
#
#   benches/ahead.sh [PEOPLE=100000] [DAYS=30]
#
# Twelve weekly campaigns and five monthly ones to everyone, two birthdays, a daily one to five in a hundred; at most one advertising letter a day and
# three in seven days. measuring.sh says what is needed and what POSTHASTE and TMPDIR do.
set -euo pipefail
source "$(dirname "$0")/measuring.sh"
people=${1:-100000}
days=${2:-30}

shop="$work/shop"
mkdir -p "$shop"/{campaigns,templates}
printf 'POSTHASTE_PEPPER=bench-pepper\nPOSTHASTE_SIGNING=%s\n' "$signing" > "$shop/.env"
cat > "$shop/posthaste.yaml" <<'YAML'
workspace: bench
public_url: https://go.bench.example
zone: Europe/Kyiv
languages: [ en ]
currency: UAH
attributes: { birthday: date, city: text, points: number }
categories: [ retail ]
topics: { offers: { title: "Offers", channels: [ email ], from: shop } }
identities: { shop: { postal_address: "1 Main Street, Springfield", email: { name: "The Shop", address: news@mail.bench.example } } }
providers: { relay: { channel: email, kind: smtp, host: 127.0.0.1, port: 2525, security: none, rate: 100 per second, price: 0.01 UAH } }
policy:
  caps:
    - { class: advertising, channel: email, at_most: 1, per: day }
    - { class: advertising, at_most: 3, in: 7 days }
YAML
cat > "$shop/templates/letter.hbs" <<'HTML'
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>For you</title></head><body>
<p>Hello {{default first_name 'friend'}}, <a href="https://shop.bench.example/">see</a>. {{identity.postal_address}} <a href="{{unsubscribe_url}}">Unsubscribe</a></p></body></html>
HTML
campaign() { # KEY PRIORITY SCHEDULE AUDIENCE
    cat > "$shop/campaigns/$1.yaml" <<YAML
campaign: $1
title: "$1"
owner: ada@bench.example
class: advertising
topic: offers
task: grow
category: retail
priority: $2
goal: { event: purchase, within: 7 days }
audience: { $4, holdout: 5% }
schedule: { $3 }
message: { template: letter, subject: "{{default first_name 'Hello'}}, something for you" }
YAML
}
weekdays=(monday tuesday wednesday thursday friday saturday)
for number in $(seq 12); do
    campaign "weekly-$number" $((30 + number)) "every: ${weekdays[$((number % 6))]} at $(printf %02d $((8 + number))):00" "segment: everyone"
done
for number in $(seq 5); do campaign "monthly-$number" 60 "every: month on $((number * 5)) at 12:00" "segment: everyone"; done
campaign birthday-gift 80 "anniversary: birthday, time: 10:00" "segment: everyone"
campaign birthday-soon 40 "anniversary: birthday, time: 10:00, before: 7" "segment: everyone"
campaign daily 20 "every: day at 09:00" "where: { sample: 5%, draw: daily }"
awk -v n="$people" 'BEGIN { print "external_id,email,first_name,city,points,birthday,consent.offers"
    for (i = 1; i <= n; i++) printf "K%d,person.%d@mail%d.example,Name%d,City%d,%d,19%02d-%02d-%02d,email\n", i, i, i % 50, i % 1000, i % 300, i % 5000, 50 + i % 50, 1 + i % 12, 1 + i % 28 }' > "$shop/customers.csv"
"$posthaste" --workspace "$shop" import customers "$shop/customers.csv" >/dev/null 2>&1

for try in 1 2; do
    once "$posthaste" --workspace "$shop" simulate --days "$days" --from 2027-03-01T00:00:00Z --json
    mv "$work/out" "$work/ahead-$try.json"
    echo "simulation $try: $took s, $memory MB, processor $processor s, load $load"
done
python3 - "$work/ahead-1.json" <<'PY' 2>/dev/null || true
import json, sys
days = json.load(open(sys.argv[1]))["days"]
of = lambda key: sum(campaign[key] for day in days for campaign in day["campaigns"])
print("selected", of("selected"), "messages", of("messages"), "sent", sum(hour["messages"] for day in days for campaign in day["campaigns"] for hour in campaign["sent"]))
PY
cmp "$work/ahead-1.json" "$work/ahead-2.json" && echo "both are the same to the byte"
