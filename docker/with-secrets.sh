#!/bin/sh
# Run a command with secrets from files in its environment: NAME_FILE=/run/secrets/x becomes NAME. No secret is in
# compose.yaml, in an image or on a command line. PostgreSQL's image uses the same suffix _FILE.
set -eu

for name in $(env | sed -n 's|^\([A-Z][A-Z0-9_]*\)_FILE=/run/secrets/[a-z0-9_]\{1,\}$|\1|p'); do
  file=$(printenv "${name}_FILE")
  if [ ! -r "$file" ] || [ ! -s "$file" ]; then
    echo "error: ${name}_FILE: $file: missing, not readable or empty; see docker/README.md" >&2
    exit 1
  fi
  secret=$(cat "$file")
  export "$name=$secret"
  unset "${name}_FILE"
done

exec "$@"
