import asyncio
import concurrent.futures
import multiprocessing
import pathlib
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import unittest

from greeter import greet


def square(n):
    return n * n


class Greeter(unittest.TestCase):
    def test_greet(self):
        self.assertEqual(greet("you"), "hello, you")

    def test_processes(self):
        with multiprocessing.Pool(2) as pool:
            self.assertEqual(pool.map(square, [1, 2, 3]), [1, 4, 9])
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.assertEqual(list(pool.map(square, [4])), [16])
        self.assertEqual(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True).stdout, "1\n")

    def test_loop(self):
        async def talk():
            async def answer(reader, writer):
                writer.write(await reader.readline())
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            async with server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hi\n")
                self.assertEqual(await reader.readline(), b"hi\n")
                writer.close()

        asyncio.run(talk())

    def test_files(self):
        with tempfile.TemporaryDirectory() as d:
            db = sqlite3.connect(pathlib.Path(d) / "x.db")
            db.execute("create table t (a)")
            db.commit()
            db.close()

    def test_certificates(self):
        self.assertTrue(ssl.create_default_context())


if __name__ == "__main__":
    unittest.main()
