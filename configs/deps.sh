#!/bin/bash
# Installs what drover needs on Debian and Ubuntu, saying what it does and why. What is there is left alone,
# so it may run any number of times, also twice at once. Packages come from the host's own apt sources, Go
# programs through the Go module proxy, CRIU (where the host's is too old) from Debian's source archive; no
# binary is fetched from anywhere else, and no setting of the host is changed: `drover doctor` tells of those.
#
# usage: deps.sh pods | host | test-hosts | mirror | go | golangci-lint | govulncheck | protoc
#   pods: what a host needs to run pods; host: that, and what build, demo and tests need; test-hosts: emulated hosts
set -euo pipefail

export PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin LC_ALL=C DEBIAN_FRONTEND=noninteractive
unset CDPATH

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

go_need=1.26
criu_need=4.1
# The CRIU that drover is tested with, and its checksum as in Debian's criu_4.2.1-1.dsc.
criu_pin=4.2.1
criu_pin_sha256=29ec0ee09e296479fe7048c80980e8ef1d0684d0b0204c2b101dfea19f6725b9
golangci_pin=2.15.0
govulncheck_pin=1.8.0

tools=${TOOLS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/drover/tools}
apt_options=(-qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o APT::Sandbox::User=root)
tmp=

say() { printf 'deps: %-15s %s\n' "$1:" "$2"; }
die() { printf 'deps: %s: %s\n' "$1" "$2" >&2; exit 1; }

# at_least HAVE NEED: whether version HAVE is NEED or newer.
at_least() { [ -n "$1" ] && printf '%s\n%s\n' "$2" "$1" | sort -V -C; }

# scratch makes the directory $tmp, which is gone when this script ends, however it ends.
scratch() {
	[ -z "$tmp" ] || return 0
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/drover-deps.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# alone LOCK-FILE: waits until no other run works on the same things.
alone() {
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	flock -n 9 || { say wait "another run of deps is at work"; flock -w 1800 9 || die wait "the other run has not ended in 30 minutes"; }
}

need_root() {
	[ "$(id -u)" = 0 ] || die "$1" "missing, and installing it needs root; run again with sudo"
}

apt_updated=
apt_install() {
	command -v apt-get >/dev/null || die "$1" "missing, and this host has no apt; install the equivalents of: $*"
	if [ -z "$apt_updated" ]; then
		say apt "reading the package lists"
		apt-get "${apt_options[@]}" update >/dev/null || say apt "some package lists could not be read; going on with those that were"
		apt_updated=yes
	fi
	scratch
	apt-get "${apt_options[@]}" install -y --no-install-recommends "$@" >"$tmp/apt.log" 2>&1 9>&- || {
		tail -n 20 "$tmp/apt.log" >&2
		die apt "could not install $*; is the network up, and are this host's apt sources right?"
	}
}

# ---- programs of the host -------------------------------------------------------------------------------

# program, Debian package, why
programs_pods='
runc      runc          it starts, freezes and restores the containers
conmon    conmon        it holds the containers'"'"' stdio and exit codes while the agent restarts
'
programs_host=$programs_pods'
mmdebstrap mmdebstrap   it makes the root file systems of the demo and the tests
ip        iproute2      the tests and people look at the network with it
nft       nftables      CRIU locks the network with its library; doctor and tests look at the tables
git       git           the version of the build is read from it
gcc       gcc           the race detector of go test needs a C compiler
'
programs_hosts='
mmdebstrap mmdebstrap   it makes the root file systems of the emulated hosts
mke2fs    e2fsprogs     it makes their disks
cpio      cpio          it packs what they boot from
busybox   busybox-static it mounts their disk when they boot
xz        xz-utils      it unpacks the modules of their kernel
ssh       openssh-client commands reach them by it
dpkg-deb  dpkg          it packs drover
git       git           the version of the build is read from it
'
programs=

version_of() {
	case $1 in
	runc) runc --version | awk '{print $3; exit}' ;;
	conmon) conmon --version | awk '{print $3; exit}' ;;
	mmdebstrap) mmdebstrap --version | awk '{print $2; exit}' ;;
	ip) ip -V | sed -n 's/.*iproute2-\([^, ]*\).*/\1/p' ;;
	nft) nft --version | awk '{print $2; exit}' ;;
	git) git --version | awk '{print $3; exit}' ;;
	gcc) gcc -dumpfullversion ;;
	mke2fs) mke2fs -V 2>&1 | awk '{print $2; exit}' ;;
	cpio | xz) $1 --version | awk '{print $NF; exit}' ;;
	busybox) busybox | awk '{print $2; exit}' ;;
	ssh) ssh -V 2>&1 | sed 's/[, ].*//' ;;
	dpkg-deb) dpkg-deb --version | awk '{print $7; exit}' ;;
	esac 2>/dev/null || echo "of unknown version"
}

