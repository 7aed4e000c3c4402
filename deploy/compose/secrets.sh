#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml mounts, in deploy/compose/secrets or the folder given. Passwords and keys that are
# there already are kept, and what follows from them is written anew: run it again after an upgrade. Nothing is printed.
#
# The folder is for its owner only. The files in it can be read by all, since Compose mounts them with the mode they have here and
# the containers run as other users.
set -euo pipefail
umask 077

dir=${1:-$(dirname "$0")/secrets}
services=(identity catalog subscription metering analytics billing)
mkdir -p "$dir/kept"

for tool in openssl base32 sha256sum od; do
	command -v "$tool" >/dev/null || { echo "secrets.sh: $tool is needed and not there" >&2; exit 1; }
done

# keep NAME COMMAND...: the secret of that name, made by the command the first time.
keep() {
	local name=$1 file=$dir/kept/$1
	shift
	if [ ! -s "$file" ]; then
		"$@" >"$file.new"
		mv "$file.new" "$file"
	fi
	cat "$file"
}

# put NAME: writes a file from the standard input, at once or not at all.
put() {
	cat >"$dir/$1.new"
	chmod 0444 "$dir/$1.new"
	mv -f "$dir/$1.new" "$dir/$1"
}

password() { openssl rand -hex 24; }

# binary HEX: the bytes.
binary() {
	local text='' i
	for ((i = 0; i < ${#1}; i += 2)); do text+="\\x${1:i:2}"; done
	printf "$text"
}

hexadecimal() {
	local text
	text=$(od -An -v -tx1)
	echo "${text//[[:space:]]/}"
}

# crc HEX: CRC-16/XMODEM, low byte first, as nkeys have it.
crc() {
	local sum=0 i bit
	for ((i = 0; i < ${#1}; i += 2)); do
		sum=$((sum ^ (16#${1:i:2} << 8)))
		for bit in 1 2 3 4 5 6 7 8; do
			sum=$((sum & 0x8000 ? (sum << 1 ^ 0x1021) & 0xffff : sum << 1))
		done
	done
	printf '%02x%02x' $((sum & 0xff)) $((sum >> 8))
}

# nkey HEX: the text form of a key with its prefix.
nkey() {
	local text
	text=$(binary "$1$(crc "$1")" | base32 -w 0)
	echo "${text//=/}"
}

# public SEED: the public key of 32 bytes that are an Ed25519 seed (RFC 8410 has the DER form).
public() { binary "302e020100300506032b657004220420$1" | openssl pkey -inform DER -pubout -outform DER | tail -c 32 | hexadecimal; }

# The users of NATS: the server learns public keys (nkeys that begin with U), a service its seed (SU).
for service in "${services[@]}" gateway; do
	seed=$(keep "nats-$service" openssl rand -hex 32)
	nkey "9500$seed" | put "$service.nk"
	echo "nkey_$service: $(nkey "a0$(public "$seed")")"
done | put nats-keys.conf

routes=$(keep nats-cluster password)
put nats-routes.conf <<CONF
cluster_password: "$routes"
cluster_routes: [
  "nats-route://tollgate:$routes@nats:6222"
  "nats-route://tollgate:$routes@nats-2:6222"
  "nats-route://tollgate:$routes@nats-3:6222"
]
CONF

# PostgreSQL: a role and a database for each service, and what tells it to the service.
keep postgres password | put postgres-password
clickhouse=$(keep clickhouse-analytics password)
# seal SERVICE: the key that the service seals secrets in its database with.
seal() { echo "seal-key: $(keep "seal-$1" openssl rand -base64 32)"; }
# mail: where mail goes, if kept/mail-url says so.
mail() { if [ -s "$dir/kept/mail-url" ]; then echo "mail-url: $(cat "$dir/kept/mail-url")"; fi; }
for service in "${services[@]}"; do
	secret=$(keep "postgres-$service" password)
	{
		echo "postgres-url: postgres://$service:$secret@postgres:5432/$service?sslmode=disable"
		case $service in
		analytics) echo "clickhouse-url: clickhouse://analytics:$clickhouse@clickhouse:9000/analytics" ;;
		esac
		case $service in
		identity | subscription | analytics)
			seal "$service"
			mail
			;;
		esac
	} | put "$service.yaml"
	cat <<SQL
CREATE ROLE $service LOGIN PASSWORD '$secret';
CREATE DATABASE $service OWNER $service;
REVOKE ALL ON DATABASE $service FROM PUBLIC;
SQL
done | put postgres-init.sql

# ClickHouse: the passwords' hashes for the users of deploy/clickhouse/users.d.
grafana=$(keep clickhouse-grafana password)
hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
put clickhouse-passwords.xml <<XML
<clickhouse>
    <users>
        <analytics><password_sha256_hex>$(hash "$clickhouse")</password_sha256_hex></analytics>
        <grafana><password_sha256_hex>$(hash "$grafana")</password_sha256_hex></grafana>
    </users>
</clickhouse>
XML
put grafana-clickhouse-password <<<"$grafana"
keep grafana-admin password | put grafana-admin-password
