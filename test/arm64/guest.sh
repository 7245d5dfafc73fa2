#!/bin/bash
# PID 1 of the guest: makes it a machine that a person could log in to, runs
# cases.sh and the Go tests as that person, says how it went and switches it off.
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 TERM=dumb

off() {
	sync
	echo o >/proc/sysrq-trigger
	sleep 60
}
trap off EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared / # as systemd leaves it
ln -sfn /proc/self/fd /dev/fd
exec </dev/null >/dev/ttyAMA0 2>&1
hostname arm64
ip link set lo up
for module in /lib/modules/*.ko*; do
	insmod "$module"
done
chmod 666 /dev/fuse /dev/net/tun # as udev would
ldconfig
mkdir -p /run/user/1000 /home/you
chown 1000:1000 /run/user/1000 /home/you
chmod 700 /run/user/1000 /home/you
# A Go program, as the tests' probe is, raises its own soft limit to the hard one.
ulimit -Sn "$(ulimit -Hn)"
uname -srm
sed -n 's/^CPU part.*: /CPU part /p' /proc/cpuinfo | sort -u

# you runs a command as the person. setsid: a shell of its own, without a terminal.
you() {
	setsid -w setpriv --reuid=1000 --regid=1000 --init-groups --inh-caps=-all \
		env -i HOME=/home/you USER=you LOGNAME=you SHELL=/bin/bash LANG=C.UTF-8 TERM=dumb \
		PATH=/sbx/bin:/usr/local/bin:/usr/bin:/bin XDG_RUNTIME_DIR=/run/user/1000 SBX_BIN=/sbx/bin/sbx SBX_PROBE=/sbx/bin/probe "$@"
}

failed=()
echo "== cases"
you bash /sbx/cases.sh || failed+=(cases)

if [[ -e /sbx/tests/binaries ]]; then
	cp -a /sbx/checkout /home/you/sbx
	chown -R 1000:1000 /home/you/sbx
	while read -r dir binary; do
		cd "/home/you/sbx/$dir"
		echo "== $dir"
		start=$SECONDS
		if you "/sbx/tests/$binary" -test.short -test.timeout 30m -test.v >/tmp/log 2>&1; then result=ok; else result=FAIL && failed+=("$dir"); fi
		echo "   $result: $(grep -cE '^ *--- PASS' /tmp/log) passed, $(grep -cE '^ *--- FAIL' /tmp/log) failed, $(grep -cE '^ *--- SKIP' /tmp/log) skipped, $((SECONDS - start)) s"
		grep -B1 -E '^ *--- SKIP' /tmp/log | sed -n 's/^ *[a-z_]*\.go:[0-9]*: /   skipped: /p' | sort | uniq -c
		[[ $result == ok ]] || grep -vE '^ *(=== |--- (PASS|SKIP))' /tmp/log | tail -n 120
	done </sbx/tests/binaries
fi

# A process that ran as the person and is still there was left behind.
cd /
for left in $(pgrep -u you); do
	echo "left behind: $left $(tr '\0' ' ' <"/proc/$left/cmdline")"
	failed+=("process $left")
done
dmesg -l emerg,alert,crit,err | tail -n 20

if ((${#failed[@]})); then echo "arm64: FAILED: ${failed[*]}"; else echo "arm64: all passed"; fi
