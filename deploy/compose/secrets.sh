# Sourced, behind compose.sh: the files of secrets/ that are not there yet, with values made by
# chance. One that is there stays as it is.
random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

kms_key() {
    head -c 32 /dev/urandom | base64 | tr -d '\n'
}

# A file that is only half-written is never seen.
secret() {
    [ -e "secrets/$1" ] && return
    printf '%s' "$2" >"secrets/.$1.new"
    mv "secrets/.$1.new" "secrets/$1"
    made="$made $1"
}

made=
(umask 077 && mkdir -p secrets)
umask 077
secret postgres_password "$(random)"
secret owner_password "$(random)"
secret app_password "$(random)"
secret redis_password "$(random)"
secret database_url "postgresql://citestream_app:$(cat secrets/app_password)@postgres:5432/citestream"
secret database_owner_url \
    "postgresql://citestream_owner:$(cat secrets/owner_password)@postgres:5432/citestream"
secret redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
secret openai_api_key ""
secret mistral_api_key ""
secret agent_kms_key "$(kms_key)"
secret auth_secret "$(random)"
umask 022
if [ -n "$made" ]; then
    echo "Made new secrets in secrets/, readable by their owner alone:$made"
    case $made in
    *agent_kms_key*)
        echo "Keep a copy of secrets/agent_kms_key: agents' provider keys cannot be read without it" ;;
    esac
fi
if [ "$(id -u)" = 0 ]; then
    chown "$(setting SERVICE_UID 10001):$(setting SERVICE_GID 10001)" secrets/*
fi
