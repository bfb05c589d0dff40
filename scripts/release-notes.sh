#!/usr/bin/env bash
#
# Prints the section of a version in CHANGELOG.md, without its heading: the notes of its release.
#
#     scripts/release-notes.sh v1.2.0

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

complain() {
    echo "release-notes.sh: $*" >&2
    exit 1
}

version=${1:-}
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || complain "the version must be a tag like v1.2.0, not '$version'"
changelog=${2:-CHANGELOG.md}

cargo_version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
[[ ${version#v} == "$cargo_version" ]] || complain "the tag is $version, and Cargo.toml says $cargo_version"

notes=$(awk -v heading="## [${version#v}]" '
    index($0, heading) == 1 { found = 1; next }
    found && (/^## / || /^\[[^]]*\]: /) { exit }
    found { print }
' "$changelog" | sed -e '/./,$!d')
[[ -n ${notes//[[:space:]]/} ]] || complain "$changelog has no section [${version#v}], or an empty one: rename [Unreleased] to it, with the date"
printf '%s\n' "$notes"