missing_programs() {
	local program package why
	while read -r program package why; do
		[ -z "$program" ] || command -v "$program" >/dev/null || echo "$package"
	done <<<"$programs"
	# The race detector's C part also wants the C library's headers.
	[ "$programs" != "$programs_host" ] || ! command -v gcc >/dev/null || [ -e /usr/include/stdlib.h ] || echo libc6-dev
}

install_programs() {
	local program package why
	while read -r program package why; do
		[ -n "$program" ] || continue
		if command -v "$program" >/dev/null; then
			say "$program" "have $(version_of "$program")"
		else
			say "$program" "installing, $why"
		fi
	done <<<"$programs"
	local missing
	missing=$(missing_programs)
	[ -n "$missing" ] || return 0
	need_root "$(echo $missing)"
	case " $(echo $missing) " in *" gcc "*) missing+=" libc6-dev" ;; esac
	apt_install ca-certificates $missing
}

# ---- CRIU -----------------------------------------------------------------------------------------------

# criu_version and go_version print nothing when there is none.
criu_version() { { criu --version 2>/dev/null || true; } | sed -n 's/^Version: \([0-9.]*\).*/\1/p'; }

install_criu() {
	hash -r
	local have
	have=$(criu_version)
	if at_least "$have" $criu_need && criu_reads_limits; then
		if [ "$(id -u)" != 0 ]; then
			say criu "have $have (criu check needs root: not run)"
			return
		fi
		local complaint
		if complaint=$(criu check 2>&1); then
			say criu "have $have, criu check passes"
			return
		fi
		echo "$complaint" >&2
		die criu "$have is new enough, but criu check fails on this host (its complaint is above; kernel $(uname -r)), which no other CRIU would mend; is this a container?"
	fi
	say criu "installing, it dumps and restores the pods (${have:+have $have, }need $criu_need, and without CAP_SYS_RESOURCE one with the patch in $here/criu)"
	need_root criu
	{ has_sys_resource && criu_from_packages; } || criu_from_source
	hash -r
	at_least "$(criu_version)" $criu_need || die criu "installed, but '$(command -v criu)' is $(criu_version); is another one first in PATH?"
	install_criu
}

# Without CAP_SYS_RESOURCE (bit 24 of the capabilities) only a CRIU with our patch can dump processes of other users than root.
has_sys_resource() { [ $((0x$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24 & 1)) = 1 ]; }

criu_reads_limits() { [ "$(id -u)" != 0 ] || has_sys_resource || cmp -s "$criu_stamp" <(criu_patches); }

# criu_patches names what was done to the CRIU that was built here.
criu_patches() { sha256sum <"$here/criu/rlimits.patch"; }
criu_stamp=/usr/local/share/drover/criu-patches

criu_from_packages() {
	local candidate
	candidate=$(apt-cache policy criu 2>/dev/null | awk '/Candidate:/ {print $2}')
	[ -n "$candidate" ] && [ "$candidate" != "(none)" ] && at_least "${candidate%%-*}" $criu_need || return 1
	say criu "this host's apt has $candidate"
	apt_install criu
}

criu_from_source() {
	say criu "building it: this host's apt has none that is new enough; first the libraries it is built with"
	apt_install gcc make patch pkg-config xz-utils libc6-dev libprotobuf-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler \
		libnl-3-dev libcap-dev libnet1-dev libgnutls28-dev libbsd-dev libnftables-dev uuid-dev
	scratch
	mkdir -p "$tmp/criu"
	criu_fetch_pinned || criu_fetch_newest
	tar -xJf "$tmp/criu.orig.tar.xz" -C "$tmp/criu" --strip-components=1
	patch --quiet -d "$tmp/criu" -p1 <"$here/criu/rlimits.patch" || die criu "the patch in configs/criu doesn't apply to it"
	say criu "compiling (less than a minute)"
	make -C "$tmp/criu" -j"$(nproc)" criu >"$tmp/make.log" 2>&1 9>&- || {
		tail -n 30 "$tmp/make.log" >&2
		die criu "did not compile; its last lines are above"
	}
	install -d /usr/local/sbin
	install -m 755 "$tmp/criu/criu/criu" /usr/local/sbin/.criu.new
	mv /usr/local/sbin/.criu.new /usr/local/sbin/criu
	install -d "$(dirname $criu_stamp)"
	criu_patches >$criu_stamp
	say criu "installed as /usr/local/sbin/criu"
}

