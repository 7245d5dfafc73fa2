# needs: sqlite3
sqlite3 a.db 'pragma journal_mode=wal; create table t(x); insert into t values (1),(2)' | grep -x wal
for i in 1 2 3; do sqlite3 -cmd '.timeout 10000' a.db "insert into t select x+$i from t" & done
wait
test "$(sqlite3 a.db 'select count(*) from t')" = 16
