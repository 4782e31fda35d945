#!/bin/bash
# Makes what a guest boots from: DIR/disk.img, DIR/vmlinuz, DIR/initrd, and DIR/key to log in with. The guest is a plain
# Debian with systemd and without any of the packages that drover depends on; those are in a repository of its own, so that apt
# installs them without a network. Nothing is mounted here: the file system is filled by mke2fs.
#
# usage: image.sh SUITE DIR MIRROR
set -euo pipefail

suite=$1 mirror=$3
mkdir -p "$2"
dir=$(realpath "$2")
root=$dir/root
rm -rf "$root" "$dir/initrd.d" "$dir/disk.img"
trap 'rm -rf "$root" "$dir/initrd.d"' EXIT

# What the guest has, and what it can install besides, with what that recommends.
base=systemd,systemd-sysv,dbus,udev,kmod,iproute2,iputils-ping,procps,openssh-server,linux-image-cloud-amd64
depends='runc conmon criu chrony'

quiet=(--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io)
for tree in man locale doc; do quiet+=(--dpkgopt="path-exclude=/usr/share/$tree/*"); done
mmdebstrap --quiet --mode=root --variant=minbase --format=directory "${quiet[@]}" --skip=cleanup/apt \
	--include="$base" --customize-hook='chroot "$1" apt-get clean; rm "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
	--customize-hook="chroot \"\$1\" apt-get install --yes --quiet=2 --download-only $depends" "$suite" "$root" "$mirror"

# A repository of just these: the emulation would take minutes for the lists of all of Debian.
mkdir "$root/srv/packages"
mv "$root"/var/cache/apt/archives/*.deb "$root/srv/packages/"
(cd "$root/srv/packages" && for deb in *.deb; do
	dpkg-deb --field "$deb"
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat --format=%s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
done >Packages)
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
echo 'deb [trusted=yes] file:/srv/packages ./' >"$root/etc/apt/sources.list"
chroot "$root" apt-get --quiet=2 update

[ -f "$dir/key" ] || ssh-keygen -q -t ed25519 -N '' -C drover -f "$dir/key"
install -d -m 700 "$root/root/.ssh"
install -m 600 "$dir/key.pub" "$root/root/.ssh/authorized_keys"
printf 'PermitRootLogin prohibit-password\nUseDNS no\nMaxSessions 100\n' >"$root/etc/ssh/sshd_config.d/hosts.conf"

# What the test has no use for would cost the emulation seconds at every boot.
units=$root/etc/systemd/system
ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
for unit in systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
	dpkg-db-backup.timer systemd-pstore.service getty@tty1.service serial-getty@ttyS0.service; do
	ln -sf /dev/null "$units/$unit"
done
chroot "$root" systemctl --quiet enable systemd-networkd ssh
echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
echo uninitialized >"$root/etc/machine-id"

# An initial RAM disk of busybox and the modules for the root disk: Debian's own takes the emulation several times as long.
initrd=$dir/initrd.d
mkdir -p "$initrd"/{bin,dev,modules,new}
cp "$(command -v busybox)" "$initrd/bin/busybox"
kernel=$(ls "$root/lib/modules")
number=10
for module in virtio_pci virtio_blk; do
	chroot "$root" modprobe --set-version "$kernel" --show-depends $module
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r file; do
	number=$((number + 1))
	case $file in
	*.xz) xz -dc "$root$file" >"$initrd/modules/$number.ko" ;;
	*) cp "$root$file" "$initrd/modules/$number.ko" ;;
	esac
done
cat >"$initrd/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $b insmod $module; done
tries=0
while [ ! -e /dev/vda ] && [ $tries -lt 100 ]; do $b sleep 0.1; tries=$((tries + 1)); done
$b mount -t ext4 -o rw,noatime /dev/vda /new || exec $b poweroff -f
$b mount --move /dev /new/dev
exec $b switch_root /new /sbin/init
INIT
chmod 755 "$initrd/init"
(cd "$initrd" && find . | cpio --create --format=newc --quiet | gzip -1) >"$dir/initrd"
cp "$root/boot/vmlinuz-$kernel" "$dir/vmlinuz"
rm -rf "${root:?}"/boot/*

truncate -s 3G "$dir/disk.img.new"
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$dir/disk.img.new"
mv "$dir/disk.img.new" "$dir/disk.img"
