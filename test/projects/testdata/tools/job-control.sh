# needs: setsid
set -m
sleep 60 &
job=$!
kill -STOP %1
while ! jobs %1 | grep -q Stopped; do sleep 0.02; done
bg %1
jobs %1 | grep Running
kill %1
wait "$job" || test $? = 143
exec 3< <(echo substituted)
grep -x substituted <&3
echo into | tee >(cat >to) >/dev/null
while ! test -s to; do sleep 0.02; done
coproc cat
echo there >&"${COPROC[1]}"
read -r -u "${COPROC[0]}" back
test "$back" = there
kill "$COPROC_PID"
trap 'echo caught' USR1
kill -USR1 $$
setsid sh -c 'test "$(cut -d" " -f6 /proc/$$/stat)" = $$'
mkfifo pipe
echo through >pipe & grep -x through pipe
