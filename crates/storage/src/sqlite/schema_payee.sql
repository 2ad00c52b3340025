-- About whose accounts a customer has asked in order to pay for them: the brake against trying out numbers, and what lets
-- them pay. Numbers that are none are kept likewise.
CREATE TABLE payee (
    customer BLOB    NOT NULL,
    account  INTEGER NOT NULL,
    asked_ms INTEGER NOT NULL,
    PRIMARY KEY (customer, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX payee_asked ON payee (asked_ms);
