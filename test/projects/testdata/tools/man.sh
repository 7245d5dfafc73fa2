# needs: man nroff
mkdir -p man/man1
printf '%s\n' '.TH TRIAL 1' '.SH NAME' 'trial \- a page of its own' '.SH OPTIONS' '.TP' '.B \-x' 'says \fIwhy\fP.' >man/man1/trial.1
MANPATH=$PWD/man MANWIDTH=60 man trial >page 2>words
grep 'a page of its own' page
man -P cat ./man/man1/trial.1 2>>words | grep OPTIONS
test ! -s words # nothing of groff's own is missing
