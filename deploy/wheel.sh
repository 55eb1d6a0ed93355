#!/bin/sh
# deploy/wheel.sh PYTHON FOLDER: the wheel of this checkout, in FOLDER; the same bytes whenever and wherever it is built.
# PYTHON has setuptools. Times are those of the last commit or SOURCE_DATE_EPOCH, modes do not depend on the umask, and
# what lies around in the checkout (bytecode, an egg-info, an extension built elsewhere) stays out.
set -eu
python=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
cp -R pyproject.toml setup.py README.md LICENSE ritmo service training "$source"
find "$source" \( -name __pycache__ -o -name build \) -prune -exec rm -rf {} +
find "$source" -name '*.so' -delete
chmod -R u=rwX,go=rX "$source"
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --no-index \
    --wheel-dir "$folder" "$source"
