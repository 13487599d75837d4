-- Text is compared by bytes here; in PostgreSQL, say so: TEXT COLLATE "C".

-- One row for each log that there is: it tells an empty one from a removed one's successor.
CREATE TABLE logs (
    room_id TEXT PRIMARY KEY,
    epoch   TEXT NOT NULL
) WITHOUT ROWID;

-- `body` is the whole event; the columns before it are what events are looked up by, here and by people.
CREATE TABLE events (
    room_id   TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    event     TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    PRIMARY KEY (room_id, seq)
) WITHOUT ROWID;

CREATE INDEX events_by_time ON events (room_id, timestamp, seq);

-- What makes a retry harmless. It outlives its event, and a user may use one twice: no constraint on (sender, key).
CREATE TABLE keys (
    room_id   TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    sender    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    event_id  TEXT    NOT NULL,
    PRIMARY KEY (room_id, seq)
) WITHOUT ROWID;

CREATE TABLE records (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

PRAGMA user_version = 1;
