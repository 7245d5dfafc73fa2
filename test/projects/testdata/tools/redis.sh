# needs: redis-server redis-cli
redis-server --port 0 --unixsocket "$PWD/s" --dir . --save '' --daemonize no >log &
server=$!
trap 'kill $server' EXIT
while ! test -S s; do kill -0 $server; sleep 0.05; done
redis-cli -s s set key value | grep OK
redis-cli -s s bgsave | grep started
redis-cli -s s get key | grep value
