# needs: psql
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
"$bin/initdb" -D data -A trust -N >log
"$bin/pg_ctl" -D data -w -l server.log -o "-c listen_addresses=localhost -c port=5999 -c unix_socket_directories=$PWD" start >/dev/null
trap '"$bin/pg_ctl" -D data -m immediate stop >/dev/null' EXIT
psql -h localhost -p 5999 -d postgres -Atc 'create table t as select generate_series(1,1000) x; select sum(x) from t' | grep -x 500500
psql -h "$PWD" -p 5999 -d postgres -Atc 'set max_parallel_workers_per_gather = 2; select count(*) from t' | grep -x 1000
