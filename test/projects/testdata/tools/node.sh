# needs: node
cat >all.mjs <<'END'
import { Worker } from "node:worker_threads"
import { execFileSync, fork, spawn } from "node:child_process"
import { once } from "node:events"
import cluster from "node:cluster"
import dns from "node:dns/promises"
import fs from "node:fs"
import http from "node:http"
import os from "node:os"
if (process.send && !cluster.isWorker) { process.send("forked"); process.disconnect() } else if (cluster.isWorker) {
	http.createServer((q, r) => r.end("clustered")).listen(0, "127.0.0.1")
} else {
	const w = new Worker("require('worker_threads').parentPort.postMessage(new Int32Array(new SharedArrayBuffer(4)))", { eval: true })
	await once(w, "message")
	if (execFileSync("echo", ["x"]).toString() !== "x\n") throw "exec"
	const [m] = await once(fork("all.mjs"), "message")
	if (m !== "forked") throw m
	const watch = fs.watch(".")
	const seen = once(watch, "change")
	fs.writeFileSync("new", "x")
	await seen
	watch.close()
	const copied = await fs.promises.copyFile("all.mjs", "copy.mjs")
	const lines = await fs.promises.readFile("copy.mjs", "utf8")
	if (lines !== fs.readFileSync("all.mjs", "utf8")) throw "copy"
	if ((await dns.lookup("localhost")).address === undefined) throw "dns"
	if (os.cpus().length < 1 || os.userInfo().username === "") throw "os"
	os.networkInterfaces()
	const worker = cluster.fork()
	const [, address] = await once(cluster, "listening")
	const body = await (await fetch("http://127.0.0.1:" + address.port)).text()
	if (body !== "clustered") throw body
	worker.kill()
	console.log("all of it")
}
END
for ring in 0 1; do # where the kernel has io_uring and a filter refuses it, libuv does without
	UV_USE_IO_URING=$ring node all.mjs | grep -x 'all of it'
done
