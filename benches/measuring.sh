# What the scripts of this folder share: the program, clocks and medians, a workspace, people and events, both databases, receivers.
#
# To be sourced after `set -euo pipefail`. Afterwards the shell stands in the repository's folder, $posthaste is the program, $work a folder that
# goes at the end together with everything that was started. POSTHASTE=FILE measures a program that is there instead of building one;
# RUNS=N repeats each figure N times (5 by default) and gives the median; TMPDIR says where the bases stand.
# Needs GNU time (Debian: time); some scripts need Postfix's smtp-sink and smtp-source (postfix), wrk (wrk) and PostgreSQL (postgresql).

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH="$PATH:/usr/sbin"
runs=${RUNS:-5}
work=$(mktemp -d)
chmod 755 "$work"
started=()
trap end_all EXIT

end_all() {
    local process
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}

posthaste=${POSTHASTE:-}
if [ -z "$posthaste" ]; then
    cargo build --locked --release --quiet
    posthaste=${CARGO_TARGET_DIR:-target}/release/posthaste
fi
posthaste=$(realpath "$posthaste")

# --- clocks

clock() { date +%s.%N; }
seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'; }
per_second() { awk -v n="$1" -v s="$2" 'BEGIN { printf "%.0f", n / s }'; }
median() { printf '%s\n' "$@" | sort -g | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'; }
load() { cut -d' ' -f1 /proc/loadavg; }

# Runs a command once: sets took, memory (MB), processor (user + system) and load, that at its start.
once() { # COMMAND…
    local start end user system; load=$(load); start=$(clock)
    /usr/bin/time -f '%M %U %S' -o "$work/time" "$@" >"$work/out" 2>"$work/err" || { tail -n 20 "$work/out" "$work/err" >&2; exit 1; }
    end=$(clock); took=$(seconds "$start" "$end")
    read -r memory user system < <(tail -1 "$work/time")
    memory=$((memory / 1024)); processor="$user + $system"
}

# One line: what was done to how many rows, how fast, and at what price.
tell() { # LABEL ROWS
    echo "$1: $2 in $took s = $(per_second "$2" "$took")/s, $memory MB, processor $processor s, load $load"
}

measure() { # LABEL ROWS COMMAND…
    local label=$1 rows=$2; shift 2
    once "$@"; tell "$label" "$rows"
}

# Repeats a command on the same base, and gives the median with all that was measured.
repeat() { # LABEL COMMAND…
    local label=$1 all=() memories=() processors=() first number; shift
    first=$(load)
    for ((number = 0; number < runs; number++)); do once "$@"; all+=("$took"); memories+=("$memory"); processors+=("$(awk "BEGIN { print $processor }")"); done
    echo "$label: $(median "${all[@]}") s (${all[*]}), $(median "${memories[@]}") MB, processor $(median "${processors[@]}") s, load $first to $(load)"
}

# --- databases

# An empty database of a kind: sets url.
number_of_databases=0
fresh() { # sqlite|postgres
    number_of_databases=$((number_of_databases + 1))
    case $1 in
        sqlite) url="sqlite:$work/base-$number_of_databases.db" ;;
        postgres)
            [ -n "${postgres_port:-}" ] || start_postgres
            "$postgres_bin/psql" -h "$work/postgres" -p "$postgres_port" -U postgres -qc "CREATE DATABASE base_$number_of_databases" postgres
            url="postgres://postgres@127.0.0.1:$postgres_port/base_$number_of_databases" ;;
        *) echo "a database is sqlite or postgres, not $1" >&2; exit 2 ;;
    esac
}

# Frees the room of a database that is not needed any more.
drop() { # URL
    case $1 in
        sqlite:*) rm -f "${1#sqlite:}"* ;;
        *) "$postgres_bin/psql" -h "$work/postgres" -p "$postgres_port" -U postgres -qc "DROP DATABASE ${1##*/}" postgres ;;
    esac
}

# A base is kept once, and taken anew for each run; afterwards it is forgotten.
keep() {
    case $url in
        sqlite:*) cp "${url#sqlite:}" "$work/kept" ;;
        *) "$postgres_bin/psql" -h "$work/postgres" -p "$postgres_port" -U postgres -qc "CREATE DATABASE kept TEMPLATE ${url##*/}" postgres ;;
    esac
}
take_again() {
    case $url in
        sqlite:*) rm -f "${url#sqlite:}"*; cp "$work/kept" "${url#sqlite:}" ;;
        *) drop "$url"; "$postgres_bin/psql" -h "$work/postgres" -p "$postgres_port" -U postgres -qc "CREATE DATABASE ${url##*/} TEMPLATE kept" postgres ;;
    esac
    sync
}
forget() {
    case $url in
        sqlite:*) rm -f "$work/kept" ;;
        *) "$postgres_bin/psql" -h "$work/postgres" -p "$postgres_port" -U postgres -qc "DROP DATABASE kept" postgres ;;
    esac
}

