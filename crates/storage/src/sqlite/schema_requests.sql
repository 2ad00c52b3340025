-- What customers asked the service to do. It lives with its account, or with its customer where it is about none.
CREATE TABLE request (
    id           BLOB    PRIMARY KEY,
    account      INTEGER,
    customer     BLOB    NOT NULL,
    kind         BLOB    NOT NULL,
    form         TEXT    NOT NULL,
    title_en     TEXT    NOT NULL,
    title_zh     TEXT    NOT NULL,
    answers      BLOB    NOT NULL,
    state        BLOB    NOT NULL,
    closed       INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    changed_ms   INTEGER NOT NULL,
    answer_by_ms INTEGER,
    paused_left_ms INTEGER,
    outage       BLOB,
    steps        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_account ON request (account, created_ms) WHERE account IS NOT NULL;
CREATE INDEX request_customer ON request (customer, created_ms);
CREATE INDEX request_open ON request (created_ms) WHERE closed = 0;

CREATE TABLE request_step (
    request BLOB    NOT NULL,
    n       INTEGER NOT NULL,
    step    BLOB    NOT NULL,
    PRIMARY KEY (request, n)
) STRICT, WITHOUT ROWID;

-- Outages live with their district.
CREATE TABLE outage (
    id          BLOB    PRIMARY KEY,
    division    TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    starts_ms   INTEGER NOT NULL,
    restored_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX outage_division ON outage (division, starts_ms);

-- Fault reports by district, and the outage each was found to belong to.
CREATE TABLE division_report (
    request  BLOB    PRIMARY KEY,
    division TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    outage   BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX division_report_alone ON division_report (division, at_ms) WHERE outage IS NULL;
CREATE INDEX division_report_outage ON division_report (outage) WHERE outage IS NOT NULL;

-- What customers were told.
CREATE TABLE notice (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    customer BLOB    NOT NULL,
    at_ms    INTEGER NOT NULL,
    body     BLOB    NOT NULL
) STRICT;
CREATE INDEX notice_customer ON notice (customer, number);
CREATE INDEX notice_at ON notice (at_ms);
CREATE TABLE notice_read (
    customer BLOB    PRIMARY KEY,
    through  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
