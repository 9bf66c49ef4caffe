#!/bin/sh
# Runs a command with secrets in its environment, read from files: NAME_FILE=/run/secrets/x becomes NAME. So neither
# compose.yaml, nor an image, nor a command line holds one. The names end in _FILE, as those of PostgreSQL's image do.
set -eu

for name in $(env | sed -n 's|^\([A-Z][A-Z0-9_]*\)_FILE=/run/secrets/[a-z0-9_]\{1,\}$|\1|p'); do
  file=$(printenv "${name}_FILE")
  if [ ! -r "$file" ] || [ ! -s "$file" ]; then
    echo "error: ${name}_FILE: $file: not there, not readable or empty; see docker/README.md" >&2
    exit 1
  fi
  secret=$(cat "$file")
  export "$name=$secret"
  unset "${name}_FILE"
done

exec "$@"
