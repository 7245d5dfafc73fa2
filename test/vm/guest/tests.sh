#!/bin/bash
# Runs in the guest what run.sh gave it: one package's tests as whoever
# calls this, or, as root, those for people without a systemd.
#   tests.sh DIR BINARY REGEXP N OF   the N-th of so many parts
#   tests.sh --without      test/limits as alice, who has no systemd
#   tests.sh --delegated    the same in a group that the system delegates
#   tests.sh --refused      test/bare as dev, to whom AppArmor gives no user namespaces
#   tests.sh --wide         as dev, to whom every controller was delegated
#   tests.sh --logout       as root: alice logs in and out, and what is left is killed;
#                           and the clock is set
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export TMPDIR=/var/tmp # on the disk, unlike /tmp in newer releases
export SBX_BIN=$here/bin/sbx SBX_PROBE=$here/bin/probe
flags=(-test.v=test2json -test.timeout 20m -test.short)

case $1 in
--without)
	cd "$here/checkout/test/limits"
	exec setpriv --reuid alice --regid alice --init-groups --inh-caps=-all env -i HOME=/home/alice USER=alice PATH=/usr/bin:/bin TMPDIR="$TMPDIR" \
		SBX_BIN="$SBX_BIN" SBX_PROBE="$SBX_PROBE" "$here/tests/limits.test" "${flags[@]}" -test.run '^TestWithout$'
	;;
--delegated)
	cd "$here/checkout/test/limits"
	exec systemd-run --quiet --pipe --wait --collect -p Delegate=yes -p User=alice -p WorkingDirectory="$PWD" \
		-E HOME=/home/alice -E USER=alice -E SBX_BIN="$SBX_BIN" -E SBX_PROBE="$SBX_PROBE" -E SBX_DELEGATED=1 \
		"$here/tests/limits.test" "${flags[@]}" -test.run '^TestDelegated'
	;;
--wide)
	for f in /sys/devices/system/cpu/cpu[1-9]*/online; do [[ ! -e $f ]] || echo 1 >"$f"; done
	mkdir -p /etc/systemd/system/user@.service.d
	printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >/etc/systemd/system/user@.service.d/delegate.conf
	systemctl daemon-reload
	systemctl restart user@1000.service
	systemctl --user -M dev@ is-system-running --wait >/dev/null || true # it is slow where it is emulated
	cd "$here/checkout/test/limits"
	exec setpriv --reuid dev --regid dev --init-groups --inh-caps=-all env -i HOME=/home/dev USER=dev PATH=/usr/bin:/bin TMPDIR="$TMPDIR" \
		SBX_BIN="$SBX_BIN" SBX_PROBE="$SBX_PROBE" SBX_GUEST=1 SBX_WIDE=1 "$here/tests/limits.test" "${flags[@]}" -test.run '^Test(IO|Processors|Held)$'
	;;
--logout)
	mkdir -p /etc/systemd/logind.conf.d
	printf '[Login]\nKillUserProcesses=yes\n' >/etc/systemd/logind.conf.d/kill.conf
	systemctl restart systemd-logind.service
	cd "$here/checkout/test/limits"
	SBX_LOGOUT=1 exec "$here/tests/limits.test" "${flags[@]}" -test.run '^Test(Logout|ClockJump)$'
	;;
--refused)
	apparmor_parser -r "$here/checkout/test/apparmor/restricted"
	! setpriv --reuid dev --regid dev --init-groups aa-exec -p restricted -- unshare -Ur true || exit 1
	cd "$here/checkout/test/bare"
	exec setpriv --reuid dev --regid dev --init-groups --inh-caps=-all env -i HOME=/home/dev USER=dev PATH=/usr/bin:/bin TMPDIR="$TMPDIR" \
		SBX_BIN="$SBX_BIN" SBX_PROBE="$SBX_PROBE" SBX_GUEST=1 SBX_REFUSED=1 aa-exec -p restricted -- "$here/tests/bare.test" "${flags[@]}" \
		-test.skip '^Test(OptIn|Explain)$|^TestAttacks$/^a_queue$' # which compare with namespaces
	;;
esac
export SBX_GUEST=1
for deb in "$here"/dist/*.deb; do
	if [[ -e $deb ]]; then export SBX_DEB=$deb; fi
done
cd "$here/checkout/$1"
run=$3
if (($5 > 1)); then run="^($("$here/tests/$2" -test.list "$3" | grep ^Test | awk -v n="$4" -v of="$5" 'NR % of == n % of' | paste -sd'|'))$"; fi
exec "$here/tests/$2" "${flags[@]}" -test.run "$run"
