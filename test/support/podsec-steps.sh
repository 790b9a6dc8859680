#!/bin/sh
# What podsec's commands do on the machines of a room, one step after the other and with the same programs. Each runs as the user who would run it.
#
#   create-policy ADDRESS            root: names, keys, policy and places of signatures, all from the server
#   create-podmanuser NAME           root: a user who runs containers and can't change what they are verified by
#   create-imagemakeruser NAME EMAIL root: a user who signs, with a new key; its public half goes to /var/sigstore/keys
#   load-sign-oci ARCHIVE ARCH EMAIL an image maker: pushes what podsec-save-oci saved, and signs it
#   latest-tag IMAGE                 anybody: the newest tag, as podsec-u7s-kubeadm looks for it
#   check-policy                     root: what podsec-inotify-check-policy finds fault with
#   check-images                     a user: which of his images are signed, as podsec-inotify-check-images finds out
set -eu

containers=/etc/containers
keys=/var/sigstore/keys
signatures=http://sigstore.local:81/sigstore/

create_policy() {
	if grep -q 'registry\.local\|sigstore\.local\|trivy\.local' /etc/hosts; then
		echo "/etc/hosts has the names already: remove them first" >&2
		exit 1
	fi
	echo "$1 registry.local sigstore.local trivy.local" >>/etc/hosts
	groupadd --system --force podman
	mkdir -p "$keys" "$containers/registries.d"
	chgrp podman "$keys"
	# Whatever is listed is a file to fetch.
	curl --silent --show-error --fail --output "$keys/.listing" http://sigstore.local:81/keys/
	jq --raw-output '.[].name' "$keys/.listing" | while read -r name; do
		curl --silent --show-error --fail --output "$keys/$name" "http://sigstore.local:81/keys/$name"
	done
	stamp=$(date +%Y-%m-%d_%H:%M:%S)
	cp "$keys/policy.json" "$containers/policy_$stamp"
	ln -sf "policy_$stamp" "$containers/policy.json"
	printf 'default-docker:\n  lookaside: %s\n  sigstore: %s\n' "$signatures" "$signatures" \
		>"$containers/registries.d/default_$stamp"
	ln -sf "default_$stamp" "$containers/registries.d/default.yaml"
	touch "$containers/registries.conf"
	if ! grep -q '^location.*registry\.local' "$containers/registries.conf"; then
		cp "$containers/registries.conf" "$containers/registries_$stamp"
		printf '\n[[registry]]\nlocation = "registry.local"\ninsecure = true\n' >>"$containers/registries_$stamp"
		ln -sf "registries_$stamp" "$containers/registries.conf"
	fi
}

create_podmanuser() {
	groupadd --system --force podman
	useradd --create-home --gid podman "$1"
	mkdir -p "/home/$1/.config/containers"
	cp "$containers/storage.conf" "/home/$1/.config/containers/"
	chown "$1:podman" "/home/$1/.config"
	chmod -R go-w "/home/$1/.config/containers"
}

create_imagemakeruser() {
	groupadd --system --force podman
	groupadd --system --force podman_dev
	useradd --create-home --gid podman --groups podman_dev "$1"
	config=/home/$1/.config/containers
	mkdir -p "$config/registries.d" "$keys"
	chgrp podman_dev "$keys"
	chmod 775 "$keys"
	cp "$containers/storage.conf" "$config/"
	echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$config/policy.json"
	# Where podsec's own server keeps signatures as files; another server's clients can't write there.
	staging=file:///var/sigstore/sigstore/
	printf 'default-docker:\n  lookaside: %s\n  sigstore: %s\n  lookaside-staging: %s\n  sigstore-staging: %s\n' \
		"$signatures" "$signatures" "$staging" "$staging" >"$config/registries.d/default.yaml"
	chown -R "$1:podman" "/home/$1/.config"
	as_user="runuser -u $1 -- env HOME=/home/$1 gpg --batch --quiet --no-tty"
	$as_user --passphrase '' --quick-generate-key "$1 <$2>" rsa3072 sign never
	$as_user --output "$keys/$1.pgp" --armor --export "$2"
}

load_sign_oci() {
	place=$(mktemp -d)
	xz --decompress --stdout "$1" | tar -x -C "$place"
	test -f "$place/$2/index.json"
	jq --raw-output '.manifests[].annotations[]' "$place/$2/index.json" >"$place/names"
	while read -r name; do
		skopeo --override-arch "$2" copy --quiet "oci:$place/$2:$name" "containers-storage:registry.local/$name"
	done <"$place/names"
	while read -r name; do
		podman push --quiet --tls-verify=false --sign-by="$3" "registry.local/$name"
	done <"$place/names"
	rm -rf "$place"
}

latest_tag() {
	curl --silent --show-error --fail "http://registry.local/v2/$1/tags/list" | jq --raw-output '.tags | sort | last'
}

check_policy() {
	jq --raw-output '
		(select(.default[0].type != "reject") | "everything is accepted that nothing is said about"),
		(select([.transports.docker | to_entries[] | select(.value[].type == "signedBy").key] | index("registry.local") | not)
			| "registry.local needs no signature"),
		(.transports.docker | to_entries[] | select(.value[].type != "signedBy") | "\(.key) needs no signature"),
		(.transports | keys[] | select(. != "docker") | "images come by \(.) too")
	' "$containers/policy.json"
	grep -q "^  lookaside: $signatures\$" "$containers/registries.d/default.yaml" || echo "signatures lie elsewhere"
}

check_images() {
	answer=$(mktemp)
	podman images --format json | jq --raw-output '[.[].RepoDigests[]] | sort | unique | .[]' | while read -r image; do
		# The place has no host, and ends in a slash: so there are two of them, one after the other.
		path=$(echo "${image#*/}" | tr : =)
		if wget --quiet --output-document="$answer" "$signatures/$path/signature-1"; then
			echo "signed $image"
		else
			echo "unsigned $image"
		fi
	done
	rm "$answer"
}

step=$(echo "$1" | tr - _)
shift
"$step" "$@"
