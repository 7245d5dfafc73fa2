# needs: meson ninja gcc
printf 'int f(void) { return 42; }\n' >f.c
printf 'int f(void);\nint main(void) { return f() != 42; }\n' >main.c
printf '%s\n' "project('trial', 'c')" "l = shared_library('f', 'f.c')" "e = executable('main', 'main.c', link_with: l)" "test('runs', e)" >meson.build
meson setup build
meson test -C build | grep -E 'Ok: +1'