# A private server that stops at the end; durable (fsync) as it comes, with more memory and rarer checkpoints. initdb refuses root: there it runs as the
# user postgres.
start_postgres() {
    local initdb as=()
    initdb=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -1)
    initdb=${initdb:-$(command -v initdb)} || { echo "no initdb was found under /usr/lib/postgresql or on PATH" >&2; exit 1; }
    postgres_bin=$(dirname "$initdb")
    postgres_port=$(free_port)
    mkdir -p "$work/postgres"
    if [ "$(id -u)" = 0 ]; then chown postgres "$work/postgres"; as=(setpriv --reuid postgres --regid postgres --clear-groups); fi
    "${as[@]}" "$initdb" -D "$work/postgres/data" -U postgres -A trust -E UTF8 --locale=C >/dev/null
    "${as[@]}" "$postgres_bin/postgres" -D "$work/postgres/data" -k "$work/postgres" -h 127.0.0.1 -p "$postgres_port" -c shared_buffers=1GB \
        -c max_wal_size=4GB -c max_connections=100 >"$work/postgres/log" 2>&1 &
    started+=($!)
    until "$postgres_bin/pg_isready" -q -h "$work/postgres" -p "$postgres_port"; do sleep 0.1; done
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# --- a workspace

# A shop with one provider, and no campaign yet.
shop() { # DIR URL SMTP_PORT CONNECTIONS
    mkdir -p "$1"/{campaigns/segments,templates}
    printf 'POSTHASTE_PEPPER=bench-pepper\nPOSTHASTE_SIGNING=%s\nPOSTHASTE_API_KEY=bench-key\n' "$signing" > "$1/.env"
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
providers: { sink: { channel: email, kind: smtp, host: 127.0.0.1, port: $3, security: none, connections: $4 } }
YAML
}
signing=k1:bench-signing-key-of-32-characters

campaign() { # DIR KEY SCHEDULE AUDIENCE TEMPLATE
    cat > "$1/campaigns/$2.yaml" <<YAML
campaign: $2
title: "The letter $2"
owner: ada@bench.example
class: advertising
topic: offers
task: grow
category: retail
goal: { event: purchase, value: amount, within: 7 days }
audience: { $4 }
schedule: { $3 }
message: { template: $5, subject: "{{first_name}}, something for you" }
YAML
}

# A letter of 14 KB in HTML and text with ten tracked links; or a short one.
letter() { # FILE PARAGRAPHS_A_LINK
    {
        echo '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>For you</title></head><body><h1>Hello {{first_name}} of {{city}}</h1>'
        for link in 1 2 3 4 5 6 7 8 9 10; do
            echo "<h2>Thing $link</h2><p style=\"font-size:16px;line-height:1.5\">"
            for ((row = 0; row < $2; row++)); do echo "A paragraph about thing $link that stands for what a shop writes of its lamps, rugs, cups and chairs, as long as in real letters."; done
            echo "</p><p><a href=\"https://shop.bench.example/thing/$link\">See thing $link</a></p>"
        done
        echo '<p>You have {{points}} points. {{identity.postal_address}} · <a href="{{unsubscribe_url}}">Unsubscribe</a></p></body></html>'
    } > "$1"
}

# Ten columns, one consent each; `first` people begin with that number.
customers() { # COUNT [FIRST=1] > FILE
    awk -v n="$1" -v first="${2:-1}" 'BEGIN { print "external_id,email,first_name,city,points,tier,birthday,segment,visits,consent.offers"
        for (i = first; i < first + n; i++) printf "K%d,person.%d@mail%d.example,Name%d,City%d,%d,%s,19%02d-%02d-%02d,s%d,%d,email\n", i, i, i % 50, i % 1000, i % 300, i % 5000, i % 3 ? "silver" : "gold", 50 + i % 50, 1 + i % 12, 1 + i % 28, i % 7, i % 90 }'
}

# What happened to them: EACH events a customer, one in five a purchase, over the 300 days before March 2027, in the order of time.
events() { # CUSTOMERS EACH > FILE
    awk -v n="$1" -v each="$2" 'BEGIN { print "customer,event,at,id,page,amount"; start = 1777939200; total = n * each
        for (i = 0; i < total; i++) { at = start + int(i / total * 25920000); k = (i * 7919) % n + 1
            when = strftime("%Y-%m-%dT%H:%M:%SZ", at, 1)
            if (i % 5 == 0) printf "K%d,purchase,%s,E%d,,%d.%02d\n", k, when, i, 5 + i % 200, i % 100
            else printf "K%d,visit,%s,E%d,/thing/%d,\n", k, when, i, i % 500 } }'
}

apply() { "$posthaste" --workspace "$1" apply --yes --now "$2" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }; } # DIR NOW

# --- receivers

start_sink() { # PORT
    local as=(); if [ "$(id -u)" = 0 ]; then as=(-u nobody); fi
    smtp-sink "${as[@]}" -c "127.0.0.1:$1" 1000 >/dev/null 2>&1 &
    started+=($!); sleep 1
}

# Waits until a server answers at its port.
until_answered() { # PORT
    until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do sleep 0.002; done
}

# --- a crowd that answers (crowd.rs, built when it is first wanted; CROWD=FILE is one that is there)

crowd=(cargo bench --locked --quiet --bench crowd --)
if [ -n "${CROWD:-}" ]; then crowd=("$CROWD"); fi
