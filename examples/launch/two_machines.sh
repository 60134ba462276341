#!/bin/sh
# Two machines by hand: the same command on both at about the same time, with the machine's own number.
#
#   first$   RUNS=/shared/runs sh examples/launch/two_machines.sh 0 first:2222 second:2222
#   second$  RUNS=/shared/runs sh examples/launch/two_machines.sh 1 first:2222 second:2222
#
# RUNS is a folder that both see; machine 0, the chief, writes there. More machines: more addresses, in the same order
# everywhere. A machine that dies ends the others within a minute; the loop then starts them all again, and they resume.
set -u
index=$1; shift
workers=$(printf '"%s",' "$@")
export TF_CONFIG="{\"cluster\": {\"worker\": [${workers%,}]}, \"task\": {\"type\": \"worker\", \"index\": $index}}"
for attempt in 1 2 3 4 5; do
    keras-resnet train resnet20 --data cifar10 --output "${RUNS:?a folder that all machines share}" \
        --strategy auto --resume && exit 0
    echo "attempt $attempt ended; starting again" >&2
    sleep 15 # until the others have left too
done
exit 1
