#!/bin/sh
# boot.sh ROOT: systemd as process 1 of namespaces of its own, on a Debian that lies in ROOT. Needs root, and cgroup2.
set -eu
for group in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [ ! -f "$group/cgroup.procs" ] || [ "$(stat --file-system --format=%T "$group")" != cgroup2fs ] || break
done
own=$group/ssbfast-$$
mkdir "$own"
trap 'find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || true' EXIT
trap 'pkill -KILL --parent "$child" || true' TERM INT
(
    echo 0 >"$own/cgroup.procs"
    exec unshare --mount --pid --net --uts --ipc --cgroup --fork sh -euc '
        mount --make-rprivate /
        mount --bind "$1" "$1"
        cd "$1"
        mount -t proc proc proc
        mount -t sysfs sysfs sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        mount -t tmpfs tmpfs run
        mount -t tmpfs -o mode=755 tmpfs dev
        mkdir dev/pts dev/shm
        mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
        # Nodes of our own: systemd changes the rights of some.
        mknod -m 666 dev/null c 1 3
        mknod -m 666 dev/zero c 1 5
        mknod -m 666 dev/full c 1 7
        mknod -m 666 dev/random c 1 8
        mknod -m 666 dev/urandom c 1 9
        mknod -m 666 dev/tty c 5 0
        ln -s pts/ptmx dev/ptmx
        ln -s /proc/self/fd dev/fd
        ip link set lo up
        pivot_root . . # not chroot, in which no user namespace can be made
        umount --lazy .
        exec env -i container=ssbfast PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd' sh "$1"
) &
child=$!
wait "$child" || wait "$child" || true
