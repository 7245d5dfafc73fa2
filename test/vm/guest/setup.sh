#!/bin/bash
# Runs in the guest's root file system while it is made: people, ssh, what
# starts and what does not. $1 is the person with subordinate ids whose systemd
# stays (lingers); alice has neither.
set -euo pipefail
person=$1

useradd -m -s /bin/bash -u 1000 "$person"
useradd -m -s /bin/bash -u 1001 alice
for file in /etc/subuid /etc/subgid; do
	echo "$person:100000:65536" >"$file"
done
for home in /root "/home/$person" /home/alice; do
	install -d -m 700 "$home/.ssh"
	install -m 600 /tmp/key.pub "$home/.ssh/authorized_keys"
done
chown -R "$person:" "/home/$person"
chown -R alice: /home/alice
mkdir -p /var/lib/systemd/linger
touch "/var/lib/systemd/linger/$person" # as loginctl enable-linger does

echo guest >/etc/hostname
printf '127.0.0.1 localhost guest\n::1 localhost\n' >/etc/hosts
: >/etc/fstab
: >/etc/motd
mkdir -p /lib/modules
systemd-machine-id-setup >/dev/null 2>&1
ssh-keygen -A >/dev/null

cat >/etc/ssh/sshd_config.d/guest.conf <<'END'
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxSessions 200
MaxStartups 200
PrintMotd no
PrintLastLog no
END

cat >/etc/systemd/system/guest-net.service <<'END'
[Unit]
Description=the address on qemu's network
DefaultDependencies=no
Before=network.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2'
[Install]
WantedBy=sysinit.target
END

cat >/etc/systemd/system/guest-ready.service <<'END'
[Unit]
Description=tell the host that people can log in
After=ssh.service user@1000.service systemd-user-sessions.service guest-net.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo; echo GUEST-READY'
StandardOutput=file:/dev/ttyS0
[Install]
WantedBy=multi-user.target
END

cd /etc/systemd/system
mkdir -p sysinit.target.wants multi-user.target.wants ../journald.conf.d ../system.conf.d
ln -sf ../guest-net.service sysinit.target.wants/
ln -sf ../guest-ready.service multi-user.target.wants/
ln -sf /lib/systemd/system/multi-user.target default.target
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer e2scrub_reap.service \
	systemd-timesyncd.service getty@tty1.service serial-getty@ttyS0.service systemd-update-utmp.service systemd-pstore.service \
	systemd-random-seed.service ssh.socket systemd-firstboot.service; do
	ln -sf /dev/null "$unit"
done
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >../journald.conf.d/guest.conf
printf '[Manager]\nDefaultTimeoutStopSec=5s\n' >../system.conf.d/guest.conf
