# needs: ninja gcc
printf 'int main(void) { return 0; }\n' >main.c
cat >build.ninja <<'END'
rule cc
  command = gcc -MMD -MF $out.d -o $out $in
  depfile = $out.d
  deps = gcc
build one: cc main.c
build two: cc main.c
END
ninja -j2
ninja | grep 'no work to do'
./one
./two
