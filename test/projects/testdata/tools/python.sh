# needs: python3
python3 -m venv --without-pip env
cat >all.py <<'END'
import asyncio, concurrent.futures, multiprocessing, multiprocessing.shared_memory, os, signal, socket, sys, tempfile, threading, fcntl, mmap, select

def square(n):
    return n * n

async def talk():
    async def serve(r, w):
        w.write((await r.readline()).upper())
        await w.drain()
        w.close()
    server = await asyncio.start_server(serve, "localhost", 0)
    r, w = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
    w.write(b"loop\n")
    line = await r.readline()
    server.close()
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await p.communicate(b"piped")
    return line, out

if __name__ == "__main__":
    assert sys.prefix != sys.base_prefix
    # Message queues of POSIX, for which Python has no module.
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.mq_open(b"/sbx-tools", os.O_CREAT | os.O_RDWR, 0o600, None)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    assert libc.mq_unlink(b"/sbx-tools") == 0
    for how in "fork", "spawn", "forkserver":
        ctx = multiprocessing.get_context(how)
        with ctx.Pool(2) as pool:
            assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
        lock, queue = ctx.Lock(), ctx.Queue()
        with lock:
            queue.put(how)
            assert queue.get() == how
    m = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    m.buf[0] = 1
    m.close()
    m.unlink()
    with concurrent.futures.ProcessPoolExecutor(2) as e:
        assert list(e.map(square, [3])) == [9]
    assert asyncio.run(talk()) == (b"LOOP\n", b"piped")
    with tempfile.TemporaryFile() as f:
        fcntl.lockf(f, fcntl.LOCK_EX)
        f.truncate(4096)
        mmap.mmap(f.fileno(), 4096)[0:1] = b"x"
    fd = os.memfd_create("x"); os.write(fd, b"x"); os.close(fd)
    os.close(os.pidfd_open(os.getpid()))
    a = socket.socket(socket.AF_UNIX); a.bind("\0abstract"); a.listen()
    socket.socket(socket.AF_INET6).bind(("::1", 0))
    assert socket.if_nameindex()[0][1] == "lo"
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    os.nice(1)
    os.openpty()
    print("all of it")
END
env/bin/python all.py | grep -x 'all of it'
