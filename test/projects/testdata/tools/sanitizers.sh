# needs: gcc
cat >bad.c <<'END'
#include <pthread.h>
#include <stdlib.h>
static int shared;
static void more(void) { for (int i = 0; i < 100000; i++) shared++; }
static void *other(void *arg) { more(); return arg; }
int main(int argc, char **argv) {
	switch (argc > 1 ? argv[1][0] : 0) {
	case 'a': { char *p = malloc(8); free(p); return p[argc]; }
	case 'u': return 0x7fffffff + argc;
	case 'l': return malloc(8 * argc) == NULL;
	case 't': {
		pthread_t t;
		pthread_create(&t, NULL, other, NULL);
		more();
		return pthread_join(t, NULL);
	}
	}
	return 0;
}
END
gcc -g -fsanitize=address,undefined bad.c -o asan
gcc -g -fsanitize=thread bad.c -o tsan
./asan
./tsan
if ./asan a 2>a; then exit 1; fi
grep heap-use-after-free a
./asan u 2>u || true
grep 'signed integer overflow' u
if ./asan l 2>l; then exit 1; fi
grep 'detected memory leaks' l
if ./tsan t 2>t; then exit 1; fi
grep 'data race' t
