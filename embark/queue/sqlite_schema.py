"""The embedded queue's tables, as `embark.queue.sqlite` makes them."""

# Columns that are searched come before the payload, which may span thousands of pages.
SCHEMA = """
CREATE TABLE IF NOT EXISTS request (
    id INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    due_at REAL NOT NULL,
    queued_at REAL NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    receipt BLOB,
    model TEXT NOT NULL,
    generation TEXT NOT NULL,
    digest BLOB NOT NULL,
    kind TEXT NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL,
    trace TEXT NOT NULL DEFAULT '',
    UNIQUE (model, generation, digest)
);
CREATE INDEX IF NOT EXISTS request_due ON request (lane, due_at, id, size);
CREATE INDEX IF NOT EXISTS request_age ON request (lane, queued_at);
CREATE TABLE IF NOT EXISTS dead_letter (
    id INTEGER PRIMARY KEY,
    died_at REAL NOT NULL,
    lane INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    model TEXT NOT NULL,
    generation TEXT NOT NULL,
    digest BLOB NOT NULL,
    kind TEXT NOT NULL,
    payload BLOB NOT NULL
);
PRAGMA user_version = 1;
"""
# Files of before there were traces lack the column.
ADD_TRACE = "ALTER TABLE request ADD COLUMN trace TEXT NOT NULL DEFAULT ''"
