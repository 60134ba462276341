#!/bin/sh
# One machine, all of its GPUs: synchronous data parallelism by MirroredStrategy; with one GPU or none, no strategy.
#
#   RUNS=/data/runs sh examples/launch/one_machine.sh
#
# Started again after an interruption, it continues. CUDA_VISIBLE_DEVICES=0,1 takes two GPUs only.
set -eu
exec keras-resnet train resnet20 --data cifar10 --output "${RUNS:-runs}" --strategy auto --resume
