# needs: curl python3
echo '<p>hello</p>' >index.html
python3 -u -m http.server --bind 127.0.0.1 0 >log 2>&1 &
server=$!
trap 'kill $server' EXIT
while ! grep -q 'port [0-9]' log; do kill -0 $server; sleep 0.05; done
port=$(sed -n 's/.*port \([0-9]*\) .*/\1/p' log)
curl -fsS --noproxy '*' "http://localhost:$port/" | grep hello
curl -fsS --noproxy '*' --parallel -o a -o b "http://127.0.0.1:$port/" "http://127.0.0.1:$port/"
cmp a b
