# needs: valgrind gcc
printf '#include <stdlib.h>\nint main(void) { char *p = malloc(8); free(p); return p[0]; }\n' >bad.c
gcc -g bad.c -o bad
status=0
valgrind --error-exitcode=9 -q ./bad 2>log || status=$?
test $status = 9
grep 'Invalid read of size 1' log
