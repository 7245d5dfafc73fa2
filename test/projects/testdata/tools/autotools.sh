# needs: autoreconf automake libtoolize gcc make
printf 'int f(void) { return 42; }\n' >f.c
printf 'int f(void);\nint main(void) { return f() != 42; }\n' >main.c
cat >configure.ac <<'END'
AC_INIT([trial], [1])
AM_INIT_AUTOMAKE([foreign])
AC_CONFIG_MACRO_DIRS([m4])
LT_INIT([disable-static])
AC_PROG_CC
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
END
cat >Makefile.am <<'END'
lib_LTLIBRARIES = libf.la
libf_la_SOURCES = f.c
bin_PROGRAMS = main
main_SOURCES = main.c
main_LDADD = libf.la
TESTS = main
END
mkdir m4
autoreconf -i
./configure --prefix="$PWD/to"
make -j2 check install
to/bin/main
