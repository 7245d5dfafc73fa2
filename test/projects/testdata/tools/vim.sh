# needs: vim
printf 'one\ntwo\n' >file
vim -es -u NONE -c '%s/two/TWO/' -c "call writefile([system('echo from a shell')], 'out')" -c x file
grep -x TWO file
grep 'from a shell' out
