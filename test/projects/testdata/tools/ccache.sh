# needs: ccache gcc
export CCACHE_DIR=$PWD/cache
printf '#include <stdio.h>\nint main(void) { puts("cached"); return 0; }\n' >main.c
ccache gcc -c main.c -o 1.o
ccache gcc -c main.c -o 2.o
ccache --print-stats | grep -E '^(direct|preprocessed)_cache_hit' | cut -f2 | sort -n | tail -1 | grep -x 1
cmp 1.o 2.o
