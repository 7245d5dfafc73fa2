#!/bin/bash
# What has to work on another architecture, from the command line: each step of
# the interpreter in assembly is passed by some case.
mkdir -p ~/project && cd ~/project || exit 1
bad=0

# check NAME STATUS PATTERN COMMAND... runs the command and compares its exit
# status and, by grep -E, its output.
check() {
	local name=$1 want=$2 pattern=$3 out status
	shift 3
	out=$("$@" 2>&1)
	status=$?
	if [[ $status == "$want" ]] && grep -qE -- "$pattern" <<<"$out"; then
		printf 'ok    %s: %s\n' "$name" "$(grep -m 1 -E -- "$pattern" <<<"$out")"
	else
		printf 'FAIL  %s: status %s instead of %s, pattern %s, output:\n%s\n' "$name" "$status" "$want" "$pattern" "$out"
		bad=1
	fi
}

equal="sbx run /sbx/equal.toml"
check "version" 0 '^sbx .*' sbx version
check "equal: root / in place" 0 '^aarch64 1000$' $equal sh -c 'echo $(uname -m) $(id -u)'
check "equal: read-only" 1 'Read-only file system' $equal touch /etc/x
check "equal: own /proc" 0 '^sbx-init$' $equal cat /proc/1/comm
check "equal: no rights" 0 '^CapEff:.0000000000000000$' $equal grep CapEff /proc/self/status
check "build: root in memory" 0 '^tmpfs$' sbx run -- stat -f -c %T /
check "build: the project is writable" 0 '^made$' sbx run -- sh -c 'echo made >file; cat file'
check "build: and stays" 0 '^made$' cat file
check "build: the home is empty" 0 '^project$' sbx run -- ls -A "$HOME"
check "build: no network" 0 '^1$' sbx run -- sh -c 'grep -c : /proc/net/dev'
check "build: loopback is up" 0 'LOOPBACK,UP' sbx run -- ip link show lo
check "status 0" 0 '' sbx run -- true
check "status 7" 7 '' sbx run -- sh -c 'exit 7'
check "status of a signal" 137 '' sbx run -- sh -c 'kill -9 $$'
check "status of the timeout" 124 '' sbx run --timeout=500ms -- sleep 20
check "not found" 127 'no-such-program: no such file or directory' sbx run -- no-such-program
check "not executable" 126 '/etc/passwd: permission denied' sbx run -- /etc/passwd
check "orphans are reaped" 0 '^zombies 0$' sbx run -- sh -c '(sleep 0.1 & sleep 0.2 & sleep 0.3 &) ; sleep 1; echo zombies $(ps -eo stat= | grep -c Z)'
check "fake root" 0 '^0 0$' sbx run --user=root -- sh -c 'echo $(id -u) $(stat -c %u /tmp)'
check "a range of ids" 0 '^0 5 65537$' sbx run --user=root --set user.map=range -- sh -c 'touch f; chown 5 f; echo $(id -u) $(stat -c %u f) $(awk "{n += \$3} END {print n}" /proc/self/uid_map); rm f'
check "a file's content" 0 '^hello$' sbx run --mount type=file,target=/srv/f,content=hello -- cat /srv/f
check "limits" 0 '^33$' sbx run --ulimit=nofile=33 -- sh -c 'ulimit -n'
check "open files: the caller's limit" 0 '^1000 [0-9]+$' bash -c 'ulimit -Sn 1000; sbx run -- sh -c "echo \$(ulimit -Sn) \$(ulimit -Hn)"'
check "host name" 0 '^box$' sbx run --hostname=box -- hostname
check "no such source" 125 '^sbx: --volume: binding .*/none: no such file or directory' sbx run -v ~/none:/srv/data -- true
echo "mkdir -p ~/data; exec 3<~/data; rmdir ~/data; exec sbx run -v /proc/self/fd/3:/srv/x -- true" >gone.sh
check "a failing step names itself" 125 '^sbx: .*' bash gone.sh
check "a failing system call names itself" 125 '^sbx: ' strace -f -qq -o /dev/null -e inject=mount_setattr:error=EIO:when=1 sbx run -- true
check "explain" 0 'user' sbx explain build
check "doctor" 0 '^ok +pid_namespace' sbx doctor
sbx doctor | grep ^missing
for s in TERM INT HUP USR1 QUIT; do # a shell ignores some for what it starts with &
	check "signal $s is passed on" 9 "^got $s\$" bash -c '
		env --default-signal sbx run -- sh -c "trap \"echo got '$s'; exit 9\" '$s'; touch ready; while :; do sleep 0.05; done" &
		until [[ -e ready ]]; do sleep 0.05; done
		kill -'$s' $!
		wait $!' _
	rm -f ready
done
check "TERM ends" 143 '' bash -c 'sbx run -- sleep 100 & sleep 2; kill -TERM $!; wait $!'
check "KILL of sbx leaves nothing" 0 '^0$' bash -c 'sbx run -- sleep 777 & sleep 2; kill -KILL $!; wait $! 2>/dev/null; sleep 1; pgrep -c -f "^sleep 777"; true'

# As often as it may be a matter of luck.
around() {
	ps -u you -o comm= | sort | uniq -c
	cat /proc/self/mountinfo
	ls -A /tmp /dev/shm "$XDG_RUNTIME_DIR"
}
around >~/before
start=$EPOCHREALTIME
ran=0
for _ in {1..100}; do
	$equal true && sbx run -- true && ran=$((ran + 1))
done
end=$EPOCHREALTIME
check "100 starts of each" 0 '^100$' echo "$ran"
echo "      $(((${end/./} - ${start/./}) / 200000)) ms each, emulated"
around >~/after
check "nothing left" 0 '' diff ~/before ~/after
exit "$bad"
