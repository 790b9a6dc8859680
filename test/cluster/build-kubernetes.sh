#!/bin/sh
# kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubelet, kubeadm, kubectl and pause for the cluster test, built from
# the source of Debian's own package (Debian 12 ships kubectl only). About 15 minutes on 2 cores, once: what is there is not built again.
#
#   sh test/cluster/build-kubernetes.sh DIRECTORY
#
# As root on Debian 12: installs the Go compiler. The programs are for tests, not for users: 1.20 gets no security fixes.
# There is no other version to choose: the sources of Debian's later packages ("+ds": 1.32.3 in 13, 1.36.4 after it) have kubectl alone.
# Programs of another version are yours to bring, as ROLLCALL_KUBERNETES (docs/cluster.md).
set -eu
out=${1:?usage: build-kubernetes.sh DIRECTORY}
version=1.20.2
source=kubernetes_1.20.5+really1.20.2.orig.tar.gz
sha256=b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc
programs="kubeadm kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl"

mkdir -p "$out"
out=$(cd "$out" && pwd)
missing=
for program in $programs pause; do [ -x "$out/bin/$program" ] || missing="$missing $program"; done
[ -n "$missing" ] || { echo "everything is built: $out/bin"; exit 0; }

DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
	golang-go golang-github-modern-go-reflect2-dev rsync curl gcc libc6-dev >/dev/null
if ! echo "$sha256  $out/$source" | sha256sum --check --status 2>/dev/null; then
	for mirror in http://deb.debian.org/debian http://snapshot.debian.org/archive/debian/20261115T000000Z; do
		curl -fsSL --retry 3 -o "$out/$source.part" "$mirror/pool/main/k/kubernetes/$source" && break
	done
	echo "$sha256  $out/$source.part" | sha256sum --check --status || { echo "$source is not what it should be" >&2; exit 1; }
	mv "$out/$source.part" "$out/$source"
fi

tree=$out/gopath/src/k8s.io/kubernetes
if [ ! -e "$tree/.unpacked" ]; then
	rm -rf "$tree"
	mkdir -p "$tree"
	tar -xzf "$out/$source" -C "$tree" --strip-components=1
	# The vendored 1.0.1 crashes under Go 1.18 and later, in the garbage collector, after minutes.
	rm -rf "$tree/vendor/github.com/modern-go/reflect2"
	cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 "$tree/vendor/github.com/modern-go/"
	touch "$tree/.unpacked"
fi
export GOPATH="$out/gopath" GO111MODULE=off GOCACHE="$out/gocache" GOFLAGS=-trimpath CGO_ENABLED=0
cd "$tree"
openapi=pkg/generated/openapi/zz_generated.openapi.go
if [ ! -e "$openapi" ]; then
	echo "generating $openapi"
	go build -o "$out/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
	# Every package that asks for it; the scheduler's configuration, whose durations this generator can't read, is nobody's API.
	inputs=$(grep -rlE '^// \+k8s:openapi-gen=' --include='*.go' pkg staging/src/k8s.io vendor/k8s.io 2>/dev/null |
		xargs -n1 dirname | sort -u | sed -E 's,^staging/src/,,; s,^vendor/,,; s,^pkg/,k8s.io/kubernetes/pkg/,' |
		grep -v kube-scheduler/config | sort -u | paste -sd,)
	"$out/openapi-gen" --logtostderr -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
		-p k8s.io/kubernetes/pkg/generated/openapi -r /dev/null -i "$inputs" --output-base "$out/gopath/src" >/dev/null
fi
at=k8s.io/kubernetes/vendor/k8s.io/component-base/version
flags="-s -w -X $at.gitVersion=v$version -X $at.gitMajor=1 -X $at.gitMinor=20 -X $at.gitTreeState=clean -X $at.buildDate=2021-01-13T00:00:00Z"
mkdir -p "$out/bin"
for program in $missing; do
	[ "$program" != pause ] || continue
	echo "building $program"
	go build -ldflags "$flags" -o "$out/bin/$program.part" "./cmd/$program"
	mv "$out/bin/$program.part" "$out/bin/$program"
done
gcc -Os -Wall -static -o "$out/bin/pause" build/pause/linux/pause.c 2>/dev/null || gcc -Os -Wall -static -o "$out/bin/pause" build/pause/pause.c
ls -l "$out/bin"
