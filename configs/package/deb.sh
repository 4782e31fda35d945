#!/bin/bash
# Packs drover for Debian: DIR/drover_VERSION_ARCH.deb, of a binary that is there already. The same commit and the same
# binary give the same package.
#
# usage: [DEB_COMPRESSION=xz] deb.sh BINARY VERSION DIR
#        deb.sh version VERSION        prints what Debian calls that version
set -euo pipefail
export LC_ALL=C TZ=UTC

here=$(realpath "$(dirname "$0")/../..")
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}

# debian_version VERSION: Debian compares versions by their digits. A tag is itself (1.2.3), and a candidate earlier
# (1.2.3~rc1); commits after a tag are later than it (1.2.3+4.abc); without a tag their times order them.
debian_version() {
	local number=${1#v}
	case $number in
	[0-9]*.*) number=$(sed -E 's/-(alpha|beta|rc)/~\1/; s/-([0-9]+)-g/+\1./; s/-dirty$/+dirty/' <<<"$number") ;;
	*) number=0~$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).${number/-dirty/+dirty} ;;
	esac
	echo "${number//[^A-Za-z0-9.+~]/.}-1"
}

if [ "$1" = version ]; then
	debian_version "$2"
	exit
fi

binary=$(realpath "$1") number=$(debian_version "$2")
mkdir -p "$3"
out=$(realpath "$3")
cd "$here"
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is missing: build the package on Debian or Ubuntu" >&2; exit 1; }
unset DROVER_SOCKET
umask 022
arch=$(dpkg --print-architecture)

root=$(mktemp -d "${TMPDIR:-/tmp}/drover-deb.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

# place FILE PATH [MODE]
place() { install -D -m "${3:-644}" "$1" "$root/$2"; }
# pack PATH: compresses what is read
pack() { mkdir -p "$(dirname "$root/$1")"; gzip -9n >"$root/$1"; }

package=configs/package
place "$binary" usr/bin/drover 755
place configs/deps.sh usr/lib/drover/deps.sh 755
place configs/criu/rlimits.patch usr/lib/drover/criu/rlimits.patch 644
place configs/systemd/drover-agent.service usr/lib/systemd/system/drover-agent.service
place $package/sysctl.conf usr/lib/sysctl.d/50-drover.conf
place $package/modules.conf usr/lib/modules-load.d/drover.conf
place $package/networkd.conf usr/lib/systemd/networkd.conf.d/50-drover.conf
place $package/devices.network usr/lib/systemd/network/10-drover.network
place $package/networkmanager.conf usr/lib/NetworkManager/conf.d/10-drover.conf
place $package/default etc/default/drover
place $package/overrides usr/share/lintian/overrides/drover

completion() { mkdir -p "$(dirname "$root/$2")"; "$binary" completion "$1" >"$root/$2"; }
completion bash usr/share/bash-completion/completions/drover
completion zsh usr/share/zsh/vendor-completions/_drover
completion fish usr/share/fish/vendor_completions.d/drover.fish
"$binary" man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1

doc=usr/share/doc/drover
place $package/copyright $doc/copyright
place README.md $doc/README.md
for page in docs/*.md; do place "$page" "$doc/${page#docs/}"; done
place configs/agent.example.yaml $doc/examples/agent.yaml
place test/workload/redis.yaml $doc/examples/redis.yaml
pack $doc/changelog.gz <CHANGELOG.md
pack $doc/changelog.Debian.gz <<CHANGELOG
drover ($number) unstable; urgency=medium

  * See changelog.gz for what changed.

 -- The drover authors <drover@drover-mesh.example>  $(date -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG

mkdir "$root/DEBIAN"
size=$(du -k -s --apparent-size "$root" | cut -f 1)
sed "s/@VERSION@/$number/; s/@ARCH@/$arch/; s/@SIZE@/$size/" $package/control >"$root/DEBIAN/control"
echo /etc/default/drover >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do place $package/$script DEBIAN/$script 755; done
(cd "$root" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

deb=$out/drover_${number}_$arch.deb
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$root" "$deb.new" >/dev/null
mv "$deb.new" "$deb"
echo "deb: $deb"