# debian_mirror is DEBIAN_MIRROR, else the mirror that this host's apt uses for Debian, else, on Ubuntu, the public one that
# mmdebstrap knows.
debian_mirror() {
	local uri=${DEBIAN_MIRROR:-}
	[ -n "$uri" ] || uri=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 2>/dev/null | awk '$1 == "Debian" {print $2; exit}')
	[ -n "$uri" ] || uri=$(sed -n "s/^ *my \$mirror *= '\(.*\)';.*/\1/p" "$(command -v mmdebstrap)" | head -n 1)
	[ -n "$uri" ] || die criu "no Debian mirror is known here: run again with DEBIAN_MIRROR=URL"
	echo "${uri%/}/"
}

criu_fetch_pinned() {
	local uri
	uri=$(debian_mirror)pool/main/c/criu/criu_$criu_pin.orig.tar.xz
	say criu "fetching Debian's source of $criu_pin, checksum pinned"
	fetch "$uri" "SHA256:$criu_pin_sha256" && return
	say criu "$criu_pin could not be fetched there (see above)"
	return 1
}

# criu_fetch_newest takes the source package of Debian's development suite; apt verifies the suite's signature,
# and the checksum that the signed index gives. A mirror that lags behind serves too: what matters is the version.
criu_fetch_newest() {
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $keyring ] || apt_install debian-archive-keyring
	mkdir -p "$tmp/apt/lists/partial"
	echo "deb-src [signed-by=$keyring] $(debian_mirror) sid main" >"$tmp/apt/sources.list"
	local sid=("${apt_options[@]}" -o "Dir::Etc::SourceList=$tmp/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$tmp/apt/lists"
		-o Acquire::Check-Valid-Until=false)
	say criu "looking for a newer one in Debian sid"
	apt-get "${sid[@]}" update >/dev/null || die criu "the index of Debian's sources could not be read; is the network up?"
	local uri name size hash
	read -r uri name size hash < <(apt-get "${sid[@]}" source --print-uris --download-only criu | grep -F .orig.tar.xz\') ||
		die criu "Debian's source package was not found; is the network up?"
	local version=${name#criu_}
	at_least "${version%.orig.tar.xz}" $criu_need || die criu "Debian's newest is ${version%.orig.tar.xz}, too old (need $criu_need)"
	say criu "fetching Debian's source ${name%.orig.tar.xz}, checksum from the signed index"
	fetch "${uri//\'/}" "$hash" || die criu "could not fetch $uri; is the network up?"
}

# fetch URI HASH: downloads to $tmp/criu.orig.tar.xz, by apt so that its proxies and mirrors apply; apt verifies the hash.
fetch() {
	/usr/lib/apt/apt-helper "${apt_options[@]}" download-file "$1" "$tmp/criu.orig.tar.xz" "$2" >"$tmp/fetch.log" 2>&1 ||
		{ tail -n 3 "$tmp/fetch.log" >&2; return 1; }
}

# ---- Go and its tools -----------------------------------------------------------------------------------

go_version() { { (cd / && go env GOVERSION) 2>/dev/null || true; } | sed -n 's/^go\([0-9.]*\).*/\1/p'; }

install_go() {
	local have
	have=$(go_version)
	if at_least "$have" $go_need; then
		say go "have $have"
	elif at_least "$have" 1.21; then
		[ "${GOTOOLCHAIN:-auto}" != local ] || die go "have $have, need $go_need, and GOTOOLCHAIN=local forbids go to fetch it; run: GOTOOLCHAIN=auto make"
		say go "have $have; it fetches the $go_need that go.mod names through the module proxy"
	else
		say go "installing, drover is written in it (${have:+have $have, }need 1.21, which fetches $go_need itself)"
		need_root go
		go_from_packages
	fi
}

# go_from_packages installs the newest golang-1.N-go that apt has. On a Debian that has only older ones its
# backports are read for this one time; the host's apt sources stay as they are.
go_from_packages() {
	local package options=() bin
	[ -n "$apt_updated" ] || { apt-get "${apt_options[@]}" update >/dev/null || true; apt_updated=yes; }
	package=$(newest_go)
	if [ -z "$package" ] && [ "$(. /etc/os-release; echo "$ID")" = debian ]; then
		local suite
		suite=$(. /etc/os-release; echo "$VERSION_CODENAME")
		scratch
		mkdir -p "$tmp/backports/lists/partial"
		printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$(debian_mirror)" "$suite" "$(debian_mirror)" "$suite-backports" >"$tmp/backports/sources.list"
		options=(-o "Dir::Etc::SourceList=$tmp/backports/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$tmp/backports/lists")
		say go "reading the package lists of $suite-backports, for this once"
		apt-get "${apt_options[@]}" "${options[@]}" update >/dev/null || true
		package=$(newest_go "${options[@]}")
	fi
	[ -n "$package" ] || die go "this host's apt has no Go of 1.21 or newer; install Go $go_need or newer from https://go.dev/dl/ and run again"
	say go "from apt: $package"
	apt_install "${options[@]}" ca-certificates "$package"
	bin=/usr/lib/go-${package//[!0-9.]/}/bin/go
	[ -x "$bin" ] || die go "$package has no $bin"
	ln -sfn "$bin" /usr/local/bin/go
	say go "linked as /usr/local/bin/go"
}

newest_go() {
	local package
	package=$(apt-cache "$@" search --names-only '^golang-1\.[0-9]+-go$' | awk '{print $1}' | sort -V | tail -n 1)
	at_least "${package//[!0-9.]/}" 1.21 && echo "$package" || true
}

# go_tool NAME VERSION PACKAGE WHY: a pinned Go program in $tools; one of that version in PATH is used as it is.
go_tool() {
	[ ! -x "$tools/$1-$2" ] || { ln -sfn "$1-$2" "$tools/$1"; return 0; }
	alone "$tools/.lock"
	[ ! -x "$tools/$1-$2" ] || return 0
	local there
	if there=$(command -v "$1") && go version -m "$there" 2>/dev/null | grep -qE "^\s+mod\s+\S+\s+v$2\s"; then
		say "$1" "have $2"
		cp "$there" "$tools/.$1.new" && mv "$tools/.$1.new" "$tools/$1-$2"
	else
		say "$1" "installing $2, $4 (a few minutes, once)"
		scratch
		(cd "$tmp" && GOFLAGS=-mod=mod GOBIN=$tmp go install "$3@v$2" 9>&-) || die "$1" "go install failed; is the module proxy ($(go env GOPROXY)) within reach?"
		mv "$tmp/$1" "$tools/$1-$2"
	fi
	ln -sfn "$1-$2" "$tools/$1"
}

install_protoc() {
	if ! command -v protoc >/dev/null; then
		say protoc "installing, it generates the control API"
		need_root protoc
		apt_install protobuf-compiler
	fi
	# The plugins are built at the versions of go.mod, so that generated code fits the libraries.
	mkdir -p "$tools"
	go build -o "$tools/" google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
}

# ---- emulated hosts ---------------------------------------------------------------------------------------

# QEMU of Debian 13: the 7.2 of Debian 12 corrupts guests whose CPU has AVX2. It is unpacked, not installed, beside the
# libraries that it was built with, and started by its own loader.
qemu_suite=trixie

install_qemu() {
	local dir=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/drover/hosts/qemu
	if [ -d "$dir" ]; then
		say qemu "have that of $qemu_suite"
		return
	fi
	say qemu "unpacking that of $qemu_suite, it emulates the hosts"
	need_root qemu
	alone "${dir%/*}/.lock"
	[ ! -d "$dir" ] || return 0
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $keyring ] || apt_install debian-archive-keyring
	scratch
	mmdebstrap --quiet --mode=root --variant=extract --format=directory --aptopt='APT::Install-Recommends "false"' \
		--include=qemu-system-x86 $qemu_suite "$tmp/qemu" "$(debian_mirror)" >"$tmp/qemu.log" 2>&1 9>&- || {
		tail -n 20 "$tmp/qemu.log" >&2
		die qemu "could not be unpacked; is the network up?"
	}
	cp -a "$tmp/qemu" "$dir.new"
	mv "$dir.new" "$dir"
}

install_test_hosts() {
	programs=$programs_hosts
	install_programs
	install_qemu
	install_go
}

install_pods() {
	programs=$programs_pods
	install_programs
	install_criu
}

install_host() {
	programs=$programs_host
	local have
	have=$(criu_version)
	if [ -n "$(missing_programs)" ] || ! at_least "$have" $criu_need || ! at_least "$(go_version)" 1.21; then
		[ "$(id -u)" != 0 ] || alone /run/lock/drover-deps.lock
	fi
	install_programs
	install_criu
	install_go
}

case ${1-} in
pods) install_pods ;;
host) install_host ;;
test-hosts) install_test_hosts ;;
mirror) debian_mirror ;;
go) install_go ;;
golangci-lint) go_tool golangci-lint $golangci_pin github.com/golangci/golangci-lint/v2/cmd/golangci-lint "it enforces the import rules and finds mistakes" ;;
govulncheck) go_tool govulncheck $govulncheck_pin golang.org/x/vuln/cmd/govulncheck "it knows the published vulnerabilities" ;;
protoc) install_protoc ;;
*) echo "usage: $0 pods|host|test-hosts|mirror|go|golangci-lint|govulncheck|protoc" >&2; exit 2 ;;
esac
