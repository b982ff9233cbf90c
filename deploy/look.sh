#!/usr/bin/env bash
# Where to look at a platform that runs, one failed request's trace, and the audit's verdict.
# usage: look.sh GRAFANA_URL
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/tools.sh
grafana=${1:-http://localhost:3000}
hub() { kubectl --namespace central-observability exec deployment/hub-consumer --container hub-consumer -- hub-consumer "$@"; }
clickhouse() { kubectl --namespace central-observability exec clickhouse-0-0 --container clickhouse -- clickhouse-client --query "$1"; }

echo "waiting for the first requests to be stored"
trace=
for _ in $(seq 60); do
  trace=$(clickhouse "SELECT TraceId FROM otel.otel_traces WHERE StatusCode = 'Error' AND Timestamp > now() - INTERVAL 15 MINUTE ORDER BY Timestamp DESC LIMIT 1" || true)
  [ -n "$trace" ] && break
  sleep 2
done
[ -n "$trace" ] || fail "no request was stored within two minutes; look at: kubectl --namespace central-observability logs deployment/hub-consumer"
verdict=0
hub audit --config /etc/hub-consumer/hub.yaml --last 1h || verdict=$?

cat <<TEXT

customers     $grafana/d/platform-overview?from=now-15m   (a row for each audience, and one that says whether they can be believed)
business      $grafana/d/business-explorer?from=now-15m
technical     $grafana/d/service?from=now-15m
lag           $grafana/d/pipeline-and-lag?from=now-15m
one trace     $grafana/d/service?var-trace_id=$trace
end it with   make down
TEXT
case $verdict in
  0) echo "audit         everything that was committed is stored, once" ;;
  1) fail "the audit found records that are missing or doubled; docs/runbook.md says what to do" ;;
  *) fail "the audit could not tell; look above" ;;
esac
