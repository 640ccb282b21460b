#!/bin/sh
# Prints the rules of deploy/prometheus/rules as PrometheusRule objects, for clusters with prometheus-operator:
#
#   sh monitoring/rules.sh https://git.example.com/stateroom/blob/main/docs/runbook.md | kubectl apply -n stateroom -f -
#
# The argument is the address at which your staff reads docs/runbook.md. Every alert's runbook_url begins with it. The
# address is written into the rules. An external label would be set on the Prometheus object, which all teams share, and
# would become a label of every alert and every series that leaves that Prometheus.
set -eu

case "${1-}" in
http://?* | https://?*) ;;
*)
    echo "rules.sh: give the address of the runbook, for example: sh $0 https://git.example.com/stateroom/blob/main/docs/runbook.md" >&2
    exit 2
    ;;
esac

address=$(printf %s "$1" | sed "s/[\\\\&|]/\\\\&/g; s/'/''/g")
folder=$(dirname "$0")/../../prometheus/rules
for rules in recording alerts; do
    printf -- '---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: stateroom-%s\nspec:\n' "$rules"
    sed -e "s|{{ or \$externalLabels\.stateroom_runbook \"docs/runbook\.md\" }}|$address|" -e 's/^\(..*\)$/  \1/' "$folder/$rules.yml"
done
