# needs: ssh ssh-keygen ssh-agent ssh-add
ssh-keygen -q -t ed25519 -N '' -f key
ssh-keygen -q -t rsa -b 2048 -N secret -f locked
ssh-keygen -l -f key.pub | grep ED25519
eval "$(ssh-agent -s)" >/dev/null
trap 'kill $SSH_AGENT_PID' EXIT
ssh-add -q key
ssh-add -l | grep ED25519
echo text >file
ssh-keygen -Y sign -n trial -f key file
ssh-keygen -Y check-novalidate -n trial -s file.sig <file
ssh -F none -G -o Port=2222 somewhere | grep -x 'port 2222'
status=0
ssh -F none -o BatchMode=yes -p 1 127.0.0.1 true 2>err || status=$?
test "$status" = 255
grep 'Connection refused' err
