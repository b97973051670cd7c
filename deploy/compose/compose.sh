# Sourced: `compose` is Compose v2 where there is one, else docker-compose 1.29.
if docker compose version >/dev/null 2>&1; then
    compose_command="docker compose"
elif command -v docker-compose >/dev/null 2>&1; then
    compose_command=docker-compose
else
    echo "Install Docker with its Compose plugin (or docker-compose 1.29) and try again." >&2
    exit 1
fi

compose() {
    $compose_command "$@"
}

# A variable as Compose sees it: the environment's, else that of .env, else the default given.
setting() {
    eval "value=\${$1:-}"
    [ -n "$value" ] || value=$(sed -n "s/^$1=//p" .env 2>/dev/null | tail -n 1)
    printf '%s' "${value:-$2}"
}
