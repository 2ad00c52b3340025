-- Files that are to come, the oldest first: those that never came are given up at a time.
CREATE INDEX request_file_expected ON request_file (created_ms) WHERE state = x'00';
