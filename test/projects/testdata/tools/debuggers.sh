# needs: gdb strace gcc setarch
cat >main.c <<'END'
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static int where;
int main(void) {
	pid_t child = fork();
	if (child == 0) _exit(7);
	int status;
	waitpid(child, &status, 0);
	printf("%p %d\n", (void *)&where, WEXITSTATUS(status));
	return 0;
}
END
gcc -g -pie -fPIE main.c -o main
trace() { gdb -batch -nx "$@" -ex 'break main.c:10' -ex run -ex 'info symbol &where' -ex 'print &where' ./main 2>&1 | sed -n 's/^\$1 = .* \(0x[0-9a-f]*\) .*/\1/p'; }
fixed=$(trace)
test -n "$fixed"
test "$fixed" = "$(trace)"   # gdb switches randomisation off
random=$(trace -ex 'set disable-randomization off')
test -n "$random"
test "$random" != "$(trace -ex 'set disable-randomization off')"
test "$(setarch -R ./main)" = "$(setarch -R ./main)"
strace -f -o log ./main
grep 'exited with 7' log
sh -c 'sleep 60 & echo $! >pid; wait' &
while ! test -s pid; do sleep 0.02; done
strace -p "$(cat pid)" -o attached & tracer=$!
while ! grep -q . attached 2>/dev/null; do kill -0 $tracer; sleep 0.05; done
kill "$(cat pid)"
wait $tracer || true
grep SIGTERM attached
