# needs: flock timeout script locale getent ps
flock lock -c 'true'
timeout 0.1 sleep 60 || test $? = 124
script -qec 'test -t 0 && tty' /dev/null </dev/null | grep /dev/pts/
nproc
locale >/dev/null
getent passwd "$(id -u)"
getent hosts localhost
df . >/dev/null
ps -e >/dev/null
ls -l /proc/self/fd >/dev/null
dd if=/dev/zero of=big bs=1M count=4 2>/dev/null
cp --reflink=auto --sparse=always big copy
cp -a big copy2
fallocate -l 1M sized
test "$(date -d @0 -u +%Y)" = 1970
