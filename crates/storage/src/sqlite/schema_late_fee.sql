-- A bill's late fee as far as it has been reckoned: accrued, in millionths of a fen; through, the last day in it (yyyymmdd,
-- 0: none); paid. What is still to be paid follows from these, so that open bills are found by their columns alone.
ALTER TABLE bill ADD COLUMN late_e6 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bill ADD COLUMN late_through INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bill ADD COLUMN late_paid_fen INTEGER NOT NULL DEFAULT 0;

-- What a payment paid of which bills' late fees, packed; NULL where it paid none.
ALTER TABLE payment ADD COLUMN late_fees BLOB;
