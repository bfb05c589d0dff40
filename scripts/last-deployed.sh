#!/usr/bin/env bash
#
# Prints the commit whose images a stack runs; nothing when it runs none yet.
#
#     pulumi stack output --json | scripts/last-deployed.sh
#
# Asked is what runs, and not a record of deployments: by the task definition, the digest of its image, and the tag that
# the registry has for that digest, which is the commit. Needs the AWS command line and jq.

set -euo pipefail

definition=$(jq --raw-output '.taskDefinitions.orders // empty')
[[ -n $definition ]] || exit 0

image=$(aws ecs describe-task-definition --task-definition "$definition" --output json |
    jq --raw-output '.taskDefinition.containerDefinitions[] | select(.name == "orders") | .image')
if [[ $image != */tandem/orders@sha256:* ]]; then
    echo "last-deployed.sh: $definition runs '$image', not an image of ours by its digest" >&2
    exit 1
fi
aws ecr describe-images --repository-name tandem/orders --image-ids imageDigest="${image#*@}" --output json |
    jq --raw-output '[.imageDetails[].imageTags[]? | select(test("^[0-9a-f]{40}$"))][0] // empty'
