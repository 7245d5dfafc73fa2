# needs: ssh ssh-keygen ssh-agent ssh-add scp sshd
mkdir -m 700 -p keys
ssh-keygen -q -t ed25519 -N '' -f keys/host
ssh-keygen -q -t ed25519 -N '' -f keys/me
cp keys/me.pub keys/authorized
port=$((20000 + RANDOM % 10000))
sshd=$(PATH=$PATH:/usr/sbin:/sbin; command -v sshd)
cat >sshd_config <<END
ListenAddress 127.0.0.1:$port
HostKey $PWD/keys/host
AuthorizedKeysFile $PWD/keys/authorized
PidFile none
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
END
"$sshd" -D -e -f sshd_config 2>log &
server=$!
agent=
trap 'kill $server $agent' EXIT
while ! grep -q listening log; do kill -0 $server; sleep 0.05; done
echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 keys/host.pub)" >known
eval "$(ssh-agent -s)" >/dev/null
agent=$SSH_AGENT_PID
ssh-add -q keys/me
opts=(-F none -o UserKnownHostsFile="$PWD/known" -o BatchMode=yes)
ssh -p "$port" "${opts[@]}" 127.0.0.1 'echo "as $(id -un)"' | grep -x "as $(id -un)"
echo payload >file
scp -q -P "$port" "${opts[@]}" file "127.0.0.1:$PWD/copied"
cmp file copied
rm keys/authorized
if ssh -p "$port" "${opts[@]}" 127.0.0.1 true 2>refused; then exit 1; fi
grep 'Permission denied' refused
