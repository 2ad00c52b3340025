//! The scripts that run inside Redis, each in one step.
use sha1::{Digest, Sha1};

/// The lane began anew, where the caller is. (0: it is in step with the caller, or further.)
pub(super) const BEGUN: u64 = 1;
/// The caller does not know what changed right after the cursor.
pub(super) const MISSED: u64 = 2;

/// Keys: cursor, entity, and, to load it where it is not there, its lock. Arguments: view, lock's owner, lock's life in
/// ms. Gives nothing without a cursor; else generation, sequence, the view or null, 1 where the lock was got.
pub(super) const GET: &str = "\
local c = redis.call('HMGET', KEYS[1], 'e', 'g', 's')
if not c[1] then return {} end
local v = redis.call('HGET', KEYS[2], ARGV[1])
if v and string.sub(v, 1, #c[1]) == c[1] then return {c[2], c[3], string.sub(v, #c[1] + 1), 0} end
local got = 0
if KEYS[3] and redis.call('SET', KEYS[3], ARGV[2], 'NX', 'PX', ARGV[3]) then got = 1 end
return {c[2], c[3], false, got}
";

/// Keys: cursor, entity, and the lock to be given back. Arguments: view, generation, sequence, value, life in ms, most
/// views, lock's owner. Gives 1 where the view was stored. It ends with a look at the entity: Redis forgets who tracks
/// a key when it is written, also for the one who wrote it.
pub(super) const FILL: &str = "\
if KEYS[3] and redis.call('GET', KEYS[3]) == ARGV[7] then redis.call('DEL', KEYS[3]) end
local c = redis.call('HMGET', KEYS[1], 'e', 'g', 's')
if not c[1] or c[2] ~= ARGV[2] or tonumber(ARGV[3]) < tonumber(c[3]) then return 0 end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], ARGV[1], c[1] .. ARGV[4])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
redis.call('EXISTS', KEYS[2])
return 1
";

/// Keys: cursor, and the entities that changed. Arguments: after which sequence; up to which generation and sequence; the
/// epoch of a lane that begins anew; where the caller left the cursor; 1 where the lane is to begin anew, 2 where
/// it is to unless it is as far already; the cursor's life in ms. Gives the cursor's generation and sequence, and how it came to them. What changed goes before the cursor
/// moves: should Redis refuse to write on the way, too much is gone and nothing wrong is there.
pub(super) const FOLLOW: &str = "\
local c = redis.call('HMGET', KEYS[1], 'e', 'g', 's')
local after, g, s, left = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local has_g, has_s = tonumber(c[2] or 0), tonumber(c[3] or 0)
if c[1] and has_g > g then return {c[2], c[3], 0} end
local anew = ARGV[6] == '1' or ARGV[6] == '2' and has_s < s
if not c[1] or has_g < g or has_s < left or anew then
  redis.call('HSET', KEYS[1], 'e', ARGV[4], 'g', ARGV[2], 's', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  return {ARGV[2], ARGV[3], 1}
end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
if has_s >= s then return {c[2], c[3], 0} end
if has_s < after then return {c[2], c[3], 2} end
for n = 2, #KEYS do redis.call('UNLINK', KEYS[n]) end
redis.call('HSET', KEYS[1], 's', ARGV[3])
return {ARGV[2], ARGV[3], 0}
";

/// Key: the cursor of a lane that is forgotten.
pub(super) const FORGET: &str = "return redis.call('DEL', KEYS[1])";

/// Key: a lock. Argument: its owner.
pub(super) const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

/// A script, and the name under which Redis keeps it once it has run.
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) sha: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        let sha = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Script { text, sha }
    }
}

/// All of them.
pub(super) struct Scripts {
    pub(super) get: Script,
    pub(super) fill: Script,
    pub(super) follow: Script,
    pub(super) forget: Script,
    pub(super) release: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Scripts {
            get: Script::new(GET),
            fill: Script::new(FILL),
            follow: Script::new(FOLLOW),
            forget: Script::new(FORGET),
            release: Script::new(RELEASE),
        }
    }
}
