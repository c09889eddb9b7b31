"""An application with a database: sqlite.py fill DATABASE CANARY MIB adds rows, sqlite.py show DATABASE prints what there is."""

import hashlib
import os
import sqlite3
import sys

command, path, *rest = sys.argv[1:]
db = sqlite3.connect(path, timeout=30)
if command == "fill":
    canary, mib = rest
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, b BLOB)")
    for _ in range(int(mib)):
        with db:  # a transaction for each MiB
            db.executemany("INSERT INTO t (b) VALUES (?)", ((os.urandom(4000) + canary.encode(),) for _ in range(256)))
else:
    rows = db.execute("SELECT id, b FROM t ORDER BY id").fetchall()
    print(len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
