#!/usr/bin/env bash
# One run on all hosts of a TPU pod slice. FOLDER is one that all hosts see, such as a
# mounted file share: outputs/ is written there. Words of `twotower train` follow:
#
#   TPU_NAME=NAME ZONE=ZONE clusters/tpu_pod.sh FOLDER \
#     training.mesh.data=2 training.mesh.table=8 data=table data.path=clicks.parquet
#
# PYTHON is that of an environment with the package and jax[tpu], on every host.
set -euo pipefail
: "${TPU_NAME:?of the slice}" "${ZONE:?of the slice}"
folder=${1:?a folder that all hosts see}
shift

# Every host runs the same command; jax asks the host's metadata for the others.
command="cd $(printf %q "$folder") && ${PYTHON:-python3} -m twotower_jax train --join auto"
(($# == 0)) || command+=$(printf ' %q' "$@")
gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all \
  --command="$command"
