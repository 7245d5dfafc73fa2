# needs: openssl curl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2>/dev/null
echo served >page
openssl s_server -accept 127.0.0.1:0 -key key.pem -cert cert.pem -WWW >log 2>&1 &
server=$!
trap 'kill $server' EXIT
while ! grep -q ACCEPT log; do kill -0 $server; sleep 0.05; done
port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' log)
curl -sS --retry 5 --retry-connrefused --noproxy '*' --cacert cert.pem "https://localhost:$port/page" | grep -x served
status=0
curl -sS --noproxy '*' "https://localhost:$port/page" 2>err || status=$?
test "$status" = 60 # a certificate that nobody trusts
