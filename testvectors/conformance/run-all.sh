#!/bin/sh
# Builds the peers and runs every combination, short. Usage: ./run-all.sh [seed [schedules]]
set -u
cd "$(dirname "$0")"
seed=${1:-1} n=${2:-60} rc=0
here=$(pwd)
S="node $here/signal-peer/peer.mjs"
M="$here/mau-peer/mau-peer"
[ -d signal-peer/node_modules ] || (cd signal-peer && npm ci --ignore-scripts) || exit 2
(cd mau-peer && go build -o mau-peer .) || exit 2
run() { echo "--- $*"; "$@" || { rc=1; echo "FAILED: $*"; }; }
drive() { a=$1 b=$2; shift 2; run python3 drive/drive.py --a "$a" --b "$b" --seed "$seed" --schedules "$n" "$@"; }
cross() { run python3 drive/cross.py --a "$1" --b "$2" --seed "$seed" --rounds 10; }

if [ "${SOTTO_ONLY:-}" = "" ]; then
	for m in talk simultaneous reset group; do drive "$S" "$S" --mode $m; done
	for m in talk group; do drive "$M" "$M" --mode $m; done
	drive "$M" "$S"
	drive "$S" "$M"
	cross "$S" "$S"; cross "$M" "$M"; cross "$M" "$S"
fi

(cd ../.. && go build -o "$here/sotto-peer" ./testvectors/peer) || exit 2
T="$here/sotto-peer" W="$here/sotto-peer --family whatsapp"
for m in talk simultaneous reset archived; do
	drive "$T" "$T" --mode $m
	drive "$S" "$T" --mode $m
	drive "$S" "$W" --mode $m
done
drive "$S" "$T" --mode skipped --schedules 2 # 20 s each
for peer in "$S" "$T"; do drive "$peer" "$T" --mode group; done # the WhatsApp family's format is another one
for m in talk group; do drive "$W" "$M" --mode $m; done
drive "$T" "$M"
cross "$S" "$T"; cross "$T" "$T"; cross "$S" "$W"; cross "$M" "$W"
exit $rc
