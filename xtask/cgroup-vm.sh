#!/usr/bin/env bash
# Runs the tests of memory pressure as root of a small virtual machine, where control groups are all
# of version 2. For a machine whose memory controller is held by version 1: there, the test that
# needs it in version 2 is skipped.
#
# Debian on x86-64; installs qemu, busybox and cpio if they are missing. Needs no KVM: some 20 s.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Without packages there is no machine; whoever calls this is told.
skip() {
    echo "skipped: $1 cannot be installed here"
    exit 0
}

# One at a time: another step of CI may be installing something, too.
apt_get() {
    flock /tmp/zs-apt.lock apt-get -qq "$@"
}

tools=(qemu-system-x86 busybox-static cpio)
if ! dpkg -s "${tools[@]}" >/dev/null 2>&1; then
    apt_get update || skip "a package list"
    apt_get install -y --no-install-recommends "${tools[@]}" >/dev/null || skip "${tools[*]}"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The kernel is unpacked, not installed.
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: \(linux-image-.*\)/\1/p')
chmod 755 "$work"
(cd "$work" && apt_get download "$package" && dpkg -x ./*.deb kernel) || skip "a kernel"

binary=$(cargo test -p zs-os --test pressure --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/pressure-[^"]*\)".*/\1/p')
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$binary" "$root/pressure"
ldd "$binary" | grep -o '/[^ ]*\.so[^ ]*' | while read -r library; do
    install -D "$library" "$root$library"
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ZS_CGROUP=prepare /pressure --nocapture --test-threads 1
echo "exit status: $?"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd"

timeout 300 qemu-system-x86_64 -accel tcg -cpu max -m 512 -smp 2 -nodefaults -no-reboot \
    -display none -serial stdio -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" \
    -append 'console=ttyS0 quiet panic=-1 psi=1' </dev/null | tee "$work/log"
grep -q 'exit status: 0' "$work/log"
